"""Which source line each place of a function's code comes from: the `.debug_line` of a relocatable object.

DWARF 5, section 6.2 (versions 2 to 5).  A relocatable object keeps the start of every sequence of rows in a
relocation of its `DW_LNE_set_address`, so only the sequences that are asked for are run.  What can't be read is
no line: the table adds reasons and never decides what changed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from klpkit.diff.pool import Ints
from klpkit.elf import ElfFile
from klpkit.errors import KlpkitError

SET_ADDRESS = bytes((0, 9, 2))
"""An extended opcode of 9 bytes: `DW_LNE_set_address`; the address follows."""

_STRING, _LINE_STRP, _STRP, _UDATA, _BLOCK = 0x08, 0x1F, 0x0E, 0x0F, 0x09
_FIXED = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16, _LINE_STRP: 4, _STRP: 4}
_PATH, _DIRECTORY = 1, 2

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


@dataclass(frozen=True, slots=True)
class _Unit:
    """The header of one line number program; `files` are paths by number."""

    start: int
    end: int
    step: int
    line_base: int
    line_range: int
    lengths: tuple[int, ...]
    files: tuple[str, ...]
    folder: str


class LineTable:
    """The lines of one relocatable object."""

    def __init__(self, elf: ElfFile) -> None:
        self._elf = elf
        self._order = "little" if elf.byte_order == "<" else "big"
        found = elf.sections.find(".debug_line")
        self._section = found[0] if len(found) == 1 else 0
        self._data = bytes(elf.content(self._section)) if self._section else b""
        self._units: dict[int, _Unit] = {}
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
        for table in self._elf.relocations_of(self._section) if self._section else ():
            rows = zip(table.offset.tolist(), table.symbol.tolist(), table.addend.tolist(), strict=True)
            for place, symbol, addend in rows:
                if place >= 3 and self._data[place - 3 : place] == SET_ADDRESS:
                    at.append(place - 3)
                    sections.append(int(symbols.section[symbol]))
                    offsets.append(int(symbols.value[symbol]) + addend)
        return np.array(at, np.int64), np.array(sections, np.int64), np.array(offsets, np.int64)

    @cached_property
    def _strings(self) -> dict[int, int]:
        """Places in `.debug_line` → the offsets in string sections that their relocations say."""
        values = self._elf.symbols.value
        return {
            place: int(values[symbol]) + addend
            for table in self._elf.relocations_of(self._section)
            for place, symbol, addend in zip(
                table.offset.tolist(), table.symbol.tolist(), table.addend.tolist(), strict=True
            )
        }

    @cached_property
    def _unit_starts(self) -> list[int]:
        starts, at = [], 0
        while at + 4 <= len(self._data):
            starts.append(at)
            length = self._number(at, 4)
            if length >= 0xFFFFFFF0:
                raise ValueError("64-bit DWARF")
            at += 4 + length
        return starts

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self._data[at : at + size], self._order)  # type: ignore[arg-type]

    def _leb(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value, at

    def _signed_leb(self, at: int) -> tuple[int, int]:
        value, end = self._leb(at)
        bits = 7 * (end - at)
        return (value - (1 << bits) if self._data[end - 1] & 0x40 else value), end

    def _text(self, at: int) -> tuple[str, int]:
        end = self._data.index(b"\0", at)
        return self._data[at:end].decode("utf-8", "surrogateescape"), end + 1

    def _unit(self, place: int) -> _Unit:
        """The header of the program that holds `place`."""
        starts = self._unit_starts
        start = starts[int(np.searchsorted(starts, place, side="right")) - 1]
        if start not in self._units:
            self._units[start] = self._header(start)
        return self._units[start]

    def _header(self, start: int) -> _Unit:
        version = self._number(start + 4, 2)
        if not 2 <= version <= 5:
            raise ValueError("another version")
        at = start + 6 + (2 if version == 5 else 0)
        program = at + 4 + self._number(at, 4)
        at += 4
        step = self._data[at]
        at += 2 if version >= 4 else 1
        line_base = int.from_bytes(self._data[at + 1 : at + 2], "little", signed=True)
        line_range, count = self._data[at + 2], self._data[at + 3]
        lengths = tuple(self._data[at + 4 : at + 3 + count])
        names = self._new_files if version == 5 else self._old_files
        end = start + 4 + self._number(start, 4)
        return _Unit(program, end, step, line_base, line_range, lengths, *names(at + 3 + count))

    def _old_files(self, at: int) -> tuple[tuple[str, ...], str]:
        """Versions 2 to 4: folders, then files, each list ended by an empty string; both counted from 1."""
        folders, files = [""], [""]
        while self._data[at]:
            text, at = self._text(at)
            folders.append(text)
        at += 1
        while self._data[at]:
            text, at = self._text(at)
            folder, at = self._leb(at)
            _, at = self._leb(at)
            _, at = self._leb(at)
            files.append(posixpath.join(folders[folder], text))
        return tuple(files), ""

    def _new_files(self, at: int) -> tuple[tuple[str, ...], str]:
        """Version 5: tables of entries in forms that they state; folder 0 is where the compiler ran."""
        folders, at = self._entries(at)
        files, at = self._entries(at)
        base = folders[0][0] if folders else ""
        paths = [posixpath.join(base, folder) for folder, _ in folders]
        return tuple(posixpath.join(paths[folder], name).removeprefix(f"{base}/") for name, folder in files), base

    def _entries(self, at: int) -> tuple[list[tuple[str, int]], int]:
        """`(name, folder)` of each entry at `at`, and where they end."""
        fields = []
        count = self._data[at]
        at += 1
        for _ in range(count):
            content, at = self._leb(at)
            form, at = self._leb(at)
            fields.append((content, form))
        count, at = self._leb(at)
        found = []
        for _ in range(count):
            name, folder = "", 0
            for content, form in fields:
                value, at = self._value(at, form)
                if content == _PATH and isinstance(value, str):
                    name = value
                elif content == _DIRECTORY and isinstance(value, int):
                    folder = value
            found.append((name, folder))
        return found, at

    def _value(self, at: int, form: int) -> tuple[str | int, int]:
        if form == _STRING:
            return self._text(at)
        if form == _UDATA:
            return self._leb(at)
        if form == _BLOCK:
            size, at = self._leb(at)
            return 0, at + size
        size = _FIXED[form]
        if form not in (_LINE_STRP, _STRP):
            return self._number(at, size), at + size
        section = self._elf.sections.find(".debug_line_str" if form == _LINE_STRP else ".debug_str")[0]
        offset = self._strings.get(at, self._number(at, size))
        return self._elf_string(section, offset), at + size

    def _elf_string(self, section: int, offset: int) -> str:
        data = self._elf.content(section)
        end = bytes(data[offset : offset + 4096]).index(b"\0")
        return bytes(data[offset : offset + end]).decode("utf-8", "surrogateescape")

    def _programs(self, place: int) -> dict[int, list[Row]]:
        """The sequences of the unit that holds `place`: where each starts → its rows."""
        unit = self._unit(place)
        if unit.start not in self._rows:
            self._rows[unit.start] = dict(self._run(unit))
        return self._rows[unit.start]

    def _run(self, unit: _Unit) -> Iterator[tuple[int, list[Row]]]:
        """Run a program; the place of each sequence's address and its rows, with offsets in the section."""
        data, base, at = self._data, len(unit.lengths) + 1, unit.start
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
                size, after = self._leb(at)
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

    def _standard(self, unit: _Unit, code: int, at: int, state: _Registers) -> int:
        """Run one standard opcode whose operands are at `at`; where they end."""
        if code == _ADVANCE_PC:
            value, at = self._leb(at)
            state.address += value * unit.step
        elif code == _ADVANCE_LINE:
            value, at = self._signed_leb(at)
            state.line += value
        elif code == _SET_FILE:
            state.file, at = self._leb(at)
        elif code == _CONST_ADD_PC:
            state.address += (255 - len(unit.lengths) - 1) // unit.line_range * unit.step
        elif code == _FIXED_ADVANCE_PC:
            state.address, at = state.address + self._number(at, 2), at + 2
        else:
            state.past_prologue |= code == _SET_PROLOGUE_END
            for _ in range(unit.lengths[code - 1]):
                _, at = self._leb(at)
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
