"""Why a function changed, and whether a line number is one of its own, from the line tables of both objects.

Objects with debug information tell which source lines each function's code comes from.  This only adds reasons to
functions that the bytes say are changed, and takes away the excuse of a moved line from numbers that are none.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from klpkit.diff.compare import Comparison
from klpkit.diff.graph import Graph
from klpkit.diff.linetable import Row
from klpkit.diff.model import Cause, MovedLine, ObjectDiff, Reason, Status
from klpkit.diff.sourcetext import both_places, same_source
from klpkit.records.model import Location


def with_lines(diff: ObjectDiff, result: Comparison) -> ObjectDiff:
    """`diff` with what the line tables of both objects say of its changed functions, where both have one."""
    if not (result.both.original.has_lines and result.both.patched.has_lines):
        return diff
    rows = _rows_by_function(result)
    functions = [
        replace(function, reasons=(*_reasons(result, rows[key]), *function.reasons))
        if function.status is Status.CHANGED and (key := (function.name, function.section)) in rows
        else function
        for function in diff.functions
    ]
    return replace(diff, functions=tuple(functions))


def own_lines(result: Comparison, row: int, moved: Iterable[MovedLine]) -> bool:
    """Whether all of the lines lie where the function in `row` does, as far as line tables tell."""
    both = result.both
    parts = [row, *(part for part, home in result.home.items() if home == row and part < both.split)]
    for graph, side in ((both.original, 0), (both.patched, 1)):
        members = parts if not side else [int(result.found.partner[part]) - both.split for part in parts]
        lines = [line.line for entity in members if entity >= 0 for line in _lines(graph, entity)]
        numbers = [line.after if side else line.before for line in moved]
        if lines and not all(min(lines) <= number <= max(lines) for number in numbers):
            return False
    return True


def _rows_by_function(result: Comparison) -> dict[tuple[str, str], int]:
    """Changed functions by name and section, without those that share both."""
    both, found = result.both, dict[tuple[str, str], int]()
    for row in result.causes:
        if row < both.split and result.found.partner[row] >= 0:
            key = both.name_of(row), both.original.section_name(row)
            found[key] = -1 if key in found else row
    return {key: row for key, row in found.items() if row >= 0}


def _lines(graph: Graph, entity: int) -> list[Row]:
    table = graph.lines
    section = int(graph.entities.section[entity])
    start = int(graph.entities.start[entity] - graph.flat.base[section])
    return table.rows(section, start, start + graph.size_of(entity))


def _reasons(result: Comparison, row: int) -> list[Reason]:
    """What the line tables say of one changed function."""
    a, b = result.both.original, result.both.patched
    partner = int(result.found.partner[row]) - result.both.split
    before, after = _lines(a, row), _lines(b, partner)
    if not before or not after:
        return []
    found, known = [], before[0].opens and after[0].opens
    same = known and same_source(Path(a.path), _location(before[0]), Path(b.path), _location(after[0]))
    if known and same is False:
        found.append(
            Reason(Cause.SOURCE, f"its source differs ({both_places(_location(before[0]), _location(after[0]))})")
        )
    elif known and same is None and _extent(before) != _extent(after):
        spans = f"{_span(after)} in place of {_span(before)}"
        found.append(Reason(Cause.LINES, f"its source lines are {spans} (line tables)"))
    offset = _first_difference(a.compared_bytes(row), b.compared_bytes(partner))
    if offset >= 0:
        here, there = _at(before, offset), _at(after, offset)
        foreign = here.file != before[0].file or there.file != after[0].file
        foreign |= known and (here.line < before[0].line or there.line < after[0].line)
        lines = _place(here) if _place(here) == _place(there) else f"{_place(here)}, now {_place(there)}"
        inlined = ", which it inlines" if foreign else ""
        found.append(Reason(Cause.LINES, f"first differs in code of {lines}{inlined} (line tables)"))
    return found


def _location(row: Row) -> Location:
    return Location(posixpath.join(row.folder, row.file), row.line)


def _place(row: Row) -> str:
    return f"{row.file}:{row.line}"


def _own(rows: list[Row]) -> list[int]:
    """The lines of the function's own file from where it begins."""
    return [row.line for row in rows if row.file == rows[0].file and row.line >= rows[0].line]


def _extent(rows: list[Row]) -> int:
    return max(_own(rows)) - rows[0].line


def _span(rows: list[Row]) -> str:
    return f"{_place(rows[0])}-{max(_own(rows))}"


def _at(rows: list[Row], offset: int) -> Row:
    """The row that holds for the code at `offset`."""
    return [row for row in rows if row.offset <= offset][-1]


def _first_difference(a: bytes, b: bytes) -> int:
    if a == b:
        return -1
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
