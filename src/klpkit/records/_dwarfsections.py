"""The debug sections of one ELF file, ready to be read: decompressed, joined and relocated.

In a relocatable object everything is an offset in some section.  To read it like a linked image, every section
with code or data gets an address of its own, far from the others; debug sections of one name (type units have
theirs) are read as one, each part at its offset in the whole.  Absolute relocations are applied accordingly
(the architectures' ELF ABI supplements, chapter "Relocation").
"""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from klpkit.elf import ElfFile, RelocationTable
from klpkit.elf import constants as c
from klpkit.errors import RefusedError
from klpkit.records._dwarfbytes import Section

Ints = npt.NDArray[np.int64]

# Section number `n` of a relocatable object is put at `(n + 1) << SECTION_SHIFT`: nothing is at 0.
SECTION_SHIFT = 32


class _Absolute(NamedTuple):
    """Relocation types of one architecture: `sizes` gives those that store symbol + addend, in bytes.

    `other` are those whose values nothing here reads: none at all, and offsets in thread-local storage.
    """

    sizes: dict[int, int]
    other: frozenset[int]


_ABSOLUTE = MappingProxyType(
    {
        c.EM_X86_64: _Absolute({1: 8, 10: 4, 11: 4}, frozenset({0, 17, 21})),
        c.EM_AARCH64: _Absolute({257: 8, 258: 4}, frozenset({0, 256, 1029})),
        c.EM_PPC64: _Absolute({38: 8, 1: 4}, frozenset({0, 78})),
        c.EM_S390: _Absolute({22: 8, 4: 4}, frozenset({0, 53})),
        c.EM_LOONGARCH: _Absolute({2: 8, 1: 4}, frozenset({0, 8, 9})),
    }
)


class DebugSections:
    """The debug sections and the addresses of one ELF file."""

    def __init__(self, elf: ElfFile) -> None:
        self.elf = elf
        self.path = elf.path
        self.base = self._bases()
        self._loaded: dict[str, Section] = {}

    def _bases(self) -> Ints:
        """What to add to an offset in each section to make it an address, or an offset in the joined section."""
        sections = self.elf.sections
        base = np.zeros(len(sections), np.int64)
        if not self.elf.relocatable:
            return base
        sizes: dict[str, int] = {}
        for index, name in enumerate(sections.names):
            if int(sections.flags[index]) & c.SHF_ALLOC:
                base[index] = (index + 1) << SECTION_SHIFT
            elif name.startswith(".debug_"):
                base[index] = sizes.get(name, 0)
                sizes[name] = int(base[index]) + len(self.elf.content(index))
        return base

    def code_ranges(self) -> tuple[Ints, Ints]:
        """The start and end addresses of all sections that hold machine code, in order."""
        sections = self.elf.sections
        want = c.SHF_ALLOC | c.SHF_EXECINSTR
        rows = np.flatnonzero((sections.flags.astype(np.int64) & want) == want)
        start = sections.address[rows].astype(np.int64) + self.base[rows]
        order = np.argsort(start, kind="stable")
        return start[order], (start + sections.size[rows].astype(np.int64))[order]

    def __contains__(self, name: str) -> bool:
        return bool(self.elf.sections.find(name))

    def __getitem__(self, name: str) -> Section:
        """The debug section `name`; an empty one where the file has none."""
        if name not in self._loaded:
            parts = [self._relocated(index) for index in self.elf.sections.find(name)]
            data = parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
            self._loaded[name] = Section(name, data, self.elf.byte_order, self.path)
        return self._loaded[name]

    def _relocated(self, index: int) -> memoryview:
        content = self.elf.content(index)
        if not self.elf.relocatable:
            return content
        tables = [table for table in self.elf.relocations_of(index) if len(table)]
        if not tables:
            return content
        changed = np.frombuffer(content, np.uint8).copy()
        for table in tables:
            self._relocate(changed, table, index)
        return memoryview(changed.data).cast("B")

    def _relocate(self, content: npt.NDArray[np.uint8], table: RelocationTable, index: int) -> None:
        kinds = _ABSOLUTE.get(self.elf.machine)
        if kinds is None or not table.explicit:
            raise self._unknown(index, "relocations of this architecture")
        value = self._symbol_values()[table.symbol] + table.addend
        offset = table.offset.astype(np.int64)
        for kind in np.unique(table.type).tolist():
            if kind in kinds.other:
                continue
            if kind not in kinds.sizes:
                raise self._unknown(index, f"the relocation type {kind}")
            size, rows = kinds.sizes[kind], np.flatnonzero(table.type == kind)
            stored = value[rows].astype(np.dtype(f"{self.elf.byte_order}i8")).view(np.uint8).reshape(-1, 8)
            stored = stored[:, :size] if self.elf.byte_order == "<" else stored[:, 8 - size :]
            content[offset[rows, None] + np.arange(size)] = stored

    def _symbol_values(self) -> Ints:
        symbols = self.elf.symbols
        known = np.where(symbols.section > 0, symbols.section, 0)
        return symbols.value.astype(np.int64) + np.where(symbols.section > 0, self.base[known], 0)

    def _unknown(self, index: int, what: str) -> RefusedError:
        return RefusedError(
            "dwarf-relocation",
            f"{self.path}: {self.elf.place(index)}: {what} can't be applied",
            hint="read the linked image instead of the object",
        )

    def functions(self) -> tuple[Ints, Ints]:
        """The rows of the symbols of functions, and their addresses, in the order of addresses."""
        symbols = self.elf.symbols
        kind = np.isin(symbols.type, (c.STT_FUNC, c.STT_GNU_IFUNC, c.STT_NOTYPE))
        rows = np.flatnonzero(kind & (symbols.section > 0) & (symbols.name_offset > 0))
        address = symbols.value[rows].astype(np.int64) + self.base[symbols.section[rows]]
        # Among symbols at one address typed ones come first, then global ones.
        order = np.lexsort((symbols.bind[rows] == c.STB_LOCAL, symbols.type[rows] == c.STT_NOTYPE, address))
        return rows[order], address[order]
