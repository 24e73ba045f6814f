"""An audit for a terminal: what is on and whether a record shows it, what a level forbids, and the functions."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator

from klpkit.audit.model import AbiStatus, Audit, Breach, UnitAudit
from klpkit.compilers.passes import Pass, passes_of
from klpkit.report.terminal import Sheet

# How many names and units are spelled out where the full answer is in --json.
SHOWN_NAMES = 12
SHOWN_UNITS = 20
_WORDS = {
    AbiStatus.PRESERVED: "preserved",
    AbiStatus.NARROWED: "narrowed",
    AbiStatus.CLONE: "clones",
    AbiStatus.EXPOSED: "exposed",
}


def write_audit(audit: Audit, sheet: Sheet) -> None:
    """Write `audit` as text of at most `sheet.width` columns (names and flags are never broken)."""
    blocks = [_head(audit, sheet), _passes(audit, sheet), _breaches(audit, sheet)]
    blocks += [_unit(unit, sheet) for unit in audit.units if unit.inspected]
    sheet.write("\n".join("\n".join(block) + "\n" for block in map(list, blocks) if block))


def _head(audit: Audit, sheet: Sheet) -> Iterator[str]:
    sets = len({unit.flag_set for unit in audit.units if unit.flag_set})
    yield sheet.paint(f"{_count(len(audit.units), 'unit')}, {_count(sets, 'set')} of flags", "strong")
    for version, number in Counter(unit.compiler for unit in audit.units if unit.compiler).items():
        yield from _wrapped(f"{_count(number, 'unit')} compiled by {version}", sheet, "  ")
    for notes, number in Counter(unit.notes for unit in audit.units if unit.notes).items():
        yield from _wrapped(f"{_count(number, 'unit')}: {'; '.join(notes)}", sheet, "  ")
    yield from (line for warning in audit.warnings for line in _wrapped(warning, sheet, "  "))


def _passes(audit: Audit, sheet: Sheet) -> Iterator[str]:
    """A row for each pass that is on somewhere, those that no record shows first."""
    for kind in sorted({unit.kind for unit in audit.units if unit.kind}):
        counts = Counter(slug for unit in audit.units if unit.kind == kind for slug in unit.on)
        rows = [row for row in passes_of(kind) if counts[row.slug]]
        unlisted = [row for row in rows if not row.recorded and row.affects == "code"]
        yield from _table("on, and no record shows what relies on it", unlisted, counts, sheet)
        yield from _table("on, and recorded", [row for row in rows if row.recorded], counts, sheet)
        placed = [row for row in rows if not row.recorded and row.affects == "placement"]
        yield from _table("on, changes only where code or data is put", placed, counts, sheet)


def _table(title: str, rows: list[Pass], counts: Counter[str], sheet: Sheet) -> Iterator[str]:
    if not rows:
        return
    yield sheet.paint(f"{title}:", "warn" if "no record" in title else "strong")
    for row in rows:
        by_flag = row.remedy.startswith("-")
        units = _count(counts[row.slug], "unit")
        yield f"  {row.slug:<25} {units:>11}  {row.remedy if by_flag else 'no flag turns it off'}"
        yield from _wrapped(row.says, sheet, "      ")
        if not by_flag:
            yield from _wrapped(row.remedy, sheet, "      instead: ")


def _breaches(audit: Audit, sheet: Sheet) -> Iterator[str]:
    if audit.level is None:
        return
    if audit.honoured:
        yield sheet.paint(f"level {audit.level}: honoured by all units", "good")
        return
    yield sheet.paint(
        f"level {audit.level}: not honoured by {len(audit.breached)} of {_count(len(audit.units), 'unit')}", "bad"
    )
    alike: dict[tuple[Breach, ...], list[str]] = {}
    for unit in audit.breached:
        alike.setdefault(unit.breaches, []).append(unit.source)
    for breaches, sources in list(alike.items())[:SHOWN_UNITS]:
        yield from _wrapped(" ".join(sources[:SHOWN_NAMES]), sheet, "  ")
        yield from _more(len(sources) - SHOWN_NAMES, "  ")
        for breach in breaches[:SHOWN_UNITS]:
            place = f"{breach.file}:{breach.line}: " if breach.file else ""
            yield from _wrapped(f"{place}{breach.subject}: {breach.says} [{breach.slug}]", sheet, "    ")
        yield from _more(len(breaches) - SHOWN_UNITS, "    ")
    yield from _more(len(alike) - SHOWN_UNITS, "  ")


def _unit(unit: UnitAudit, sheet: Sheet) -> Iterator[str]:
    counts = unit.statuses()
    told = ", ".join(f"{counts[status]} {word}" for status, word in _WORDS.items() if counts[status])
    yield sheet.paint(f"{unit.source}: {told or 'no functions told'}", "strong")
    for row in unit.functions:
        if row.status is not AbiStatus.PRESERVED:
            yield f"  {row.symbol}  {sheet.paint(str(row.status), 'warn')}"
            for note in row.notes:
                yield from _wrapped(note, sheet, "      ")
    for exposure in unit.exposures:
        number = _count(len(exposure.functions), "function") if exposure.functions else "functions not told apart"
        yield f"  exposed to {exposure.slug}: {number}"
        yield from _wrapped(exposure.note, sheet, "      ")
        if exposure.functions:
            yield from _wrapped(" ".join(exposure.functions[:SHOWN_NAMES]), sheet, "      ")
        yield from _more(len(exposure.functions) - SHOWN_NAMES, "      ")


def _more(number: int, indent: str) -> Iterator[str]:
    if number > 0:
        yield f"{indent}and {number} more: --json lists all"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _wrapped(text: str, sheet: Sheet, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=sheet.width,
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        break_long_words=False,
        break_on_hyphens=False,
    )
