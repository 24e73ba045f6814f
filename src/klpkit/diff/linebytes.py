"""The bytes of `.debug_line` in a relocatable object: numbers, strings and the headers of its programs.

DWARF 5, sections 6.2.4 (versions 2 to 5) and 7.5.5 (forms).  Whatever can't be read raises `ValueError`,
`LookupError` or `ArithmeticError`.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from klpkit.elf import ElfFile, RelocationTable

_STRING, _LINE_STRP, _STRP, _UDATA, _BLOCK = 0x08, 0x1F, 0x0E, 0x0F, 0x09
_FIXED = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16, _LINE_STRP: 4, _STRP: 4}
_PATH, _DIRECTORY = 1, 2


@dataclass(frozen=True, slots=True)
class Unit:
    """The header of one line number program; `files` are paths by number."""

    start: int
    end: int
    step: int
    line_base: int
    line_range: int
    lengths: tuple[int, ...]
    files: tuple[str, ...]
    folder: str


class LineBytes:
    """The section `.debug_line` of one object; `section` is 0 and `data` empty where there is none."""

    def __init__(self, elf: ElfFile) -> None:
        found = elf.sections.find(".debug_line")
        self.section = found[0] if len(found) == 1 else 0
        self._elf = elf
        self._order: Literal["little", "big"] = "little" if elf.byte_order == "<" else "big"

    @cached_property
    def data(self) -> bytes:
        """The section's bytes, decompressed if need be."""
        return bytes(self._elf.content(self.section)) if self.section else b""

    @cached_property
    def relocations(self) -> list[RelocationTable]:
        """The relocations that apply to the section."""
        return self._elf.relocations_of(self.section) if self.section else []

    @cached_property
    def _strings(self) -> dict[int, int]:
        """Places in `.debug_line` → the offsets in string sections that their relocations say."""
        values = self._elf.symbols.value
        return {
            place: int(values[symbol]) + addend
            for table in self.relocations
            for place, symbol, addend in zip(
                table.offset.tolist(), table.symbol.tolist(), table.addend.tolist(), strict=True
            )
        }

    @cached_property
    def unit_starts(self) -> list[int]:
        """Where the units begin."""
        starts, at = [], 0
        while at + 4 <= len(self.data):
            starts.append(at)
            length = self.number(at, 4)
            if length >= 0xFFFFFFF0:
                raise ValueError("64-bit DWARF")
            at += 4 + length
        return starts

    def number(self, at: int, size: int) -> int:
        """The unsigned number of `size` bytes at `at`."""
        return int.from_bytes(self.data[at : at + size], self._order)

    def leb(self, at: int) -> tuple[int, int]:
        """The ULEB128 number at `at`, and where it ends."""
        value = shift = 0
        while True:
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value, at

    def signed_leb(self, at: int) -> tuple[int, int]:
        """The SLEB128 number at `at`, and where it ends."""
        value, end = self.leb(at)
        bits = 7 * (end - at)
        return (value - (1 << bits) if self.data[end - 1] & 0x40 else value), end

    def text(self, at: int) -> tuple[str, int]:
        """The string at `at`, and where what follows it begins."""
        end = self.data.index(b"\0", at)
        return self.data[at:end].decode("utf-8", "surrogateescape"), end + 1

    def unit(self, start: int) -> Unit:
        """The header of the unit that begins at `start`."""
        version = self.number(start + 4, 2)
        if not 2 <= version <= 5:
            raise ValueError("another version")
        at = start + 6 + (2 if version == 5 else 0)
        program = at + 4 + self.number(at, 4)
        at += 4
        step = self.data[at]
        at += 2 if version >= 4 else 1
        line_base = int.from_bytes(self.data[at + 1 : at + 2], "little", signed=True)
        line_range, count = self.data[at + 2], self.data[at + 3]
        lengths = tuple(self.data[at + 4 : at + 3 + count])
        names = self._new_files if version == 5 else self._old_files
        end = start + 4 + self.number(start, 4)
        return Unit(program, end, step, line_base, line_range, lengths, *names(at + 3 + count))

    def _old_files(self, at: int) -> tuple[tuple[str, ...], str]:
        """Versions 2 to 4: folders, then files, each list ended by an empty string; both counted from 1."""
        folders, files = [""], [""]
        while self.data[at]:
            text, at = self.text(at)
            folders.append(text)
        at += 1
        while self.data[at]:
            text, at = self.text(at)
            folder, at = self.leb(at)
            _, at = self.leb(at)
            _, at = self.leb(at)
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
        count = self.data[at]
        at += 1
        for _ in range(count):
            content, at = self.leb(at)
            form, at = self.leb(at)
            fields.append((content, form))
        count, at = self.leb(at)
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
            return self.text(at)
        if form == _UDATA:
            return self.leb(at)
        if form == _BLOCK:
            size, at = self.leb(at)
            return 0, at + size
        size = _FIXED[form]
        if form not in (_LINE_STRP, _STRP):
            return self.number(at, size), at + size
        section = self._elf.sections.find(".debug_line_str" if form == _LINE_STRP else ".debug_str")[0]
        offset = self._strings.get(at, self.number(at, size))
        return self._elf_string(section, offset), at + size

    def _elf_string(self, section: int, offset: int) -> str:
        data = self._elf.content(section)
        end = bytes(data[offset : offset + 4096]).index(b"\0")
        return bytes(data[offset : offset + end]).decode("utf-8", "surrogateescape")
