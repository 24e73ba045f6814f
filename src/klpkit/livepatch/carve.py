"""The object that goes into the module: what was selected of a patched object, cut out and connected anew.

Relocations keep the form that the compiler gave them (section symbol or named symbol): objtool, which runs when
the module is linked, insists on it in its own tables.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from klpkit.diff.graph import BRANCH, Graph
from klpkit.elf import ElfObject, ObjRelocation, ObjSection, ObjSymbol
from klpkit.elf import constants as c
from klpkit.elf.arch import architecture
from klpkit.elf.special import Role
from klpkit.errors import RefusedError
from klpkit.livepatch.discards import add_discards
from klpkit.livepatch.kernelsymbols import Found, KernelSymbols
from klpkit.livepatch.selection import Selection
from klpkit.livepatch.tracepoints import Silent, idle_code
from klpkit.livepatch.unit import Field, Unit, lead_of, outside

_DATA_KINDS = (Role.DATA, Role.RODATA)


def carve(
    selection: Selection, kernel: KernelSymbols, names: Mapping[int, str], elsewhere: frozenset[str]
) -> ElfObject:
    """The object with everything that `selection` took.

    `names` are the symbols of its functions in the module, `elsewhere` the symbols that other objects of the
    module define.  `RefusedError` for references that the module can't make.
    """
    return _Carving(selection, kernel, names, elsewhere).run()


class _Carving:
    """Where the entities went, and the symbols made so far."""

    def __init__(
        self, selection: Selection, kernel: KernelSymbols, names: Mapping[int, str], elsewhere: frozenset[str]
    ) -> None:
        self.selection = selection
        self.unit: Unit = selection.unit
        self.graph: Graph = selection.unit.graph
        self.kernel = kernel
        self.names = names
        self.elsewhere = elsewhere
        elf = self.graph.elf
        self.out = ElfObject(elf.machine, elf.byte_order, elf.flags)
        self.facts = architecture(elf.machine, elf.byte_order)
        self.sections: dict[int, ObjSection] = {}
        self.section_symbols: dict[int, ObjSymbol] = {}
        self.moved: dict[int, int] = {}
        self.symbols: dict[int, ObjSymbol] = {}
        self.undefined: dict[str, ObjSymbol] = {}
        self.dead_fields: set[int] = set()

    def run(self) -> ElfObject:
        taken = sorted(self.selection.taken)
        for entity in taken:
            self._place(entity)
        self._make_symbols()
        for silent in self.selection.silent:
            self._silence(silent)
        for entity in taken:
            self._connect(entity)
        add_discards(self.graph, self.moved_place, self.out)
        self._link_order()
        return self.out

    # -- bytes and symbols -------------------------------------------------------------------------------------

    def _place(self, entity: int) -> None:
        """Copy the bytes of an entity behind those of its section that are there already."""
        number = int(self.graph.entities.section[entity])
        section = self.sections.get(number) or self._new_section(number)
        size = self.graph.size_of(entity)
        start = self._offset(entity)
        here = section.size if section.type == c.SHT_NOBITS else len(section.data)
        # The distance to the alignment stays what it was: bytes before a function count from it.
        at = here + (start - here) % max(section.align, 1)
        if section.type == c.SHT_NOBITS:
            section.size = at + size
        else:
            filler = b"\x90" if section.flags & c.SHF_EXECINSTR else b"\0"
            section.data = bytes(section.data) + filler * (at - here) + self.graph.bytes_of(entity)
        self.moved[entity] = at

    def _offset(self, entity: int) -> int:
        """Where an entity is in its section of the patched object."""
        number = int(self.graph.entities.section[entity])
        return int(self.graph.entities.start[entity]) - int(self.graph.flat.base[number])

    def _new_section(self, number: int) -> ObjSection:
        header = self.graph.elf.sections[number]
        flags = header.flags & ~(c.SHF_GROUP | c.SHF_INFO_LINK)
        section = ObjSection(header.name, header.type, flags, align=header.align, entry_size=header.entry_size)
        symbol = ObjSymbol("", section, type=c.STT_SECTION)
        self.sections[number], self.section_symbols[number] = section, symbol
        self.out.sections.append(section)
        self.out.symbols.append(symbol)
        return section

    def _make_symbols(self) -> None:
        """Every symbol that lies in what was taken, under its name in the module."""
        elf, entities = self.graph.elf, self.graph.entities
        base = self.graph.flat.base
        starts = entities.start[: entities.defined]
        for symbol in elf.symbols:
            if symbol.section <= 0 or base[symbol.section] < 0 or symbol.type in (c.STT_SECTION, c.STT_FILE):
                continue
            place = int(base[symbol.section]) + symbol.value
            entity = int(np.searchsorted(starts, place, side="right")) - 1
            if entity not in self.moved:
                continue
            number = int(entities.section[entity])
            value = self.moved[entity] + place - int(starts[entity])
            made = ObjSymbol(symbol.name, self.sections[number], value, symbol.size, symbol.type)
            self._name(made, entity, symbol.index, symbol.bind)
            made.other = symbol.other
            self.symbols[symbol.index] = made
            self.out.symbols.append(made)

    def _name(self, made: ObjSymbol, entity: int, row: int, bind: int) -> None:
        """Changed functions become global under their new name; new ones stay as visible as they were."""
        primary = int(self.graph.entities.symbol[entity]) == row
        if entity in self.names and primary:
            made.name = self.names[entity]
        if entity in self.unit.changed:
            made.bind = c.STB_GLOBAL if primary else c.STB_LOCAL
        elif entity in self.unit.new:
            made.bind = bind if made.name == self.graph.names[entity] else c.STB_LOCAL
        elif self.graph.entities.role[entity] in _DATA_KINDS and self.unit.partner(entity) < 0:
            made.bind = bind

    def _silence(self, silent: Silent) -> None:
        """Make a no-op of the jump of a tracepoint that can't be followed."""
        if not silent.idle:
            return
        entities = self.graph.entities
        section = self.sections[int(entities.section[silent.function])]
        nop = idle_code(self.graph.bytes_of(silent.function), silent)
        at = self.moved[silent.function] + silent.offset
        section.data = bytes(section.data[:at]) + nop + bytes(section.data[at + len(nop) :])
        self.dead_fields.add(int(entities.start[silent.function]) + silent.offset + 1)

    # -- references --------------------------------------------------------------------------------------------

    def _connect(self, entity: int) -> None:
        """Make the relocations of an entity's bytes anew."""
        graph, references = self.graph, self.graph.references
        start = int(graph.entities.start[entity])
        section = self.sections[int(graph.entities.section[entity])]
        for row in range(len(references.owner))[graph.references_of(entity)]:
            at, target = int(references.at[row]), int(references.target[row])
            if start + at in self.dead_fields:
                continue
            if int(references.type[row]) >= BRANCH:
                entry = self._resolved_branch(entity, at, row, section)
            else:
                relocation = self.unit.fields[start + at]
                entry = self._entry(entity, at, target, relocation, int(references.offset[row]))
            section.relocate().entries.append(entry)

    def _entry(self, entity: int, at: int, target: int, relocation: Field, offset: int) -> ObjRelocation:
        place = self.moved[entity] + at
        lead = lead_of(self.graph, target, relocation)
        if target not in self.moved or self._means_the_kernels(entity, at, target, relocation, offset):
            symbol = self._kernel_symbol(entity, at, target, relocation, offset)
            return ObjRelocation(place, relocation.type, symbol, lead)
        if relocation.symbol in self.symbols:
            return ObjRelocation(place, relocation.type, self.symbols[relocation.symbol], relocation.addend)
        number = int(self.graph.entities.section[target])
        return ObjRelocation(place, relocation.type, self.section_symbols[number], lead + self.moved[target])

    def _means_the_kernels(self, entity: int, at: int, target: int, relocation: Field, offset: int) -> bool:
        """Whether the address of a changed function is taken: it must be the one that everybody else takes.

        A pointer to the new code could outlive the module; calls of the old one are redirected as long as the
        patch is in.
        """
        if target not in self.unit.changed or offset or entity == target:
            return False
        role = self.graph.entities.role[entity]
        if role == Role.TEXT:
            return not self._calls(entity, at, relocation)
        return role in (Role.DATA, Role.RODATA, Role.CONSTANTS)

    def _calls(self, entity: int, at: int, relocation: Field) -> bool:
        """Whether the field belongs to a call or a jump."""
        if self.graph.elf.machine != c.EM_X86_64:
            return self.facts is not None and relocation.type in self.facts.calls
        code = self.graph.bytes_of(entity)
        near = at >= 1 and code[at - 1] & 0xFE == 0xE8
        conditional = at >= 2 and code[at - 2] == 0x0F and code[at - 1] & 0xF0 == 0x80
        return near or conditional

    def _kernel_symbol(self, entity: int, at: int, target: int, relocation: Field, offset: int) -> ObjSymbol:
        """The undefined symbol for something that stays in the running kernel."""
        graph = self.graph
        name, user = graph.names[target], self._user(entity)
        if outside(graph, target) and name in self.elsewhere:
            return self._undefined(name)
        code = not outside(graph, target) and graph.entities.role[target] == Role.TEXT
        if code and offset:
            raise RefusedError(
                "reference-inside-function",
                f"{user} refers to {name or 'code without a name'}+{offset:#x}, which stays as it is",
                hint="keep the reference out of the patch",
            )
        if not outside(graph, target) and not name:
            raise self._unnamed(user, target)
        if outside(graph, target) and self._absent_weak(target, name):
            return self._undefined(name, c.STB_WEAK)
        found = self.kernel.find(self.unit, target, user)
        called = graph.entities.role[entity] == Role.TEXT and self._calls(entity, at, relocation)
        if not called and offset == 0 and graph.entities.role[entity] not in (Role.SITES, Role.PIECES):
            self._check_seal(found, user)
        return self._undefined(found.reference.symbol)

    def _absent_weak(self, target: int, name: str) -> bool:
        """Whether a symbol that need not exist does not exist."""
        row = int(self.graph.entities.symbol[target])
        if int(self.graph.elf.symbols.bind[row]) != c.STB_WEAK:
            return False
        objects = {self.unit.owner, "vmlinux"}
        exported = name in self.kernel.target.exports()
        return not exported and not any(self.kernel.target.object(o).positions(name) for o in objects)

    def _check_seal(self, found: Found, user: str) -> None:
        if self.kernel.sealed(found):
            raise RefusedError(
                "sealed-function",
                f"{user} takes the address of {found.reference.name}, whose landing pad the running kernel has "
                "taken away: an indirect call of it faults on processors with IBT",
                hint="call it directly, or put a new function around it and take that one's address",
            )

    def _unnamed(self, user: str, target: int) -> RefusedError:
        where = f"{self.graph.section_name(target)}+{self._offset(target):#x}"
        return RefusedError(
            "unnamed-reference",
            f"{user} refers to {where}, which has no name in the running kernel",
            hint="compile with -fdata-sections, or keep the reference out of the patch",
        )

    def _undefined(self, name: str, bind: int = c.STB_GLOBAL) -> ObjSymbol:
        symbol = self.undefined.get(name)
        if symbol is None:
            symbol = self.undefined[name] = ObjSymbol(name, bind=bind)
            self.out.symbols.append(symbol)
        return symbol

    def _user(self, entity: int) -> str:
        """What to call the referring thing in messages."""
        graph = self.graph
        owner = int(self.unit.result.site_owner[entity + self.unit.split])
        if owner >= 0:
            return graph.names[owner - self.unit.split]
        return graph.names[self.unit.function_of(entity)] or graph.section_name(entity)

    def _resolved_branch(self, entity: int, at: int, row: int, section: ObjSection) -> ObjRelocation:
        """A branch that the assembler resolved, as a relocation: the functions need not stay side by side."""
        graph, references = self.graph, self.graph.references
        target, offset = int(references.target[row]), int(references.offset[row])
        near = Field(4, 0, 0)
        if graph.elf.machine != c.EM_X86_64 or not self._calls(entity, at, near):
            raise RefusedError(
                "resolved-branch",
                f"{self._user(entity)} jumps to {graph.names[target]} by a distance that can't be changed",
                hint="compile both sides with -ffunction-sections",
            )
        place = self.moved[entity] + at
        data = bytearray(section.data)
        data[place : place + 4] = bytes(4)
        section.data = bytes(data)
        if target not in self.moved:
            symbol = self._kernel_symbol(entity, at, target, near, offset)
            return ObjRelocation(place, near.type, symbol, offset - 4)
        symbol = self.section_symbols[int(graph.entities.section[target])]
        return ObjRelocation(place, near.type, symbol, self.moved[target] + offset - 4)

    # -- the rest ----------------------------------------------------------------------------------------------

    def moved_place(self, section: int, offset: int) -> tuple[ObjSymbol, int] | None:
        """Section symbol and new offset of a place in code of the patched object; None where it was not taken."""
        entities = self.graph.entities
        flat = int(self.graph.flat.base[section]) + offset
        entity = int(np.searchsorted(entities.start[: entities.defined], flat, side="right")) - 1
        # The end of a function belongs to it.
        if entity not in self.moved and flat == int(entities.start[entity]) and entity - 1 in self.moved:
            entity -= 1
        if entity not in self.moved or int(entities.section[entity]) != section:
            return None
        return self.section_symbols[section], self.moved[entity] + flat - int(entities.start[entity])

    def _link_order(self) -> None:
        """Sections that must stand in the order of the code they describe need code to name."""
        code = [s for s in self.out.sections if s.flags & c.SHF_EXECINSTR]
        for section in self.out.sections:
            if section.flags & c.SHF_LINK_ORDER and code:
                section.link = code[0]
            else:
                section.flags &= ~c.SHF_LINK_ORDER
