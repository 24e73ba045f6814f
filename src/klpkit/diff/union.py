"""Both sides of a diff as one set of columns: rows of the original first, then those of the patched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from klpkit.diff.graph import Graph, Kind
from klpkit.diff.names import declared
from klpkit.diff.pool import Ints, Mask, Pool, distinct
from klpkit.elf.special import Role

CODE, STATE, OUTSIDE, OTHER = 0, 1, 2, 3
"""Sorts of entities: only those of one sort can be the same thing."""

_SORTS = np.full(16, OTHER, np.int64)
_SORTS[Role.TEXT] = CODE
_SORTS[[Role.DATA, Role.RODATA]] = STATE


@dataclass(slots=True)
class Union:
    """Columns over both sides; `split` is the number of entities of the original.

    `declared` is the number of the name that a compiler's suffix was put on, -1 where the name is the author's
    and unique, -2 for entities that are known by their content alone.
    """

    original: Graph
    patched: Graph
    split: int
    sort: Ints
    role: Ints
    kind: Ints
    name: Ints
    file: Ints
    content: Ints
    declared: Ints
    owner: Ints
    at: Ints
    type: Ints
    target: Ints
    offset: Ints
    first: Ints

    def __len__(self) -> int:
        return len(self.sort)

    def side(self, entity: int) -> tuple[Graph, int]:
        """The graph that a row belongs to, and its row there."""
        if entity < self.split:
            return self.original, entity
        return self.patched, entity - self.split

    def name_of(self, entity: int) -> str:
        graph, row = self.side(entity)
        return graph.names[row]

    def references_of(self, entity: int) -> slice:
        return slice(int(self.first[entity]), int(self.first[entity + 1]))


def union(original: Graph, patched: Graph, names: Pool) -> Union:
    """The columns of both sides, with names sorted into the author's and the compiler's."""
    a, b = original.entities, patched.entities
    split = len(a)
    role = np.concatenate([a.role, b.role])
    kind = np.concatenate([a.kind, b.kind])
    outside = kind >= Kind.EXTERNAL
    sort = np.where(outside, OUTSIDE, _SORTS[np.clip(role, 0, 15)])
    name = np.concatenate([a.name, b.name])
    files = np.concatenate([_files(original, names), _files(patched, names)])
    x, y = original.references, patched.references
    owner = np.concatenate([x.owner, y.owner + split])
    count = split + len(b)
    found = Union(
        original=original,
        patched=patched,
        split=split,
        sort=sort,
        role=role,
        kind=kind,
        name=name,
        file=files,
        content=np.concatenate([a.content, b.content]),
        declared=np.full(count, -2, np.int64),
        owner=owner,
        at=np.concatenate([x.at, y.at]),
        type=np.concatenate([x.type, y.type]),
        target=np.concatenate([x.target, y.target + split]),
        offset=np.concatenate([x.offset, y.offset]),
        first=np.searchsorted(owner, np.arange(count + 1)),
    )
    _declare(found, names)
    return found


def _files(graph: Graph, names: Pool) -> Ints:
    rows, inverse = np.unique(graph.entities.file, return_inverse=True)
    all_names = graph.elf.symbols.names
    numbers = names.numbers(all_names[row] if row else "" for row in rows.tolist())
    return numbers[inverse]


def _declare(found: Union, names: Pool) -> None:
    candidate = (found.sort != OTHER) & (found.role != Role.DROPPED)
    unique = distinct(found.name[candidate])
    table = np.full(len(names) + 1, -1, np.int64)
    nothing = names.number("")
    for number in unique.tolist():
        prefix = declared(str(names.things[number]))
        if prefix is not None:
            table[number] = names.number(prefix)
    table[nothing] = nothing
    found.declared[candidate] = table[found.name[candidate]]


def repeated(keys: Ints, sides: Mask) -> tuple[Ints, Ints, Ints]:
    """For each row of `keys`: its number among the distinct keys, and each key's count on either side."""
    _, inverse = np.unique(keys, return_inverse=True)
    size = int(inverse.max()) + 1 if len(inverse) else 0
    left = np.bincount(inverse[~sides], minlength=size)
    right = np.bincount(inverse[sides], minlength=size)
    return inverse, left, right
