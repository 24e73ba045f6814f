"""Effects from object files and linked images: aliases, pieces and copies of functions, and who calls those.

The symbol table shows functions folded into one body (two names at one address) and, by their suffixes, parts
and copies that the compiler made.  A copy can be patched only through its callers; those come from relocations
and, because an assembler resolves a call inside one section itself, from branch instructions in the code.

Two names at one address may also be an alias that the source declares.  The two look alike here, and both are
reported as `icf`: to patch the one is to patch the other.  Static names that repeat in a linked image share one
row, so that an effect of either is an effect of both.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.elf.arch import Architecture, architecture
from klpkit.elf.layout import Ints
from klpkit.errors import RefusedError
from klpkit.records.cloneuses import CloneIndex
from klpkit.records.model import Effect, EffectBuilder, EffectTable, Function
from klpkit.records.pieces import BOOKKEEPING, Pieces, Place, clone_elsewhere, is_prefix


def read_object(path: Path, *, unit: str | None = None) -> EffectTable:
    """The functions of the ELF file at `path` and the effects between them, as functions of `unit`.

    `unit` is the path where it is not given.  `FormatError` for a broken file; `RefusedError` (`lto-object`)
    for one that holds GCC's intermediate code instead of functions.
    """
    elf = ElfFile.open(path)
    refuse_intermediate_code(elf)
    code = ObjectCode(elf)
    unit = str(path) if unit is None else unit
    builder = EffectBuilder()
    for name in code.pieces.names:
        builder.add_function(Function(unit, name))
    for body, user, cause in code.pieces.effects(list(code.references())):
        builder.add(Effect(Function(unit, body), Function(unit, user), cause))
    for message in code.warnings:
        builder.warn(f"{path}: {message}")
    return builder.table()


def refuse_intermediate_code(elf: ElfFile) -> None:
    """Raise `RefusedError` for an object that GCC will make code of only at link time (`-flto`)."""
    if "__gnu_lto_slim" in elf.symbols.names:
        raise RefusedError(
            "lto-object",
            f"{elf.path}: holds GCC's intermediate code, no functions",
            hint="ask the linked object, or compile with -ffat-lto-objects",
        )


class ObjectCode:
    """The function symbols of one ELF file with their extents, and the uses of clones in its code.

    `rows` are the functions' rows in the symbol table, in its order; everything else here counts functions by
    their position in `rows`.
    """

    def __init__(self, elf: ElfFile) -> None:
        self.elf = elf
        self.facts: Architecture | None = architecture(elf.machine, elf.byte_order)
        self.warnings: list[str] = []
        self.rows = _function_rows(elf)
        names = [elf.symbols.names[row] for row in self.rows]
        self.places = [self._place(row) for row in self.rows]
        self.pieces = Pieces(names, self.places)
        self._extents = self._sorted_extents()

    def _place(self, row: int) -> Place:
        section = int(self.elf.symbols.section[row])
        if section <= 0:
            return (0, 0)
        base = 0 if self.elf.relocatable else int(self.elf.sections.address[section])
        return (section, int(self.elf.symbols.value[row]) - base)

    def _sorted_extents(self) -> dict[int, tuple[list[int], list[tuple[int, int]]]]:
        """For each section its functions' starts in order, and for each its end and its position."""
        by_section: dict[int, list[tuple[int, int]]] = {}
        for position, (section, start) in enumerate(self.places):
            if section:
                by_section.setdefault(section, []).append((start, position))
        found = {}
        for section, functions in by_section.items():
            functions.sort()
            starts = [start for start, _ in functions]
            limit = int(self.elf.sections.size[section])
            found[section] = starts, [(self._end(at, starts, limit), at) for _, at in functions]
        return found

    def _end(self, position: int, starts: list[int], limit: int) -> int:
        """Where a function ends: assembler functions without a size reach up to the next."""
        start = self.places[position][1]
        size = int(self.elf.symbols.size[self.rows[position]])
        if size:
            return start + size
        after = bisect_right(starts, start)
        return starts[after] if after < len(starts) else limit

    def extent(self, position: int) -> tuple[int, int]:
        """Where the function at `position` starts and ends in its section."""
        section, start = self.places[position]
        starts, ends = self._extents[section]
        at = bisect_right(starts, start) - 1
        while ends[at][1] != position:
            at -= 1
        return start, ends[at][0]

    def function_at(self, section: int, offset: int) -> int | None:
        """The position of the innermost function that holds `offset` of `section`."""
        starts, ends = self._extents.get(section, ([], []))
        at = bisect_right(starts, offset) - 1
        while at >= 0 and ends[at][0] <= offset:
            at -= 1
        return ends[at][1] if at >= 0 else None

    def starts_between(self, section: int, after: int, before: int) -> bool:
        """Whether a function starts after `after` and before `before` in `section`."""
        starts, _ = self._extents.get(section, ([], []))
        at = bisect_right(starts, after)
        return at < len(starts) and starts[at] < before

    def references(self) -> Iterator[tuple[int, int]]:
        """Every use of a clone in code, as (position of the clone, position of the user).

        Uses that belong to no function, and addresses of clones in data, become warnings.
        """
        if not self.pieces.clones:
            return
        for section, offset, clone in self._uses():
            user = self.function_at(section, offset)
            name = self.pieces.names[clone]
            where = f"{self.elf.sections.names[section]}+{offset:#x}"
            if not self.elf.sections.flags[section] & np.uint64(c.SHF_EXECINSTR):
                self.warnings.append(f"the address of {name} is kept in data, at {where}")
            elif user is None:
                self.warnings.append(f"{name} is used by code that belongs to no function, at {where}")
            else:
                yield clone, user

    def _uses(self) -> Iterator[tuple[int, int, int]]:
        """(section, offset, position of the clone) of every use."""
        if self.facts is None:
            self.warnings.append(f"callers of clones are unknown: machine {self.elf.machine} has no table here")
            return
        index = CloneIndex(self.elf, self.rows, self.places, self.pieces, self._ends_of_clones(), self.facts)
        resolved: dict[int, list[Ints]] = {}
        if self.elf.relocatable:
            for number in self.elf.relocation_sections:
                target = int(self.elf.sections.info[number])
                if not self._is_of_interest(target):
                    continue
                relocations = self.elf.relocations(number)
                resolved.setdefault(target, []).append(relocations.offset.astype(np.int64))
                if not relocations.explicit:
                    self.warnings.append(f"callers of clones in section {target} may be missing: no addends")
                yield from index.relocated(relocations)
        for section in self.elf.sections.executable:
            yield from index.branched(section, resolved.get(section, []))

    def _ends_of_clones(self) -> dict[int, int]:
        return {clone: self.extent(clone)[1] for clone in self.pieces.clones if self.places[clone][0]}

    def _is_of_interest(self, target: int) -> bool:
        flags = int(self.elf.sections.flags[target])
        name = self.elf.sections.names[target]
        return bool(flags & c.SHF_EXECINSTR) or bool(flags & c.SHF_ALLOC and not name.startswith(BOOKKEEPING))


def _function_rows(elf: ElfFile) -> list[int]:
    """The symbol rows of functions: all with code here, and clones that another object of an LTO link holds."""
    symbols = elf.symbols
    names = symbols.names
    rows = symbols.defined_functions.tolist()
    defined = {names[row] for row in rows}
    rows = [row for row in rows if names[row] and not is_prefix(names[row], defined)]
    undefined = np.flatnonzero((symbols.section == 0) & (symbols.name_offset > 0)).tolist()
    return sorted(rows + [row for row in undefined if clone_elsewhere(names[row])])
