"""A relocatable object in memory, to be changed and written.

Everything refers to everything else as an object: a relocation to its symbol, a symbol to its section, a group to
its members.  There are no numbers to keep in step and no look-ups by name, so that symbols of one name can't be
mixed up.  Two records that look alike are still two (`eq=False`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from klpkit.elf import constants as c


@dataclass(slots=True, eq=False)
class ObjSection:
    """A section with its own content.  Tables of symbols, names and relocations are made by the writer.

    `data` is what the file stores (compressed bytes where `SHF_COMPRESSED` says so); `size` counts only for
    `SHT_NOBITS`.  `link` is the section that `sh_link` names (`SHF_LINK_ORDER`), or `SYMBOLS`, the symbol table.
    `info_section` is the section that `sh_info` names where `SHF_INFO_LINK` is set, else `info` is the number.
    `symbols`, where not None, is the content of an address-significance table instead of `data`.
    """

    name: str
    type: int = c.SHT_PROGBITS
    flags: int = 0
    data: bytes | bytearray = b""
    size: int = 0
    align: int = 1
    entry_size: int = 0
    address: int = 0
    link: ObjSection | ObjRelocations | ObjGroup | SymbolsMark | None = None
    info: int = 0
    info_section: ObjSection | ObjRelocations | ObjGroup | None = None
    relocations: list[ObjRelocations] = field(default_factory=list)
    symbols: list[ObjSymbol] | None = None

    def relocate(self, flags: int = c.SHF_INFO_LINK, name: str = "") -> ObjRelocations:
        """The section's first table of relocations, made if there is none."""
        if not self.relocations:
            self.relocations.append(ObjRelocations(name or f".rela{self.name}", flags))
        return self.relocations[0]


@dataclass(slots=True, eq=False)
class ObjSymbol:
    """A symbol, defined in `section`; without one `special` says `SHN_UNDEF`, `SHN_ABS` or `SHN_COMMON`.

    `other` is the whole `st_other` byte, visibility in its lowest bits.
    """

    name: str
    section: ObjSection | ObjGroup | None = None
    value: int = 0
    size: int = 0
    type: int = c.STT_NOTYPE
    bind: int = c.STB_LOCAL
    other: int = 0
    special: int = c.SHN_UNDEF


@dataclass(slots=True, eq=False)
class ObjRelocation:
    """A relocation at `offset` against `symbol`; `symbol` is None for the few kinds that need none."""

    offset: int
    type: int
    symbol: ObjSymbol | None
    addend: int = 0


@dataclass(slots=True, eq=False)
class ObjRelocations:
    """A table of relocations of the section that lists it; a section can have several (klp relocations)."""

    name: str
    flags: int = c.SHF_INFO_LINK
    entries: list[ObjRelocation] = field(default_factory=list)
    explicit: bool = True
    """Whether addends are in the table (RELA) and not in the bytes that are changed (REL)."""
    align: int = 8


@dataclass(slots=True, eq=False)
class ObjGroup:
    """A section group.  The relocation tables of its members are members too; the writer sees to that."""

    signature: ObjSymbol
    members: list[ObjSection | ObjRelocations]
    comdat: bool = True
    name: str = ".group"


class SymbolsMark:
    """The type of `SYMBOLS`."""

    __slots__ = ()


SYMBOLS = SymbolsMark()
"""Stands for the symbol table in `ObjSection.link`."""


@dataclass(slots=True, eq=False)
class ElfObject:
    """A relocatable object: sections, symbols (without the null symbol) and groups, in the order of the file."""

    machine: int
    order: str = "<"
    flags: int = 0
    os_abi: int = 0
    abi_version: int = 0
    sections: list[ObjSection] = field(default_factory=list)
    symbols: list[ObjSymbol] = field(default_factory=list)
    groups: list[ObjGroup] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path | str) -> ElfObject:
        """The relocatable object at `path`; errors as `ElfFile`, and `FormatError` for another kind of file."""
        from klpkit.elf.modelread import model_of
        from klpkit.elf.reader import ElfFile

        return model_of(ElfFile.open(path))

    def to_bytes(self) -> bytes:
        """The object as a file's content; `ValueError` where a part refers to one that is not in the object."""
        from klpkit.elf.writer import encoded

        return encoded(self)

    def write(self, path: Path | str) -> None:
        """Write the object to `path`, whole or not at all."""
        from klpkit.elf.writer import write_whole

        write_whole(Path(path), self.to_bytes())
