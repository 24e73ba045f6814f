"""Proofs for a terminal and as JSON: what relies on a body, what records only claim, what could not be decided."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, TextIO

from klpkit.proof.asking import Row, WholeFile
from klpkit.proof.concrete import Difference
from klpkit.proof.model import Answer, Impacted, Verdict
from klpkit.report.terminal import Sheet
from klpkit.report.wording import shown

SCHEMA = "klpkit.proof/1"
FILE_SCHEMA = "klpkit.proof-file/1"
_STYLES = {Verdict.PROVEN: "good", Verdict.CONVENTION: "warn", Verdict.UNDECIDED: "bad"}
_MARKS = {Verdict.PROVEN: "proven", Verdict.CONVENTION: "convention", Verdict.UNDECIDED: "undecided"}


def write_answers(answers: Sequence[Answer], sheet: Sheet) -> None:
    """Write each unit's answer as text of at most `sheet.width` columns; names are never broken."""
    sheet.write("\n".join("\n".join(_answer(answer, sheet)) + "\n" for answer in answers))


def _answer(answer: Answer, sheet: Sheet) -> Iterator[str]:
    yield sheet.paint(f"{shown(answer.unit)}: {', '.join(map(shown, answer.seeds))}", "strong")
    others = [item for item in answer.impacted if item.via]
    width = max((len(item.symbol) for item in others), default=0)
    for item in others:
        yield from _item(item, answer, width, sheet)
    if not others:
        yield sheet.paint("  no other function's code relies on it", "good")
    yield from _names("recorded, and proven not to matter", answer.recorded_only, sheet)
    yield from _names("differ only because others were then inlined differently", answer.knock_on, sheet)
    for name, says in answer.not_callable.items():
        text = f"{shown(name)} takes for granted what callers pass ({says}): no new code may call it by its symbol"
        yield from _wrapped(text, sheet, "  ", "warn")
    for warning in answer.warnings:
        yield from _wrapped(f"warning: {shown(warning)}", sheet, "  ", "warn")
    yield sheet.paint(_summary(answer, len(others)), "faint")


def _item(item: Impacted, answer: Answer, width: int, sheet: Sheet) -> Iterator[str]:
    marks = [_MARKS[item.verdict], ", ".join(item.causes)]
    if not item.recorded:
        marks.append("in no record")
    if not item.has_code:
        marks.append("no code of its own")
    head = f"  {shown(item.symbol):<{width}}  "
    yield sheet.paint(head, _STYLES[item.verdict]) + "; ".join(filter(None, marks))
    via = f"by way of {shown(item.via)}: " if item.via not in answer.seeds or len(answer.seeds) > 1 else ""
    yield from _wrapped(via + shown(item.how), sheet, "      ", "faint")


def _names(title: str, names: Sequence[str], sheet: Sheet) -> Iterator[str]:
    if names:
        yield from _wrapped(f"{title}: {', '.join(map(shown, names))}", sheet, "  ", "faint")


def _summary(answer: Answer, others: int) -> str:
    parts = [f"  {others} impacted"]
    if answer.missed:
        parts.append(f"{len(answer.missed)} of them in no record")
    if answer.undecided:
        parts.append(f"{len(answer.undecided)} undecided")
    parts.append(f"{len(answer.proofs)} proofs, {answer.compilations} compilations run")
    return ", ".join(parts)


def _wrapped(text: str, sheet: Sheet, indent: str, style: str) -> Iterator[str]:
    lines = textwrap.wrap(
        text,
        width=sheet.width,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return (sheet.paint(line, style) for line in lines)


def write_differences(rows: Sequence[Difference], sheet: Sheet) -> None:
    """Write which functions compile differently with a patch in, touched ones first."""
    sheet.write(
        "\n" + sheet.paint(f"with the patch in, {len(rows)} functions compile differently", "strong") + "\n"
    )
    for row in sorted(rows, key=lambda row: (not row.touched, row.unit, row.symbol)):
        sheet.write(f"  {difference_text(row)}\n")


def difference_text(row: Difference) -> str:
    """One function that compiles differently with a patch in, on a line."""
    what = "changed in source" if row.touched else row.why or "not changed in source"
    return f"{shown(row.symbol)}  {row.status}; {what}"


# --- whole files ---------------------------------------------------------------------------------------------

_COLUMNS = ("impacted", "missed", "false", "knock_on", "convention", "undecided", "compilations")
_TITLES = ("impacted", "missed", "false", "knock-on", "convention", "undecided", "compiled")


def write_files(files: Sequence[WholeFile], sheet: Sheet) -> None:
    """Write a line for each function that has anything to tell, and the sums of each file."""
    sheet.write("\n".join("\n".join(_file(file, sheet)) + "\n" for file in files))


def _file(file: WholeFile, sheet: Sheet) -> Iterator[str]:
    width = max((len(row.function) for row in file.rows), default=8)
    yield sheet.paint(f"{shown(file.unit)}: {len(file.rows)} functions proven", "strong")
    yield sheet.paint("  " + " " * width + "".join(f"{title:>12}" for title in _TITLES), "faint")
    for row in file.rows:
        values = [getattr(row, name) for name in _COLUMNS]
        yield f"  {shown(row.function):<{width}}" + "".join(f"{value or '·':>12}" for value in values) + _note(row)
    sums = [sum(getattr(row, name) for row in file.rows) for name in _COLUMNS]
    yield sheet.paint("  " + " " * width + "".join(f"{value:>12}" for value in sums), "strong")
    for warning in file.warnings:
        yield from _wrapped(f"warning: {shown(warning)}", sheet, "  ", "warn")
    share = 100 * file.undecided / max(1, len(file.rows))
    yield (
        f"  {file.per_proof:.2f} compilations a proof; {file.undecided} functions with anything undecided"
        f" ({share:.1f} %); {file.compilations} compilations run now"
    )


def _note(row: Row) -> str:
    said = [f"{row.method}: {row.reason}"] if row.reason else []
    said += ["assumes its callers' arguments"] if row.assumes else []
    return f"  {shown('; '.join(said))}" if said else ""


# --- JSON ----------------------------------------------------------------------------------------------------


def answer_document(answer: Answer) -> dict[str, Any]:
    """`answer` as what `json.dump` takes."""
    return asdict(answer)


def write_answers_json(
    answers: Iterable[Answer], stream: TextIO, differing: Iterable[Difference] | None = None
) -> None:
    """Write the answers of all units as one document; `differing` is what one concrete patch makes differ."""
    known: dict[str, Any] = {"schema": SCHEMA, "units": [answer_document(answer) for answer in answers]}
    if differing is not None:
        known["differing"] = [asdict(row) for row in differing]
    stream.write(json.dumps(known, indent=2) + "\n")


def write_files_json(files: Iterable[WholeFile], stream: TextIO) -> None:
    """Write whole files as one document."""
    rows = [{**asdict(file), "per_proof": round(file.per_proof, 3), "undecided": file.undecided} for file in files]
    stream.write(json.dumps({"schema": FILE_SCHEMA, "files": rows}, indent=2) + "\n")
