"""One object as a graph: the entities that its bytes are made of, and what each refers to.

An entity is a run of bytes with an identity of its own: a function, a data object, a string literal, an entry of
a constant pool or of a special section, an unnamed range, or a symbol that the object only refers to.  Columns
instead of records: an object has tens of thousands of them.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from klpkit.diff.linetable import LineTable
from klpkit.diff.pool import Ints, Mask, among
from klpkit.elf import ElfFile
from klpkit.elf.arch import Architecture
from klpkit.elf.special import Special, special


class Kind(IntEnum):
    """What an entity is."""

    FUNCTION = 0
    OBJECT = 1
    LABEL = 2
    """A symbol without a type: hand-written assembly."""
    ANONYMOUS = 3
    """Bytes without a symbol."""
    EXTERNAL = 4
    """Referred to and not in this object."""
    ABSOLUTE = 5
    """A symbol whose value is a number."""
    COMMON = 6
    """Storage that a linker will allot."""


BRANCH = 1 << 20
"""Reference types at and above this are branches that the assembler resolved, not relocations."""

LEAD = 64
"""Bytes before a function's entry that can belong to it."""


@dataclass(slots=True)
class Entities:
    """One row an entity.  The first `defined` rows are bytes of the object, ascending in the flat space.

    `start` and `end` are flat positions (see `Flat`), `section` a section number (0: none), `role` its
    `klpkit.elf.special.Role`, `kind` a `Kind`, `symbol` a row of the symbol table (-1: none), `name` and `content`
    numbers of the shared pools (an empty name for the anonymous), `local` whether the symbol is local.
    """

    start: Ints
    end: Ints
    section: Ints
    role: Ints
    kind: Ints
    symbol: Ints
    name: Ints
    content: Ints
    local: Mask
    file: Ints
    defined: int

    def __len__(self) -> int:
        return len(self.start)


@dataclass(slots=True)
class References:
    """One row a reference, ascending by owner and place.

    `at` is the place in the owner, `type` the relocation's (or a `Branch`), `target` an entity, `offset` the place
    in the target.  `row` is where the relocation was read: the flat position of the field.
    """

    owner: Ints
    at: Ints
    type: Ints
    target: Ints
    offset: Ints

    def __len__(self) -> int:
        return len(self.owner)


@dataclass(slots=True)
class Flat:
    """All kept sections laid end to end with gaps, so that one number says section and offset.

    `base` is each section's flat position (-1: not kept).  `data` holds the bytes, `stored` of them; sections
    without bytes (`.bss`) come after.
    """

    base: Ints
    order: Ints
    data: bytes
    stored: int
    sizes: Ints = field(default_factory=lambda: np.empty(0, np.int64))

    def section_at(self, positions: Ints) -> Ints:
        """The section numbers of flat positions."""
        bases = self.base[self.order]
        which = np.searchsorted(bases, positions, side="right") - 1
        return self.order[np.maximum(which, 0)] if len(self.order) else np.zeros(len(positions), np.int64)


class Names:
    """The names of all entities of one side, made when they are asked for."""

    __slots__ = ("_numbers", "_things")

    def __init__(self, things: Sequence[Hashable], numbers: Ints) -> None:
        self._things = things
        self._numbers = numbers

    def __getitem__(self, entity: int) -> str:
        return str(self._things[self._numbers[entity]])

    def find(self, wanted: Collection[str]) -> list[int]:
        """The entities that have one of the wanted names."""
        kinds = [number for number, thing in enumerate(self._things) if thing in wanted]
        found: list[int] = np.flatnonzero(among(self._numbers, kinds)).tolist()
        return found


@dataclass(slots=True, eq=False, weakref_slot=True)
class Graph:
    """One side of a diff."""

    elf: ElfFile
    path: str
    flat: Flat
    entities: Entities
    references: References
    names: Names
    roles: Ints
    aliases: dict[int, list[int]]
    """Entity → rows of the other symbols at its start."""
    line_fields: dict[int, tuple[int, int, int]]
    """Entity → `(offset, size, bits)` of the line number that was masked in its content."""
    facts: Architecture
    compared: bytes = b""
    """`flat.data` with line numbers in records and distances of resolved branches zeroed."""
    _cache: dict[str, object] = field(default_factory=dict)

    def name_of(self, entity: int) -> str:
        return self.names[int(self.entities.name[entity])]

    def bytes_of(self, entity: int) -> bytes:
        """The bytes of a defined entity; empty where it has none in the file."""
        start, end = int(self.entities.start[entity]), int(self.entities.end[entity])
        return self.flat.data[start:end] if end <= self.flat.stored else b""

    def compared_bytes(self, entity: int) -> bytes:
        """The bytes of a defined entity as they count in a comparison: what became a reference is zero."""
        start, end = int(self.entities.start[entity]), int(self.entities.end[entity])
        return self.compared[start:end] if end <= self.flat.stored else b""

    @property
    def has_lines(self) -> bool:
        """Whether the object says which source lines its code comes from."""
        return bool(self.elf.sections.find(".debug_line"))

    @property
    def lines(self) -> LineTable:
        """The object's line table, read as far as it is asked."""
        found = self._cache.get("lines")
        if not isinstance(found, LineTable):
            found = self._cache["lines"] = LineTable(self.elf)
        return found

    def section_name(self, entity: int) -> str:
        return self.elf.sections.names[int(self.entities.section[entity])]

    def size_of(self, entity: int) -> int:
        return int(self.entities.end[entity] - self.entities.start[entity])

    @property
    def specials(self) -> dict[int, Special]:
        """The special sections by number."""
        found = self._cache.get("specials")
        if not isinstance(found, dict):
            rows = enumerate(map(special, self.elf.sections.names))
            found = self._cache["specials"] = {number: row for number, row in rows if row is not None}
        return found

    def symbol_size(self, entity: int) -> int:
        """The size that an entity's symbol states."""
        return int(self.elf.symbols.size[self.entities.symbol[entity]])

    @property
    def first_reference(self) -> Ints:
        """Where each entity's references begin; one more row than entities."""
        found = self._cache.get("first")
        if not isinstance(found, np.ndarray):
            count = len(self.entities)
            found = np.searchsorted(self.references.owner, np.arange(count + 1))
            self._cache["first"] = found
        return found

    def references_of(self, entity: int) -> slice:
        """The rows of an entity's references."""
        first = self.first_reference
        return slice(int(first[entity]), int(first[entity + 1]))

    @property
    def users(self) -> tuple[Ints, Ints]:
        """`(rows, first)`: reference rows sorted by target; those of entity e are `rows[first[e]:first[e+1]]`."""
        found = self._cache.get("users")
        if not isinstance(found, tuple):
            target = self.references.target
            rows = np.argsort(target, kind="stable")
            first = np.searchsorted(target[rows], np.arange(len(self.entities) + 1))
            found = (rows, first)
            self._cache["users"] = found
        return found

    def users_of(self, entity: int) -> Ints:
        """The owners of all references to an entity."""
        rows, first = self.users
        return self.references.owner[rows[int(first[entity]) : int(first[entity + 1])]]
