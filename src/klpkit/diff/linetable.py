"""Which source line each place of a function's code comes from: the `.debug_line` of a relocatable object.

DWARF 5, section 6.2 (versions 2 to 5).  A relocatable object keeps the start of every sequence of rows in a
relocation of its `DW_LNE_set_address`, so only the sequences that are asked for are run.  What can't be read is
no line: the table adds reasons and never decides what changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from klpkit.diff.linebytes import LineBytes, Unit
from klpkit.diff.pool import Ints
from klpkit.elf import ElfFile
from klpkit.errors import KlpkitError

SET_ADDRESS = bytes((0, 9, 2))
"""An extended opcode of 9 bytes: `DW_LNE_set_address`; the address follows."""

# Opcodes of the program.
_EXTENDED, _COPY, _ADVANCE_PC, _ADVANCE_LINE, _SET_FILE = 0, 1, 2, 3, 4
_CONST_ADD_PC, _FIXED_ADVANCE_PC, _SET_PROLOGUE_END = 8, 9, 10
_END_SEQUENCE, _SET_ADDRESS = 1, 2


class Row(NamedTuple):
    """The code from `offset` on (counted from where was asked) comes from `line` of `file`.

    `folder` is where the compiler ran, as far as the table says; a file that is not below it has its whole path.
    """

    offset: int
    file: str
    line: int
    folder: str
    opens: bool = True
    """False behind a function's prologue: a function whose first row is such does not say where it begins."""


@dataclass(slots=True)
class _Registers:
    """The registers of the state machine that rows need (6.2.2)."""

    address: int = 0
    file: int = 1
    line: int = 1
    past_prologue: bool = False


class LineTable:
    """The lines of one relocatable object."""

    def __init__(self, elf: ElfFile) -> None:
        self._elf = elf
        self._bytes = LineBytes(elf)
        self._units: dict[int, Unit] = {}
        self._rows: dict[int, dict[int, list[Row]]] = {}

    def rows(self, section: int, start: int, end: int) -> list[Row]:
        """The rows of the code at offsets `start` to `end` of a section, in order; empty where nothing is told.

        Of several rows at one place the last holds; the first row of a function is the line that it begins in.
        """
        try:
            places, sections, offsets = self._sequences
            mine = np.flatnonzero((sections == section) & (offsets <= start))
            if not len(mine):
                return []
            place = int(places[mine[int(np.argmax(offsets[mine]))]])
            found = self._programs(place)[place]
        except (KlpkitError, LookupError, ValueError, ArithmeticError):
            return []
        return _clipped(found, start, end)

    @cached_property
    def _sequences(self) -> tuple[Ints, Ints, Ints]:
        """Where the sequences begin in `.debug_line`; the section and the offset there that each starts at."""
        at, sections, offsets = [], [], []
        symbols = self._elf.symbols
        for table in self._bytes.relocations:
            rows = zip(table.offset.tolist(), table.symbol.tolist(), table.addend.tolist(), strict=True)
            for place, symbol, addend in rows:
                if place >= 3 and self._bytes.data[place - 3 : place] == SET_ADDRESS:
                    at.append(place - 3)
                    sections.append(int(symbols.section[symbol]))
                    offsets.append(int(symbols.value[symbol]) + addend)
        return np.array(at, np.int64), np.array(sections, np.int64), np.array(offsets, np.int64)

    def _unit(self, place: int) -> Unit:
        """The header of the program that holds `place`."""
        starts = self._bytes.unit_starts
        start = starts[int(np.searchsorted(starts, place, side="right")) - 1]
        if start not in self._units:
            self._units[start] = self._bytes.unit(start)
        return self._units[start]

    def _programs(self, place: int) -> dict[int, list[Row]]:
        """The sequences of the unit that holds `place`: where each starts → its rows."""
        unit = self._unit(place)
        if unit.start not in self._rows:
            self._rows[unit.start] = dict(self._run(unit))
        return self._rows[unit.start]

    def _run(self, unit: Unit) -> Iterator[tuple[int, list[Row]]]:
        """Run a program; the place of each sequence's address and its rows, with offsets in the section."""
        data, base, at = self._bytes.data, len(unit.lengths) + 1, unit.start
        state, place, rows = _Registers(), 0, list[Row]()
        while at < unit.end:
            code = data[at]
            at += 1
            if code >= base:
                state.address += (code - base) // unit.line_range * unit.step
                state.line += unit.line_base + (code - base) % unit.line_range
            elif code != _EXTENDED:
                at = self._standard(unit, code, at, state)
            else:
                size, after = self._bytes.leb(at)
                if data[after] == _END_SEQUENCE:
                    yield place, [*rows, Row(state.address, "", 0, "")]
                    state, place, rows = _Registers(), 0, []
                elif data[after] == _SET_ADDRESS:
                    place, state.address = at - 1, self._offset_of[at - 1]
                at = after + size
            if code >= base or code == _COPY:
                at_entry = not state.past_prologue
                rows.append(Row(state.address, unit.files[state.file], state.line, unit.folder, at_entry))
                state.past_prologue = False

    def _standard(self, unit: Unit, code: int, at: int, state: _Registers) -> int:
        """Run one standard opcode whose operands are at `at`; where they end."""
        if code == _ADVANCE_PC:
            value, at = self._bytes.leb(at)
            state.address += value * unit.step
        elif code == _ADVANCE_LINE:
            value, at = self._bytes.signed_leb(at)
            state.line += value
        elif code == _SET_FILE:
            state.file, at = self._bytes.leb(at)
        elif code == _CONST_ADD_PC:
            state.address += (255 - len(unit.lengths) - 1) // unit.line_range * unit.step
        elif code == _FIXED_ADVANCE_PC:
            state.address, at = state.address + self._bytes.number(at, 2), at + 2
        else:
            state.past_prologue |= code == _SET_PROLOGUE_END
            for _ in range(unit.lengths[code - 1]):
                _, at = self._bytes.leb(at)
        return at

    @cached_property
    def _offset_of(self) -> dict[int, int]:
        places, _, offsets = self._sequences
        return dict(zip(places.tolist(), offsets.tolist(), strict=True))


def _clipped(rows: list[Row], start: int, end: int) -> list[Row]:
    """The rows that reach into `start` to `end`, with offsets counted from `start`."""
    found = []
    for row, after in pairwise(rows):
        if row.line and row.offset < end and (after.offset > start or row.offset == start):
            found.append(row._replace(offset=max(row.offset, start) - start))
    return found
