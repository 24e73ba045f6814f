"""Writing a relocatable ELF64 object from its model.

Order in the file: groups (which must come before their members), sections each followed by its relocation tables,
then the symbol table, extended section numbers where needed, and the two string tables.  Local symbols come
first, in their order, as `sh_info` of the symbol table demands.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from klpkit.elf import constants as c
from klpkit.elf.layout import BIG, LITTLE, Layout
from klpkit.elf.model import (
    SYMBOLS,
    ElfObject,
    ObjGroup,
    ObjRelocation,
    ObjRelocations,
    ObjSection,
    ObjSymbol,
)
from klpkit.elf.uleb import encode_all
from klpkit.errors import UserError

Part = ObjSection | ObjRelocations | ObjGroup

_HEADER_SIZE = 64
# An object's sections are copied when it is linked or loaded, so their place in the file need not be aligned more.
_MOST_PADDING = 1 << 16


class _Names:
    """A string table that is being filled; each name once."""

    def __init__(self) -> None:
        self._offsets: dict[str, int] = {"": 0}
        self._parts: list[bytes] = [b"\0"]
        self._size = 1

    def add(self, name: str) -> int:
        offset = self._offsets.get(name)
        if offset is None:
            offset = self._offsets[name] = self._size
            part = name.encode("utf-8", "surrogateescape") + b"\0"
            self._parts.append(part)
            self._size += len(part)
        return offset

    def content(self) -> bytes:
        return b"".join(self._parts)


class _Row:
    """A section header and its content, being made."""

    __slots__ = ("address", "align", "content", "entry_size", "flags", "info", "link", "name", "size", "type")

    def __init__(self, name: str, kind: int, flags: int = 0, content: bytes = b"", align: int = 1) -> None:
        self.name = name
        self.type = kind
        self.flags = flags
        self.content = content
        self.size = len(content)
        self.align = align
        self.address = self.link = self.info = self.entry_size = 0


def encoded(model: ElfObject) -> bytes:
    """The content of the file that `model` describes."""
    return _Writing(model).run()


class _Writing:
    """The numbers that sections and symbols get, and the rows of the section header table."""

    def __init__(self, model: ElfObject) -> None:
        self.model = model
        self.layout: Layout = LITTLE if model.order == "<" else BIG
        self.parts: list[Part] = [*model.groups]
        self.targets: dict[int, ObjSection] = {}
        for section in model.sections:
            self.parts.append(section)
            for table in section.relocations:
                self.parts.append(table)
                self.targets[id(table)] = section
        self.numbers = {id(part): number for number, part in enumerate(self.parts, 1)}
        self.ordered = sorted(model.symbols, key=lambda symbol: symbol.bind != c.STB_LOCAL)
        self.symbol_rows = {id(symbol): row for row, symbol in enumerate(self.ordered, 1)}
        if len(self.numbers) != len(self.parts) or len(self.symbol_rows) != len(self.ordered):
            raise ValueError("a section, table or symbol is in the object twice")
        self.symbol_table = len(self.parts) + 1

    def run(self) -> bytes:
        rows = [_Row("", c.SHT_NULL, align=0), *(self._row(part) for part in self.parts)]
        rows += self._symbol_tables()
        names = _Names()
        name_offsets = [names.add(row.name) for row in rows]
        name_offsets.append(names.add(".shstrtab"))
        rows.append(_Row(".shstrtab", c.SHT_STRTAB, content=names.content()))
        return self._laid_out(rows, name_offsets)

    def number(self, part: Part) -> int:
        """The section number of `part`."""
        if id(part) not in self.numbers:
            name = part.name
            raise ValueError(f"section {name} is referred to and not in the object")
        return self.numbers[id(part)]

    def row_of(self, symbol: ObjSymbol | None) -> int:
        """The row of `symbol` in the symbol table; 0 for none."""
        if symbol is None:
            return 0
        if id(symbol) not in self.symbol_rows:
            raise ValueError(f"symbol {symbol.name} is referred to and not in the object")
        return self.symbol_rows[id(symbol)]

    def _row(self, part: Part) -> _Row:
        if isinstance(part, ObjGroup):
            return self._group(part)
        return self._relocations(part) if isinstance(part, ObjRelocations) else self._section(part)

    def _section(self, section: ObjSection) -> _Row:
        row = _Row(section.name, section.type, section.flags, bytes(section.data), section.align)
        if section.symbols is not None:
            row.content = encode_all(self.row_of(symbol) for symbol in section.symbols)
            row.size = len(row.content)
        if section.type == c.SHT_NOBITS:
            row.content, row.size = b"", section.size
        row.address, row.entry_size = section.address, section.entry_size
        if section.link is SYMBOLS:
            row.link = self.symbol_table
        elif isinstance(section.link, ObjSection | ObjRelocations | ObjGroup):
            row.link = self.number(section.link)
        row.info = self.number(section.info_section) if section.info_section else section.info
        return row

    def _relocations(self, table: ObjRelocations) -> _Row:
        kind = self.layout.rela if table.explicit else self.layout.rel
        row = _Row(table.name, c.SHT_RELA if table.explicit else c.SHT_REL, table.flags, align=table.align)
        row.content = self._entries(table.entries, table.explicit)
        row.size, row.entry_size = len(row.content), kind.itemsize
        row.link, row.info = self.symbol_table, self.number(self.targets[id(table)])
        return row

    def _entries(self, entries: list[ObjRelocation], explicit: bool) -> bytes:
        out = np.zeros(len(entries), self.layout.rela if explicit else self.layout.rel)
        out["offset"] = np.array([entry.offset for entry in entries], np.uint64)
        rows = np.array([self.row_of(entry.symbol) for entry in entries], np.uint64)
        kinds = np.array([entry.type for entry in entries], np.uint64)
        out["info"] = (rows << np.uint64(32)) | kinds
        if explicit:
            out["addend"] = np.array([entry.addend for entry in entries], np.int64)
        elif any(entry.addend for entry in entries):
            raise ValueError("an addend in a table that has no place for it")
        return out.tobytes()

    def _group(self, group: ObjGroup) -> _Row:
        members: dict[int, None] = {}
        for member in group.members:
            members[self.number(member)] = None
            if isinstance(member, ObjSection):
                members.update(dict.fromkeys(self.number(table) for table in member.relocations))
        words = [c.GRP_COMDAT if group.comdat else 0, *members]
        row = _Row(group.name, c.SHT_GROUP, content=np.array(words, self.layout.word).tobytes(), align=4)
        row.entry_size, row.link, row.info = 4, self.symbol_table, self.row_of(group.signature)
        return row

    def _symbol_tables(self) -> list[_Row]:
        """The symbol table, extended section numbers where a section needs them, and the names."""
        names = _Names()
        out = np.zeros(len(self.ordered) + 1, self.layout.symbol)
        extended = np.zeros(len(self.ordered) + 1, self.layout.word)
        section = [self.number(s.section) if s.section else 0 for s in self.ordered]
        number = np.array([0, *section], np.int64)
        special = np.array([0, *(s.special if s.section is None else 0 for s in self.ordered)], np.int64)
        large = number >= c.SHN_LORESERVE
        extended[large] = number[large]
        out["shndx"] = np.where(large, c.SHN_XINDEX, np.where(number > 0, number, special))
        out["name"][1:] = [names.add(symbol.name) for symbol in self.ordered]
        out["info"][1:] = [symbol.bind << 4 | symbol.type for symbol in self.ordered]
        out["other"][1:] = [symbol.other for symbol in self.ordered]
        out["value"] = np.array([0, *(symbol.value for symbol in self.ordered)], np.uint64)
        out["size"] = np.array([0, *(symbol.size for symbol in self.ordered)], np.uint64)
        table = _Row(".symtab", c.SHT_SYMTAB, content=out.tobytes(), align=8)
        table.entry_size = self.layout.symbol.itemsize
        table.info = 1 + sum(symbol.bind == c.STB_LOCAL for symbol in self.ordered)
        rows = [table]
        if large.any():
            more = _Row(".symtab_shndx", c.SHT_SYMTAB_SHNDX, content=extended.tobytes(), align=4)
            more.entry_size, more.link = 4, self.symbol_table
            rows.append(more)
        table.link = self.symbol_table + len(rows)
        return [*rows, _Row(".strtab", c.SHT_STRTAB, content=names.content())]

    def _laid_out(self, rows: list[_Row], name_offsets: list[int]) -> bytes:
        out = bytearray(_HEADER_SIZE)
        headers = np.zeros(len(rows), self.layout.section)
        for index, row in enumerate(rows):
            if index:
                out += bytes(-len(out) % min(max(row.align, 1), _MOST_PADDING))
                headers[index] = (
                    name_offsets[index], row.type, row.flags, row.address, len(out), row.size,
                    row.link, row.info, row.align, row.entry_size,
                )  # fmt: skip
                out += row.content
        out += bytes(-len(out) % 8)
        offset, count, last = len(out), len(rows), len(rows) - 1
        if count >= c.SHN_LORESERVE:
            headers[0]["size"] = count
        if last >= c.SHN_LORESERVE:
            headers[0]["link"] = last
        out += headers.tobytes()
        out[:_HEADER_SIZE] = self._header(offset, count, last)
        return bytes(out)

    def _header(self, offset: int, count: int, names: int) -> bytes:
        model = self.model
        data = c.ELFDATA2LSB if model.order == "<" else c.ELFDATA2MSB
        header = np.zeros(1, self.layout.header)
        ident = c.ELF_MAGIC + bytes((c.ELFCLASS64, data, 1, model.os_abi, model.abi_version))
        header["ident"] = ident.ljust(16, b"\0")
        header["type"], header["machine"], header["version"] = c.ET_REL, model.machine, 1
        header["shoff"], header["flags"], header["ehsize"], header["shentsize"] = offset, model.flags, 64, 64
        header["shnum"] = 0 if count >= c.SHN_LORESERVE else count
        header["shstrndx"] = c.SHN_XINDEX if names >= c.SHN_LORESERVE else names
        return header.tobytes()


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that nobody ever sees half of it."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(name, 0o666 & ~mask)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="choose a place that can be written") from error
