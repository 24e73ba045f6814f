"""One file's DWARF walked: its units, its functions and the inlined calls in each, as positions of DIEs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from klpkit.records import _dwarfforms as d
from klpkit.records._dwarfbytes import members
from klpkit.records._dwarfsections import DebugSections
from klpkit.records._dwarfshapes import ShapeBuilder, Shapes
from klpkit.records._dwarfunits import C_LANGUAGES, Header, Units, columns, read_headers, split_refused
from klpkit.records._dwarfvalues import ABSENT, Values
from klpkit.records._dwarfwalk import Cursors, Walker

Ints = npt.NDArray[np.int64]

# What a unit's first DIE says: first what finds values elsewhere, then values that may be found there.
_BASES = (
    d.AT_LANGUAGE,
    d.AT_STMT_LIST,
    d.AT_STR_OFFSETS_BASE,
    d.AT_ADDR_BASE,
    d.AT_GNU_ADDR_BASE,
    d.AT_RNGLISTS_BASE,
)
_NAMES = (d.AT_NAME, d.AT_COMP_DIR, d.AT_LOW_PC)


@dataclass(frozen=True, slots=True)
class Tree:
    """The functions of a file: columns `position` (sorted), `unit` and `shape` have one row a subprogram.

    Inlined calls have one row each: `call`, `call_unit`, and `owner`, the row of the innermost subprogram around
    it that has code, -1 for none.  `code` says which subprograms have code.
    """

    position: Ints
    unit: Ints
    shape: Ints
    code: npt.NDArray[np.bool_]
    call: Ints
    call_unit: Ints
    owner: Ints


def read_units(sections: DebugSections) -> tuple[Units, Shapes, Values]:
    """The units of the file with what their first DIEs say, their shapes, and the reader of values."""
    info = sections[".debug_info"]
    headers = read_headers(info)
    abbreviations = ShapeBuilder(bytes(sections[".debug_abbrev"].data), sections.path)
    tables = [abbreviations.table(header.abbreviations, header.format, True) for header in headers]
    units, shapes, values = _first_values(sections, headers, tables, abbreviations)
    others = ~np.isin(units.values[d.AT_LANGUAGE], C_LANGUAGES)
    if others.any():
        for row in np.flatnonzero(others).tolist():
            tables[row] = abbreviations.table(headers[row].abbreviations, headers[row].format, False)
        units, shapes, values = _first_values(sections, headers, tables, abbreviations)
    units.values |= values.read(units.die, np.arange(len(units)), _NAMES)
    return units, shapes, values


def _first_values(
    sections: DebugSections, headers: list[Header], tables: list[int], abbreviations: ShapeBuilder
) -> tuple[Units, Shapes, Values]:
    units, shapes = columns(headers, tables), abbreviations.finished()
    values = Values(sections, units, shapes)
    every = np.arange(len(units))
    shape, _ = values.shape(units.die, every)
    split = shapes.having(frozenset({d.AT_DWO_NAME, d.AT_GNU_DWO_NAME})).take(shape)
    if split.any() or (shapes.tag.take(shape) == d.TAG_SKELETON_UNIT).any():
        raise split_refused(sections.path)
    units.values = values.read(units.die, every, _BASES)
    return units, shapes, values


def read_tree(sections: DebugSections, units: Units, shapes: Shapes, values: Values) -> Tree:
    """All subprograms of the file and the inlined calls in them."""
    walker = Walker(sections[".debug_info"], shapes)
    top = _top_level(walker, units, shapes, values)
    has_code = shapes.having(frozenset({d.AT_LOW_PC, d.AT_RANGES}))
    inner = ~shapes.having(frozenset({d.AT_DECLARATION})) & _have_children(shapes)
    known = top
    calls: list[npt.NDArray[np.int64]] = []
    todo = top
    while len(todo):
        todo = todo[inner.take(todo[:, 2])]
        start = walker.children(todo[:, 0], todo[:, 2])
        found = walker.walk(_cursors(units, start, todo[:, 1]))
        unit = todo[:, 1].take(found.cursor)
        rows = np.stack([found.position, unit, found.shape, todo[:, 0].take(found.cursor)], axis=1)
        inlined = shapes.tag.take(found.shape) == d.TAG_INLINED_SUBROUTINE
        coded = has_code.take(todo[:, 2].take(found.cursor))
        calls.append(np.where(coded[:, None] | (np.arange(4) < 3), rows, ABSENT)[inlined])
        nested = rows[~inlined][:, :3]
        todo = _distinct(nested[~members(nested[:, 0], known[:, 0])])
        known = _distinct(np.concatenate([known, todo]))
    return _tree(known, has_code, np.concatenate([np.empty((0, 4), np.int64), *calls]))


def _tree(known: Ints, has_code: npt.NDArray[np.bool_], calls: Ints) -> Tree:
    """`calls` may name a call more than once, with each subprogram around it: the innermost starts last."""
    calls = calls[np.lexsort((-calls[:, 3], calls[:, 0]))]
    calls = calls[np.diff(calls[:, 0], prepend=-1) != 0]
    position = np.ascontiguousarray(known[:, 0])
    owner = np.where(calls[:, 3] == ABSENT, ABSENT, np.searchsorted(position, calls[:, 3]))
    shape = np.ascontiguousarray(known[:, 2])
    unit = np.ascontiguousarray(known[:, 1])
    return Tree(position, unit, shape, has_code.take(shape), calls[:, 0].copy(), calls[:, 1].copy(), owner)


def _top_level(walker: Walker, units: Units, shapes: Shapes, values: Values) -> Ints:
    """Position, unit and shape of the subprograms that units hold, those inside other subprograms aside."""
    every = np.arange(len(units))
    shape, _ = values.shape(units.die, every)
    full = np.flatnonzero(_have_children(shapes).take(shape))
    start = walker.children(units.die.take(full), shape.take(full))
    found = walker.walk(_cursors(units, start, full))
    rows = np.stack([found.position, full.take(found.cursor), found.shape], axis=1)
    return _distinct(rows[shapes.tag.take(found.shape) == d.TAG_SUBPROGRAM])


def _cursors(units: Units, start: Ints, unit: Ints) -> Cursors:
    return Cursors(start, units.end.take(unit), units.start.take(unit), units.table.take(unit))


def _have_children(shapes: Shapes) -> npt.NDArray[np.bool_]:
    return np.array([shape.children for shape in shapes.shapes])


def _distinct(rows: Ints) -> Ints:
    """`rows` by position, each position once."""
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    distinct: Ints = rows[np.diff(rows[:, 0], prepend=-1) != 0]
    return distinct
