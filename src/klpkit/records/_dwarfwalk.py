"""Walking over DIEs, many units or functions at a time.

DIEs follow one another without an index: where the next one starts is known only when the one before it was
measured.  What is sequential within one unit is independent between units, so thousands of cursors, one a unit
or a function, go forward in lockstep, and each step is a few numpy operations on all of them.  When few are left
numpy costs more than it saves and each is walked to its end in plain Python; both ways do the same (DWARF 5,
sections 2.3 and 7.5.2).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from klpkit.records._dwarfbytes import Section
from klpkit.records._dwarfforms import Ending
from klpkit.records._dwarfshapes import (
    BAD_SHAPE,
    LONG_CODES,
    MAX_CODE,
    SIBLING_SIZE,
    Flag,
    Shapes,
    leb,
)

Ints = npt.NDArray[np.int64]
Shaped = npt.NDArray[np.int32]
Flags = npt.NDArray[np.uint8]

# Below this many cursors plain Python is faster than lockstep.
FEW = 24

# After each full step so many that do only what is cheap: a cursor that needs more waits for the next full one.
GLIDES = 3

PAST_UNIT = "reaches past the end of its unit"
UNDEFINED_CODE = "an abbreviation code that is not in the unit's table"


@dataclass(frozen=True, slots=True)
class Cursors:
    """Where to walk: from `start` (a DIE) to the end of that list of siblings, all before `end`.

    `unit` is the offset of the unit, `table` the base of its abbreviation table in `Shapes.tables`.
    """

    start: Ints
    end: Ints
    unit: Ints
    table: Ints


@dataclass(frozen=True, slots=True)
class Found:
    """The subprograms and inlined calls that a walk met: where, by which cursor, and the shape of each."""

    position: Ints
    cursor: Ints
    shape: Ints


class Walker:
    """Walks over the DIEs of one section with one set of shapes."""

    def __init__(self, info: Section, shapes: Shapes) -> None:
        self._info = info
        self._bytes = info.bytes
        self._shapes = shapes
        self._one = _OneByOne(info, shapes)

    def walk(self, cursors: Cursors) -> Found:
        """Every subprogram and inlined call below the cursors; what is below a subprogram may be left out.

        Raises `FormatError` where DIEs reach past the end of their unit or go backwards.
        """
        found = _Collector()
        outside = cursors.start >= cursors.end
        if outside.any():
            self._fail(int(cursors.start[np.argmax(outside)]), PAST_UNIT)
        lanes = _Lanes(cursors)
        while len(lanes.index) > FEW:
            self._step(lanes, found)
            for _ in range(GLIDES):
                self._glide(lanes)
        for index, at, level in zip(
            *(c.tolist() for c in (lanes.index, lanes.position, lanes.depth)), strict=True
        ):
            limits = int(cursors.end[index]), int(cursors.unit[index]), int(cursors.table[index])
            self._one.walk(at, level, *limits, index, found)
        return found.finished()

    def _step(self, lanes: _Lanes, found: _Collector) -> None:
        """Move every cursor past one DIE, and drop those that are done."""
        shapes, position = self._shapes, lanes.position
        shape = shapes.tables.take(self._bytes.take(position) + lanes.table)
        after = position + shapes.size.take(shape)
        flags = shapes.flags.take(shape)
        special = flags.nonzero()[0]
        deeper = False
        if special.size:
            deeper = self._special(lanes, shape, after, flags, special, found)
        if deeper:
            lanes.keep(lanes.depth > 0, after)
        else:
            lanes.position = after
        self._drop_ended(lanes)

    def _glide(self, lanes: _Lanes) -> None:
        """Move the cursors past DIEs that take no more than adding a size or a jump; others stay."""
        shapes = self._shapes
        shape = shapes.tables.take(self._bytes.take(lanes.position) + lanes.table)
        after = lanes.position + shapes.glide.take(shape)
        at = shapes.jumps.take(shape).nonzero()[0]
        if at.size:
            after[at] = self._target(lanes.unit_of(at), after.take(at))
        lanes.position = after
        self._drop_ended(lanes)

    def _drop_ended(self, lanes: _Lanes) -> None:
        """Drop cursors at the end of their unit: some compilers leave out the zeros that end it."""
        ended = lanes.position >= lanes.end
        if ended.any():
            wrong = lanes.position > lanes.end
            if wrong.any():
                self._fail(int(lanes.position[np.argmax(wrong)]), PAST_UNIT)
            lanes.keep(~ended, lanes.position)

    def _special(
        self, lanes: _Lanes, shape: Shaped, after: Ints, flags: Flags, special: Ints, found: _Collector
    ) -> bool:
        """Do what the DIEs of the cursors `special` need besides their size; whether any depth changed.

        Puts right `shape` and `after`, where the DIEs end, in place.
        """
        shapes = self._shapes
        kind = flags.take(special)
        union = int(np.bitwise_or.reduce(kind))
        if union & (Flag.LONG | Flag.BAD):
            self._long_codes(lanes, shape, after, special[(kind & (Flag.LONG | Flag.BAD)) != 0])
            kind = shapes.flags.take(shape.take(special))
            union = int(np.bitwise_or.reduce(kind))
        if union & Flag.RECORD:
            at = special[(kind & Flag.RECORD) != 0]
            found.add(lanes.position.take(at), lanes.index.take(at), shape.take(at))
        if union & Flag.JUMP:
            at = special[(kind & Flag.JUMP) != 0]
            value = after.take(at) - shapes.back.take(shape.take(at))
            after[at] = self._target(lanes.unit_of(at), value)
        if union & Flag.PROGRAM:
            at = special[(kind & Flag.PROGRAM) != 0]
            after[at] = self._run(after.take(at), shapes.program.take(shape.take(at)), lanes.unit_of(at))
        if union & Flag.DEPTH:
            lanes.depth += shapes.depth.take(shape)
        return bool(union & Flag.DEPTH)

    def _long_codes(self, lanes: _Lanes, shape: Shaped, after: Ints, at: Ints) -> None:
        """Put right the shape, and where the values start, of the cursors `at`, whose codes are long."""
        place = lanes.position.take(at)
        code, end = self._info.leb(place)
        table = lanes.table.take(at)
        found = self._shapes.of(code, table, self._shapes.limit(table))
        bad = found == BAD_SHAPE
        if bad.any():
            self._fail(int(place[np.argmax(bad)]), UNDEFINED_CODE)
        shape[at] = found
        after[at] = end - 1 + self._shapes.size.take(found)

    def _target(self, unit: Ints, value: Ints) -> Ints:
        """Where the sibling offsets stored at `value` point."""
        target = unit + self._info.unsigned(value, SIBLING_SIZE)
        back = target <= value
        if back.any():
            self._fail(int(value[np.argmax(back)]), "a sibling that is not further on")
        return target

    def children(self, position: Ints, shape: Ints) -> Ints:
        """Where the DIEs at `position` end and their children start."""
        shapes = self._shapes
        _, end = self._info.leb(position)
        after = end - 1 + shapes.size.take(shape)
        at = np.flatnonzero(shapes.flags.take(shape) & Flag.PROGRAM)
        after[at] = self._run(after.take(at), shapes.program.take(shape.take(at)), None)
        return after

    def _run(self, position: Ints, program: Ints, unit: Ints | None) -> Ints:
        """Run shapes' programs; without `unit`, siblings are not jumped to but passed over."""
        shapes = self._shapes
        result = position.copy()
        live = np.arange(len(position))
        while True:
            at = result.take(live) + shapes.skips.take(program)
            ending = shapes.endings.take(program)
            for kind in np.bincount(ending).nonzero()[0].tolist():
                if kind == Ending.DONE:
                    continue
                which = (ending == kind).nonzero()[0]
                if kind != Ending.SIBLING:
                    at[which] = self._info.past(at.take(which), kind)
                elif unit is None:
                    at[which] += SIBLING_SIZE
                else:
                    at[which] = self._target(unit.take(live.take(which)), at.take(which))
                    ending[which] = Ending.DONE
            result[live] = at
            more = ending.nonzero()[0]
            if not more.size:
                return result
            live, program = live.take(more), program.take(more) + 1

    def _fail(self, position: int, problem: str) -> NoReturn:
        raise self._info.error(position, problem)


class _Lanes:
    """The cursors that are still going: which of all they are, where they are, and how deep."""

    __slots__ = ("_unit", "depth", "end", "index", "position", "table")

    def __init__(self, cursors: Cursors) -> None:
        self.index = np.arange(len(cursors.start))
        self.position = cursors.start
        self.depth = np.ones(len(cursors.start), np.int64)
        self.table = cursors.table
        self.end = cursors.end
        self._unit = cursors.unit

    def unit_of(self, lanes: Ints) -> Ints:
        """Where the units of some of the cursors start."""
        return self._unit.take(self.index.take(lanes))

    def keep(self, alive: npt.NDArray[np.bool_], position: Ints) -> None:
        """Set all positions and drop the cursors that are not `alive`."""
        self.position = position
        if alive.all():
            return
        rows = alive.nonzero()[0]
        self.index, self.position, self.depth, self.table, self.end = (
            column.take(rows) for column in (self.index, self.position, self.depth, self.table, self.end)
        )


class _Collector:
    def __init__(self) -> None:
        self._parts: list[tuple[Ints, Ints, Shaped]] = []
        self.single: list[tuple[int, int, int]] = []

    def add(self, position: Ints, cursor: Ints, shape: Shaped) -> None:
        self._parts.append((position, cursor, shape))

    def finished(self) -> Found:
        single = np.array(self.single, np.int64).reshape(-1, 3).T
        parts = [*self._parts, (single[0], single[1], single[2].astype(np.int32))]
        position, cursor, shape = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Found(position, cursor, shape.astype(np.int64))


class _OneByOne:
    """The same walk for one cursor, in plain Python."""

    def __init__(self, info: Section, shapes: Shapes) -> None:
        self._info = info
        self._shapes = shapes
        self._data = info.data
        self._tables = shapes.tables
        self._flags: list[int] = shapes.flags.tolist()
        self._size: list[int] = shapes.size.tolist()
        self._sibling: list[int] = shapes.sibling.tolist()
        self._depth: list[int] = shapes.depth.tolist()
        self._program: list[int] = shapes.program.tolist()
        self._skips: list[int] = shapes.skips.tolist()
        self._endings: list[int] = shapes.endings.tolist()
        self._word = struct.Struct(info.order + "I").unpack_from

    def walk(self, at: int, depth: int, end: int, unit: int, base: int, cursor: int, found: _Collector) -> None:
        data, sizes, all_flags = self._data, self._size, self._flags
        tables = self._tables[base : base + 2 * LONG_CODES].tolist()
        while at < end:
            shape = tables[data[at]]
            start, flags = at, all_flags[shape]
            if flags & (Flag.LONG | Flag.BAD):
                at, shape = self._long_code(at, base)
                flags = all_flags[shape]
            after = at + sizes[shape]
            if flags:
                if flags & Flag.RECORD:
                    found.single.append((start, cursor, shape))
                if flags & Flag.JUMP:
                    after = self._target(unit, at + self._sibling[shape])
                elif flags & Flag.PROGRAM:
                    after = self._run(after, self._program[shape], unit)
                depth += self._depth[shape]
                if not depth:
                    at = after
                    break
            at = after
        if at > end:
            raise self._info.error(at, PAST_UNIT)

    def _long_code(self, at: int, base: int) -> tuple[int, int]:
        """The shape of the long code at `at`, and the place of its last byte."""
        code, end = leb(self._data, at)
        table = np.array([base])
        shape = int(self._shapes.of(np.array([min(code, MAX_CODE + 1)]), table, self._shapes.limit(table))[0])
        if shape == BAD_SHAPE:
            raise self._info.error(at, UNDEFINED_CODE)
        return end - 1, shape

    def _target(self, unit: int, value: int) -> int:
        target: int = unit + self._word(self._data, value)[0]
        if target <= value:
            raise self._info.error(value, "a sibling that is not further on")
        return target

    def _run(self, at: int, step: int, unit: int) -> int:
        while True:
            at += self._skips[step]
            ending = self._endings[step]
            if ending == Ending.DONE:
                return at
            if ending == Ending.SIBLING:
                return self._target(unit, at)
            at = self._info.past_one(at, ending)
            step += 1
