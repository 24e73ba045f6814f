"""Reading an ELF64 file: relocatable, executable or shared, of either byte order.

The format is the System V ABI's (chapters 4 and 5) with extended section numbering: a file of 65,280 sections
or more keeps their number in the null section's `sh_size` and the string table's number in its `sh_link`, and
symbols of such sections have theirs in an `SHT_SYMTAB_SHNDX` table.  Every offset and number is checked before
it is used, so a broken file ends in a `FormatError` that names the place.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from klpkit.elf import constants as c
from klpkit.elf.compression import decompressed
from klpkit.elf.layout import BIG, LITTLE, Buffer, Layout, records, table
from klpkit.elf.notes import Group, Note, group, notes
from klpkit.elf.relocations import RelocationTable
from klpkit.elf.sections import SectionTable
from klpkit.elf.strings import StringTable
from klpkit.elf.symbols import SymbolTable, resolved_sections
from klpkit.errors import FormatError, RefusedError, UserError

# Smaller files are read whole: faster than a mapping, and safe from a build that rewrites them meanwhile.
MAP_FROM_BYTES = 1 << 22


class ElfFile:
    """One ELF64 file over its bytes.  Tables are made on demand; views keep the mapping alive."""

    def __init__(self, data: Buffer, path: object = "<bytes>") -> None:
        self.path = path
        self._data = memoryview(data)
        self.layout = _layout(self._data, path)
        header = records(self._data, self.layout.header, 0, 1, path=path, place="file header")[0]
        self.type = int(header["type"])
        self.machine = int(header["machine"])
        self.flags = int(header["flags"])
        self.entry = int(header["entry"])
        self._section_rows, self._name_section = self._read_sections(header)

    @classmethod
    def open(cls, path: Path | str) -> ElfFile:
        """The ELF file at `path`; `UserError` if it can't be read, `FormatError` if it is broken."""
        try:
            with open(path, "rb") as file:
                file.seek(0, 2)
                if file.tell() >= MAP_FROM_BYTES:
                    return cls(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), path)
                file.seek(0)
                return cls(file.read(), path)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}", hint="name an object file that can be read") from error

    def same_bytes(self, other: ElfFile) -> bool:
        """Whether both files hold the same bytes throughout."""
        return np.array_equal(np.frombuffer(self._data, np.uint8), np.frombuffer(other._data, np.uint8))

    @property
    def ident(self) -> bytes:
        """The first 16 bytes (`e_ident`)."""
        return bytes(self._data[:16])

    @property
    def name_section(self) -> int:
        """The number of the string table with the names of sections."""
        return self._name_section

    @property
    def byte_order(self) -> str:
        """`<` for little endian, `>` for big endian, as in `struct`."""
        return self.layout.order

    @property
    def relocatable(self) -> bool:
        return self.type == c.ET_REL

    def _read_sections(self, header: Any) -> tuple[npt.NDArray[Any], int]:
        kind, place = self.layout.section, "section header table"
        offset, count = int(header["shoff"]), int(header["shnum"])
        names = int(header["shstrndx"])
        if not offset:
            return records(self._data, kind, 0, 0, path=self.path, place=place), 0
        if int(header["shentsize"]) != kind.itemsize:
            raise FormatError(self.path, place, f"entries of {int(header['shentsize'])} bytes, not 64")
        first = records(self._data, kind, offset, 1, path=self.path, place=place)[0]
        count = count or int(first["size"])
        names = int(first["link"]) if names == c.SHN_XINDEX else names
        rows = records(self._data, kind, offset, count, path=self.path, place=place)
        if names >= max(count, 1):
            raise FormatError(self.path, "file header", f"there is no section {names} with the section names")
        return rows, names

    @cached_property
    def sections(self) -> SectionTable:
        """All section headers."""
        rows = self._section_rows
        data: Buffer = b"\0"
        if self._name_section:
            row = rows[self._name_section]
            place = f"section {self._name_section} (section names)"
            extent = (int(row["offset"]), int(row["size"]))
            data = records(self._data, np.dtype(np.uint8), *extent, path=self.path, place=place).tobytes()
        table_ = SectionTable(rows, StringTable(data, self.path, "section names"))
        table_.check_extents(len(self._data), self.path)
        return table_

    def content(self, index: int) -> memoryview:
        """The bytes of section number `index`, decompressed if need be; empty for `SHT_NOBITS`."""
        raw = self.stored(index)
        if self._compressed[index] and len(raw):
            return memoryview(decompressed(raw, self.byte_order, path=self.path, place=self.place(index)))
        return raw

    @cached_property
    def _compressed(self) -> list[bool]:
        found: list[bool] = ((self.sections.flags & np.uint64(c.SHF_COMPRESSED)) != 0).tolist()
        return found

    def stored(self, index: int) -> memoryview:
        """The bytes of section number `index` as they are in the file."""
        start, end = self._extents[index]
        return self._data[start:end]

    @cached_property
    def _extents(self) -> list[tuple[int, int]]:
        """Where each section's bytes begin and end in the file; `(0, 0)` for sections without any."""
        sections = self.sections
        none = (sections.type == c.SHT_NOBITS) | (sections.type == c.SHT_NULL)
        start = np.where(none, 0, sections.offset.astype(np.int64))
        end = np.where(none, 0, start + sections.size.astype(np.int64))
        return list(zip(start.tolist(), end.tolist(), strict=True))

    def place(self, index: int) -> str:
        """How an error names section number `index`."""
        return f"section {index} ({self.sections.names[index]})"

    def strings(self, index: int, used_by: str) -> StringTable:
        """The string table in section number `index`."""
        if not 0 < index < len(self.sections) or self.sections.type[index] != c.SHT_STRTAB:
            raise FormatError(self.path, used_by, f"section {index} is no string table")
        return StringTable(self.content(index), self.path, self.place(index))

    @cached_property
    def symbols(self) -> SymbolTable:
        """The symbol table, or the dynamic one where that is all there is; empty for a stripped file."""
        for kind in (c.SHT_SYMTAB, c.SHT_DYNSYM):
            for index in self.sections.of_type(kind):
                return self.symbol_table(index)
        rows = np.zeros(1, self.layout.symbol)
        return SymbolTable(rows, np.zeros(1, np.int64), StringTable(b"\0", self.path, "no symbols"), 1)

    def symbol_table(self, index: int) -> SymbolTable:
        """The symbol table in section number `index`."""
        place, sections = self.place(index), self.sections
        size = int(sections.entry_size[index])
        rows = table(self.content(index), self.layout.symbol, size, path=self.path, place=place)
        strings = self.strings(int(sections.link[index]), place)
        extended = self._extended_numbers(index)
        section = resolved_sections(rows, extended, len(sections), path=self.path, place=place)
        first_global = int(sections.info[index])
        if first_global > len(rows):
            raise FormatError(self.path, place, f"its first global symbol {first_global} is not there")
        return SymbolTable(rows, section, strings, first_global)

    def _extended_numbers(self, symbols: int) -> npt.NDArray[Any] | None:
        for index in self.sections.of_type(c.SHT_SYMTAB_SHNDX):
            if self.sections.link[index] == symbols:
                place = self.place(index)
                return table(self.content(index), self.layout.word, 4, path=self.path, place=place)
        return None

    def relocations(self, index: int) -> RelocationTable:
        """The relocations in section number `index`."""
        place, sections = self.place(index), self.sections
        kind = int(sections.type[index])
        target, symbols = int(sections.info[index]), int(sections.link[index])
        layout = self.layout.rela if kind == c.SHT_RELA else self.layout.rel
        size = int(sections.entry_size[index])
        rows = table(self.content(index), layout, size, path=self.path, place=place)
        relocations = RelocationTable(index, target, symbols, kind, rows)
        if target >= len(sections) or (self.relocatable and not target):
            raise FormatError(self.path, place, f"there is no section {target} to relocate")
        count = len(self._checked_symbols(symbols, place)) if len(rows) else 0
        extent = self._extent(target) if self.relocatable else None
        relocations.check(count, extent, path=self.path, place=place)
        return relocations

    def _extent(self, index: int) -> int:
        if int(self.sections.flags[index]) & c.SHF_COMPRESSED:
            return len(self.content(index))
        return int(self.sections.size[index])

    def _checked_symbols(self, index: int, place: str) -> SymbolTable:
        """The symbol table that the relocations of `place` name."""
        if not index and not self.relocatable:
            return self.symbols
        if index >= len(self.sections) or self.sections.type[index] not in (c.SHT_SYMTAB, c.SHT_DYNSYM):
            raise FormatError(self.path, place, f"section {index} is no symbol table")
        main = self.sections.of_type(c.SHT_SYMTAB)
        return self.symbols if main[:1] == [index] else self.symbol_table(index)

    @cached_property
    def relocation_sections(self) -> list[int]:
        """The numbers of all sections with relocations, in file order."""
        kinds = self.sections.type
        rows: list[int] = np.flatnonzero((kinds == c.SHT_RELA) | (kinds == c.SHT_REL)).tolist()
        return rows

    def relocations_of(self, target: int) -> list[RelocationTable]:
        """The relocations that apply to section number `target`."""
        return [
            self.relocations(index) for index in self.relocation_sections if self.sections.info[index] == target
        ]

    def groups(self) -> list[Group]:
        """All section groups."""
        found = []
        for index in self.sections.of_type(c.SHT_GROUP):
            symbols = self._checked_symbols(int(self.sections.link[index]), self.place(index))
            symbol = int(self.sections.info[index])
            if symbol >= len(symbols):
                raise FormatError(self.path, self.place(index), f"there is no symbol {symbol} to name the group")
            content = self.content(index)
            found.append(group(content, index, symbol, len(self.sections), self.layout, path=self.path))
        return found

    def notes(self) -> Iterator[Note]:
        """All notes of all note sections."""
        for index in self.sections.of_type(c.SHT_NOTE):
            align = int(self.sections.align[index])
            yield from notes(self.content(index), align, self.byte_order, path=self.path, place=self.place(index))


def _layout(data: memoryview, path: object) -> Layout:
    """The layout that the file's first bytes call for; an error saying what else the file is."""
    ident = bytes(data[:16])
    if ident[:4] != c.ELF_MAGIC:
        raise FormatError(
            path, "", f"no ELF file{_lookalike(ident)}", hint="name an object file or a linked image"
        )
    if len(ident) < 16:
        raise FormatError(path, "file header", "cut short")
    if ident[4] == c.ELFCLASS32:
        raise RefusedError("elf32", f"{path}: a 32-bit ELF file", hint="klpkit reads 64-bit ELF only")
    if ident[4] != c.ELFCLASS64 or ident[5] not in (c.ELFDATA2LSB, c.ELFDATA2MSB):
        raise FormatError(path, "file header", f"unknown class {ident[4]} or byte order {ident[5]}")
    return LITTLE if ident[5] == c.ELFDATA2LSB else BIG


_LOOKALIKES = {
    b"BC\xc0\xde": "LLVM bitcode (-flto)",
    b"!<arch>\n": "an archive",
    b"!<thin>\n": "a thin archive",
    b"\x1f\x8b": "gzip data",
    b"\xfd7zXZ": "xz data",
    b"\x28\xb5\x2f\xfd": "zstd data",
}


def _lookalike(ident: bytes) -> str:
    for magic, what in _LOOKALIKES.items():
        if ident.startswith(magic):
            return f" but {what}"
    return " but empty" if not ident else ""
