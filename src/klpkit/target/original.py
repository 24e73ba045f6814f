"""A recompiled original as fidelity looks at it: functions, relocated fields, jump labels, per section."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.elf.arch import Relocation, architecture
from klpkit.elf.special import Role, role
from klpkit.errors import FormatError, RefusedError

# `struct jump_entry`: place, target, key, whose lowest bits are flags (`include/linux/jump_label.h`).
_JUMP_ENTRY, _KEY = 16, 8
# "The assembler wrote a jump, and objtool is to make a no-op of it" (`arch/x86/include/asm/jump_label.h`).
_NOP_WANTED = 2
_CHECKED_MACHINES = (c.EM_X86_64,)
_DATA_ROLES = (Role.DATA, Role.RODATA)


@dataclass(frozen=True, slots=True)
class Field:
    """A relocated field at `offset` of its section."""

    offset: int
    kind: int
    fact: Relocation
    symbol: int
    addend: int


@dataclass(frozen=True, slots=True)
class Extent:
    """A function or an object of data: row of its symbol, where it lies and how long it is."""

    row: int
    name: str
    section: int
    offset: int
    size: int
    weak: bool
    is_function: bool


class Original:
    """One relocatable object."""

    def __init__(self, elf: ElfFile) -> None:
        facts = architecture(elf.machine, elf.byte_order)
        if facts is None or elf.machine not in _CHECKED_MACHINES:
            raise RefusedError(
                "fidelity-machine",
                f"{elf.path}: fidelity is not known for this architecture",
                hint="x86_64 only so far",
            )
        if not elf.relocatable:
            raise FormatError(elf.path, "file header", "not a relocatable object", hint="name a .o file")
        self.elf = elf
        self.facts = facts

    @classmethod
    def open(cls, path: Path) -> Original:
        """The object at `path`."""
        return cls(ElfFile.open(path))

    @cached_property
    def extents(self) -> tuple[Extent, ...]:
        """Every function with code and every named object of data, in the order of the symbol table."""
        table = self.elf.symbols
        wanted = (table.type == c.STT_FUNC) | (table.type == c.STT_OBJECT)
        found = []
        for row in np.flatnonzero(wanted & (table.section > 0)).tolist():
            section = int(table.section[row])
            if section in self.placed_sections:
                found.append(self._extent(row, section))
        return tuple(found)

    def _extent(self, row: int, section: int) -> Extent:
        table = self.elf.symbols
        return Extent(
            row,
            table.names[row],
            section,
            int(table.value[row]),
            int(table.size[row]),
            weak=int(table.bind[row]) == c.STB_WEAK,
            is_function=int(table.type[row]) == c.STT_FUNC,
        )

    @cached_property
    def functions(self) -> tuple[Extent, ...]:
        """The functions among `extents`."""
        code = set(self.elf.sections.executable)
        return tuple(extent for extent in self.extents if extent.is_function and extent.section in code)

    @cached_property
    def objects(self) -> tuple[Extent, ...]:
        """The named data among `extents` that has content in the file and stays in memory after boot."""
        sections = self.elf.sections
        return tuple(
            extent
            for extent in self.extents
            if not extent.is_function
            and extent.size
            and int(sections.type[extent.section]) != c.SHT_NOBITS
            and not sections.names[extent.section].startswith((".init", ".exit"))
            and self._role(extent.section) in _DATA_ROLES
        )

    def _role(self, section: int) -> Role:
        sections = self.elf.sections
        return role(sections.names[section], int(sections.type[section]), int(sections.flags[section]))

    def whole(self, section: int) -> Extent | None:
        """All of a section in which nothing has a name; None for others and for what has no content."""
        if self.extents_of(section) or int(self.elf.sections.type[section]) == c.SHT_NOBITS:
            return None
        size = int(self.elf.sections.size[section])
        return Extent(-section, "", section, 0, size, weak=False, is_function=False)

    def extents_of(self, section: int) -> list[Extent]:
        """The functions and data of one section."""
        return self._extents_by_section.get(section, [])

    def covering(self, section: int, offset: int) -> Extent | None:
        """The function that has the byte at `offset` of `section`."""
        return next(
            (
                extent
                for extent in self.extents_of(section)
                if extent.is_function and extent.offset <= offset < extent.offset + extent.size
            ),
            None,
        )

    @cached_property
    def _extents_by_section(self) -> dict[int, list[Extent]]:
        found: dict[int, list[Extent]] = {}
        for extent in self.extents:
            found.setdefault(extent.section, []).append(extent)
        return found

    def room(self, extent: Extent) -> int | None:
        """How far a function reaches at most where a `__weak` one follows, whose name may not be in the image."""
        following = [
            each for each in self.functions if each.section == extent.section and each.offset > extent.offset
        ]
        after = min(following, key=lambda each: each.offset, default=None)
        if after is not None:
            return after.offset - extent.offset if after.weak else None
        return extent.size if self._weak_section_follows(extent) else None

    def has_own_section(self, extent: Extent) -> bool:
        """Whether the object was compiled with `-ffunction-sections`."""
        return self.elf.sections.names[extent.section].endswith(f".{extent.name}")

    def _weak_section_follows(self, extent: Extent) -> bool:
        """Whether functions have sections of their own and the next one is `__weak`."""
        if not self.has_own_section(extent):
            return False
        later = (each for each in self.functions if each.section > extent.section)
        after = min(later, key=lambda each: each.section, default=None)
        return after is not None and after.weak

    @cached_property
    def placed_sections(self) -> frozenset[int]:
        """The sections that a linker moves as a whole: all that are loaded but merged strings and constants."""
        flags = self.elf.sections.flags.astype(np.int64)
        return frozenset(np.flatnonzero((flags & c.SHF_ALLOC != 0) & (flags & c.SHF_MERGE == 0)).tolist())

    def merged(self, section: int) -> bool:
        """Whether equal contents of this section become one in the image."""
        return bool(int(self.elf.sections.flags[section]) & c.SHF_MERGE)

    def strings(self, section: int) -> bool:
        """Whether the section holds NUL-ended strings."""
        return bool(int(self.elf.sections.flags[section]) & c.SHF_STRINGS)

    def bytes_of(self, section: int, offset: int, size: int) -> bytes:
        return bytes(self.elf.content(section)[offset : offset + size])

    def fields(self, section: int) -> list[Field]:
        """All relocated fields of a section, in order."""
        if section not in self._fields:
            found = []
            for table in self.elf.relocations_of(section):
                columns = table.offset.tolist(), table.type.tolist(), table.symbol.tolist(), table.addend.tolist()
                for offset, kind, symbol, addend in zip(*columns, strict=True):
                    found.append(Field(offset, kind, self._fact(section, offset, kind), symbol, addend))
            self._fields[section] = sorted(found, key=lambda field: field.offset)
        return self._fields[section]

    def _fact(self, section: int, offset: int, kind: int) -> Relocation:
        fact = self.facts.relocations.get(kind)
        if fact is None:
            raise FormatError(
                self.elf.path, f"{self.elf.place(section)}+{offset:#x}", f"unknown relocation {kind}"
            )
        return fact

    def fields_in(self, section: int, offset: int, size: int) -> list[Field]:
        """The relocated fields among these bytes."""
        places = self._places(section)
        first, end = np.searchsorted(places, [offset, offset + size])
        return self.fields(section)[int(first) : int(end)]

    def _places(self, section: int) -> np.ndarray:
        if section not in self._offsets:
            self._offsets[section] = np.array([field.offset for field in self.fields(section)], np.int64)
        return self._offsets[section]

    @cached_property
    def jumps_to_nop(self) -> frozenset[tuple[int, int]]:
        """The (section, offset) of jump labels that are jumps here and no-ops in the image."""
        places: dict[tuple[int, int], tuple[int, int]] = {}
        wanted = []
        table = self.elf.symbols
        for index in self.elf.sections.find("__jump_table"):
            for field in self.fields(index):
                entry, part = divmod(field.offset, _JUMP_ENTRY)
                if part == 0:
                    place = int(table.value[field.symbol]) + field.addend
                    places[index, entry] = int(table.section[field.symbol]), place
                elif part == _KEY and field.addend & _NOP_WANTED:
                    wanted.append((index, entry))
        return frozenset(places[key] for key in wanted if key in places)

    @cached_property
    def _fields(self) -> dict[int, list[Field]]:
        return {}

    @cached_property
    def _offsets(self) -> dict[int, np.ndarray]:
        return {}
