"""From an ELF file to the model that can be changed and written."""

from __future__ import annotations

from klpkit.elf import constants as c
from klpkit.elf.model import (
    SYMBOLS,
    ElfObject,
    ObjGroup,
    ObjRelocation,
    ObjRelocations,
    ObjSection,
    ObjSymbol,
    SymbolsMark,
)
from klpkit.elf.reader import ElfFile
from klpkit.elf.uleb import decode_all
from klpkit.errors import FormatError

# Sections that the writer makes anew.
_TABLES = frozenset((c.SHT_NULL, c.SHT_SYMTAB, c.SHT_SYMTAB_SHNDX, c.SHT_RELA, c.SHT_REL, c.SHT_GROUP))


def model_of(elf: ElfFile) -> ElfObject:
    """The model of the relocatable object `elf`."""
    return numbered_model(elf)[0]


def numbered_model(elf: ElfFile) -> tuple[ElfObject, dict[int, ObjSection]]:
    """As `model_of`, and the sections of the model by their numbers in `elf`."""
    if not elf.relocatable:
        raise FormatError(elf.path, "file header", "not a relocatable object", hint="name a .o or .ko file")
    reading = _Reading(elf)
    return reading.run(), reading.sections


class _Reading:
    """What was made so far, by section number."""

    def __init__(self, elf: ElfFile) -> None:
        self.elf = elf
        ident = elf.ident
        self.object = ElfObject(elf.machine, elf.byte_order, elf.flags, ident[7], ident[8])
        tables = elf.sections.of_type(c.SHT_SYMTAB)
        self.symbol_table = tables[0] if tables else 0
        self.sections: dict[int, ObjSection] = {}
        self.relocations: dict[int, ObjRelocations] = {}
        self.groups: dict[int, ObjGroup] = {}
        self.symbols: list[ObjSymbol] = []

    def run(self) -> ElfObject:
        names = self._name_tables()
        for index in range(1, len(self.elf.sections)):
            if int(self.elf.sections.type[index]) not in _TABLES and index not in names:
                self.sections[index] = self._section(index)
        self._make_symbols()
        for index in self.elf.relocation_sections:
            self.relocations[index] = self._relocations(index)
        self._make_groups()
        for index, section in self.sections.items():
            self._connect(index, section)
        self.object.sections = list(self.sections.values())
        self.object.symbols = self.symbols[1:]
        self.object.groups = list(self.groups.values())
        return self.object

    def _name_tables(self) -> set[int]:
        """The string tables that hold nothing but names of sections and symbols."""
        found = {self.elf.name_section}
        if self.symbol_table:
            found.add(int(self.elf.sections.link[self.symbol_table]))
        return found

    def _section(self, index: int) -> ObjSection:
        header = self.elf.sections[index]
        if header.align & (header.align - 1) and header.align:
            raise FormatError(self.elf.path, self.elf.place(index), f"an alignment of {header.align} bytes")
        data = bytes(self.elf.stored(index))
        made = ObjSection(header.name, header.type, header.flags, data, header.size, header.align)
        made.entry_size, made.address = header.entry_size, header.address
        return made

    def _make_symbols(self) -> None:
        table = self.elf.symbols
        pending = set(self.elf.sections.of_type(c.SHT_GROUP))
        for row, name in enumerate(table.names):
            section = int(table.section[row])
            made = ObjSymbol(name, None, int(table.value[row]), int(table.size[row]), int(table.type[row]))
            made.bind, made.other = int(table.bind[row]), int(table.other[row])
            if section in self.sections:
                made.section = self.sections[section]
            elif section <= 0:
                made.special = section & 0xFFFF
            elif section not in pending:
                place = f"symbol {row} ({name})"
                raise FormatError(self.elf.path, place, f"is in {self.elf.place(section)}, which is a table")
            self.symbols.append(made)

    def _relocations(self, index: int) -> ObjRelocations:
        table, header = self.elf.relocations(index), self.elf.sections[index]
        if header.align not in (0, 1, 2, 4, 8, 16):
            raise FormatError(self.elf.path, self.elf.place(index), f"an alignment of {header.align} bytes")
        made = ObjRelocations(header.name, header.flags, explicit=table.explicit, align=header.align)
        if len(table) and table.symbols != self.symbol_table:
            raise FormatError(self.elf.path, self.elf.place(index), "does not use the symbol table")
        symbols = self.symbols
        columns = zip(
            table.offset.tolist(), table.type.tolist(), table.symbol.tolist(), table.addend.tolist(), strict=True
        )
        made.entries = [
            ObjRelocation(offset, kind, symbols[row] if row else None, addend)
            for offset, kind, row, addend in columns
        ]
        target = self.sections.get(table.target)
        if target is None:
            raise FormatError(self.elf.path, self.elf.place(index), f"relocates section {table.target}, a table")
        target.relocations.append(made)
        return made

    def _make_groups(self) -> None:
        for group in self.elf.groups():
            members = [self._member(group.section, member) for member in group.members]
            made = ObjGroup(
                self.symbols[group.symbol], members, group.comdat, self.elf.sections.names[group.section]
            )
            self.groups[group.section] = made
        for row, section in enumerate(self.elf.symbols.section.tolist()):
            if section in self.groups:
                self.symbols[row].section = self.groups[section]

    def _member(self, group: int, member: int) -> ObjSection | ObjRelocations:
        found = self.sections.get(member) or self.relocations.get(member)
        if found is None:
            raise FormatError(self.elf.path, self.elf.place(group), f"section {member} can't be its member")
        return found

    def _connect(self, index: int, section: ObjSection) -> None:
        """Turn the numbers in `sh_link` and `sh_info`, and in tables of symbols, into what they name."""
        link, info = int(self.elf.sections.link[index]), int(self.elf.sections.info[index])
        section.link = self._named(index, link)
        if section.flags & c.SHF_INFO_LINK:
            named = self._named(index, info)
            if isinstance(named, SymbolsMark):
                raise FormatError(self.elf.path, self.elf.place(index), "its sh_info names the symbol table")
            section.info_section = named
        else:
            section.info = info
        # Tools that renumber symbols without knowing this table clear its link: its numbers are stale then.
        if section.type == c.SHT_LLVM_ADDRSIG and section.link is SYMBOLS:
            section.symbols = [self._symbol(index, row) for row in decode_all(bytes(section.data))]

    def _named(self, index: int, number: int) -> ObjSection | ObjRelocations | ObjGroup | SymbolsMark | None:
        if not number:
            return None
        if number == self.symbol_table:
            return SYMBOLS
        found = self.sections.get(number) or self.relocations.get(number) or self.groups.get(number)
        if found is None:
            raise FormatError(self.elf.path, self.elf.place(index), f"refers to section {number}, a table")
        return found

    def _symbol(self, index: int, row: int) -> ObjSymbol:
        if not 0 < row < len(self.symbols):
            raise FormatError(self.elf.path, self.elf.place(index), f"there is no symbol {row}")
        return self.symbols[row]
