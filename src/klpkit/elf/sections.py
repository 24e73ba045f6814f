"""The section header table as columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from klpkit.elf.constants import SHF_ALLOC, SHF_EXECINSTR, SHT_NOBITS, SHT_NULL
from klpkit.elf.layout import Ints, Offsets, Records
from klpkit.elf.strings import StringTable
from klpkit.errors import FormatError


@dataclass(frozen=True, slots=True)
class Section:
    """One section header; `index` is its number, other fields are as in the file."""

    index: int
    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_size: int

    @property
    def executable(self) -> bool:
        return bool(self.flags & SHF_EXECINSTR)


class SectionTable:
    """All section headers: one numpy column a field, one row a section, row 0 the null section.

    `link` and `info` are section or symbol numbers where the section's type says so; they are checked where
    they are used.
    """

    def __init__(self, rows: Records, strings: StringTable) -> None:
        self._strings = strings
        self.name_offset: Ints = rows["name"].astype(np.int64)
        self.type: Ints = rows["type"].astype(np.int64)
        self.flags: Offsets = rows["flags"].astype(np.uint64)
        self.address: Offsets = rows["addr"].astype(np.uint64)
        self.offset: Offsets = rows["offset"].astype(np.uint64)
        self.size: Offsets = rows["size"].astype(np.uint64)
        self.link: Ints = rows["link"].astype(np.int64)
        self.info: Ints = rows["info"].astype(np.int64)
        self.align: Offsets = rows["addralign"].astype(np.uint64)
        self.entry_size: Offsets = rows["entsize"].astype(np.uint64)

    def __len__(self) -> int:
        return len(self.type)

    @cached_property
    def names(self) -> list[str]:
        """The names of all sections, row by row."""
        return self._strings.names(self.name_offset)

    @cached_property
    def _last_named(self) -> dict[str, int]:
        return dict(zip(self.names[1:], range(1, len(self)), strict=True))

    def find(self, name: str) -> list[int]:
        """The numbers of all sections called `name`: names repeat in relocatable objects."""
        last = self._last_named.get(name)
        if last is None:
            return []
        if len(self._last_named) == len(self) - 1:
            return [last]
        return [row for row, other in enumerate(self.names[: last + 1]) if row and other == name]

    def of_type(self, kind: int) -> list[int]:
        """The numbers of all sections of one type."""
        rows: list[int] = np.flatnonzero(self.type == kind).tolist()
        return rows

    @cached_property
    def executable(self) -> list[int]:
        """The numbers of all sections that hold machine code."""
        want = np.uint64(SHF_ALLOC | SHF_EXECINSTR)
        rows: list[int] = np.flatnonzero(((self.flags & want) == want) & (self.type != SHT_NOBITS)).tolist()
        return rows

    def __getitem__(self, index: int) -> Section:
        return Section(
            index,
            self.names[index],
            int(self.type[index]),
            int(self.flags[index]),
            int(self.address[index]),
            int(self.offset[index]),
            int(self.size[index]),
            int(self.link[index]),
            int(self.info[index]),
            int(self.align[index]),
            int(self.entry_size[index]),
        )

    def __iter__(self) -> Iterator[Section]:
        return (self[index] for index in range(len(self)))

    def check_extents(self, file_size: int, path: object) -> None:
        """`FormatError` for the first section whose bytes are not all inside the file."""
        stored = (self.type != SHT_NOBITS) & (self.type != SHT_NULL)
        size = np.uint64(file_size)
        bad = stored & ((self.offset > size) | (self.size > size - np.minimum(self.offset, size)))
        if bad.any():
            index = int(np.argmax(bad))
            place = f"section {index}"
            where = f"{int(self.size[index]):#x} bytes at {int(self.offset[index]):#x}"
            raise FormatError(path, place, f"{where} are past the end of the file: it is cut or broken")
