"""A symbol table as columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from klpkit.elf.constants import SHN_LORESERVE, SHN_XINDEX, STT_FUNC, STT_GNU_IFUNC
from klpkit.elf.layout import Ints, Offsets, Records
from klpkit.elf.strings import StringTable
from klpkit.errors import FormatError

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol; `index` is its number in its table, `section` as in `SymbolTable.section`."""

    index: int
    name: str
    value: int
    size: int
    type: int
    bind: int
    visibility: int
    section: int
    other: int


class SymbolTable:
    """All symbols of a table: one numpy column a field, one row a symbol, row 0 the null symbol.

    `section` is the section number with `SHN_XINDEX` resolved; 0 is undefined, and the reserved numbers are
    negative (`SECTION_ABS`, `SECTION_COMMON`).  `value` is an offset in the section in relocatable objects, an
    address elsewhere.  `other` is the whole `st_other` byte, whose upper bits belong to the architecture.
    `first_global` is the table's `sh_info`.
    """

    def __init__(self, rows: Records, section: Ints, strings: StringTable, first_global: int) -> None:
        self._strings = strings
        self.first_global = first_global
        self.name_offset: Ints = rows["name"].astype(np.int64)
        self.value: Offsets = rows["value"].astype(np.uint64)
        self.size: Offsets = rows["size"].astype(np.uint64)
        info = rows["info"].astype(np.uint8)
        self.type: Bytes = info & np.uint8(0xF)
        self.bind: Bytes = info >> np.uint8(4)
        self.other: Bytes = rows["other"].astype(np.uint8)
        self.visibility: Bytes = self.other & np.uint8(3)
        self.section = section

    def __len__(self) -> int:
        return len(self.value)

    @cached_property
    def names(self) -> list[str]:
        """The names of all symbols, row by row."""
        return self._strings.names(self.name_offset)

    def has_name(self, name: str) -> bool:
        """Whether the table's strings hold `name` (so a symbol may be called so), without reading all names."""
        return self._strings.holds(name)

    @cached_property
    def _by_name(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(self.names):
            rows.setdefault(name, []).append(row)
        return rows

    def find(self, name: str) -> list[int]:
        """The rows of all symbols called `name`: names of local symbols repeat."""
        return list(self._by_name.get(name, ()))

    @cached_property
    def defined_functions(self) -> Ints:
        """The rows of all functions that have code in this file."""
        function = (self.type == STT_FUNC) | (self.type == STT_GNU_IFUNC)
        return np.flatnonzero(function & (self.section > 0)).astype(np.int64)

    def __getitem__(self, row: int) -> Symbol:
        return Symbol(
            row,
            self.names[row],
            int(self.value[row]),
            int(self.size[row]),
            int(self.type[row]),
            int(self.bind[row]),
            int(self.visibility[row]),
            int(self.section[row]),
            int(self.other[row]),
        )

    def __iter__(self) -> Iterator[Symbol]:
        return (self[row] for row in range(len(self)))


def resolved_sections(
    rows: Records, extended: npt.NDArray[Any] | None, sections: int, *, path: object, place: str
) -> Ints:
    """The section column of a symbol table; `extended` is its `SHT_SYMTAB_SHNDX` table, where it has one."""
    raw = rows["shndx"].astype(np.int64)
    section = np.where(raw >= SHN_LORESERVE, raw - 0x10000, raw)
    escaped = raw == SHN_XINDEX
    if escaped.any():
        if extended is None or len(extended) != len(rows):
            raise FormatError(path, place, "SHN_XINDEX without a table of extended section numbers that fits")
        section = np.where(escaped, extended.astype(np.int64), section)
    bad: Mask = section >= sections
    if bad.any():
        row = int(np.argmax(bad))
        raise FormatError(path, f"{place}, symbol {row}", f"there is no section {int(section[row])}")
    return section
