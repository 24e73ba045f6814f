"""The impact answer as a table; as a list of cards where the width has no room for columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from klpkit.impact.result import ImpactAnswer, ImpactedFunction
from klpkit.report.fold import columns, fold
from klpkit.report.terminal import Sheet
from klpkit.report.text import write_closing
from klpkit.report.wording import HOW_WORDS, Names, names_of, obstacles, owner, place, shown

HEADINGS = ("function", "unit / owner", "why", "how", "notes")
_STYLES = ("strong", "faint", "", "", "warn")
# Columns narrower than this are worse to read than cards.
_NARROWEST = (20, 12, 18, 9, 12)
_GAP = "  "


def write_table(answer: ImpactAnswer, sheet: Sheet) -> None:
    """Write `answer` to `sheet` as a table, one row a function, with a closing summary."""
    names = names_of(answer)
    rows = [_cells(item, names) for item in answer.impacted]
    used = [i for i in range(len(HEADINGS)) if any(row[i] for row in rows)]
    widths = _widths([[row[i] for i in used] for row in rows], used, sheet)
    lines = _columns(rows, used, widths, sheet) if widths else _cards(rows, sheet)
    for line in lines:
        sheet.write(line + "\n")
    write_closing(answer, sheet)


def _cells(item: ImpactedFunction, names: Names) -> tuple[str, ...]:
    why = names.reason(item.chain[-1]) if item.chain else "asked for"
    notes = [*obstacles(item.patchability), *map(shown, item.patchability.notes)]
    where = place(item.function)
    home = owner(item)
    whose = where if home in ("", where) else f"{where} [{home}]"
    return (names[item.function], whose, why, HOW_WORDS[item.patchability.how], "; ".join(notes))


def _widths(rows: Sequence[Sequence[str]], used: Sequence[int], sheet: Sheet) -> list[int]:
    """A width for each column in use, or none at all where the sheet is too narrow for columns."""
    wanted = [
        max([columns(HEADINGS[i]), *(columns(row[n]) for row in rows)], default=0) for n, i in enumerate(used)
    ]
    least = [min(width, _NARROWEST[i]) for width, i in zip(wanted, used, strict=True)]
    if not sheet.fold_names and least:
        least[0] = wanted[0]
    room = sheet.width - len(_GAP) * (len(used) - 1)
    if sum(least) > room and (sheet.fold_names or sheet.width < sum(_NARROWEST)):
        return []
    return _shared(wanted, least, room)


def _shared(wanted: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """`room` dealt out fairly: who wants little gets it all, and the greedy share what is left evenly."""
    widths = list(least)
    for n in sorted(range(len(wanted)), key=lambda n: wanted[n]):
        others = [m for m in range(len(wanted)) if m != n and wanted[m] >= wanted[n] and widths[m] == least[m]]
        spare = room - sum(widths)
        widths[n] += max(0, min(wanted[n] - widths[n], spare // (len(others) + 1)))
    return widths


def _columns(
    rows: Sequence[tuple[str, ...]], used: Sequence[int], widths: Sequence[int], sheet: Sheet
) -> Iterator[str]:
    rule = "─" if sheet.unicode else "-"
    heads = [HEADINGS[i].ljust(width) for i, width in zip(used, widths, strict=True)]
    yield sheet.paint(_GAP.join(heads).rstrip(), "accent")
    yield sheet.paint(_GAP.join(rule * width for width in widths), "faint")
    for row in rows:
        folded = [
            fold(row[i], width, break_words=sheet.fold_names or n > 0)
            for n, (i, width) in enumerate(zip(used, widths, strict=True))
        ]
        for parts in zip_longest(*folded, fillvalue=""):
            cells = [_padded(parts[n], widths[n], _STYLES[i], sheet) for n, i in enumerate(used)]
            yield _GAP.join(cells).rstrip()


def _padded(text: str, width: int, style: str, sheet: Sheet) -> str:
    painted = sheet.paint(text, style) if style else text
    return painted + " " * (width - columns(text))


def _cards(rows: Sequence[tuple[str, ...]], sheet: Sheet) -> Iterator[str]:
    indent = 16 if sheet.width >= 50 else 4
    for row in rows:
        for line in fold(row[0], sheet.width, break_words=sheet.fold_names, hanging=2):
            yield sheet.paint(line, "accent")
        for heading, cell, style in zip(HEADINGS[1:], row[1:], _STYLES[1:], strict=True):
            if cell:
                text = f"  {heading}: ".ljust(indent) + cell
                for line in fold(text, sheet.width, break_words=sheet.fold_names, hanging=indent):
                    yield sheet.paint(line, style) if style else line
