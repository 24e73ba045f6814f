"""Which code is a part of a function: its cold part, a prefix symbol, bytes that lead into it."""

from __future__ import annotations

import numpy as np

from klpkit.diff.graph import Kind
from klpkit.diff.names import cold_parent, prefix_owner
from klpkit.diff.pool import Ints, Pool, distinct
from klpkit.diff.union import CODE, Union
from klpkit.elf.special import Role

LEADING, COLD, FIRST_PREFIX = 1, 2, 3
"""Kinds of parts; prefixes are numbered from the last on."""


def parts(both: Union, names: Pool) -> tuple[Ints, Ints]:
    """`(parent, kind)`: for each row the row of the function that it is a part of (-1: none), and which part."""
    parent = np.full(len(both), -1, np.int64)
    code = np.flatnonzero(both.sort == CODE)
    owner_name, kind_of_name = _tables(names, distinct(both.name[code]))
    kind = np.zeros(len(both), np.int64)
    kind[code] = kind_of_name[both.name[code]]
    after = np.minimum(np.arange(len(both)) + 1, len(both) - 1)
    prefixes = np.flatnonzero((kind >= FIRST_PREFIX) & (owner_name[both.name] == both.name[after]))
    parent[prefixes] = after[prefixes]
    # All that is left as code without a name leads into the function behind it.
    leads = np.flatnonzero((both.sort == CODE) & (both.kind == Kind.ANONYMOUS) & (both.role == Role.TEXT))
    parent[leads], kind[leads] = after[leads], LEADING
    for row in np.flatnonzero(kind == COLD).tolist():
        parent[row] = _cold(both, row, int(owner_name[both.name[row]]))
    return parent, kind


def _tables(names: Pool, used: Ints) -> tuple[Ints, Ints]:
    """For each name number: the number of the function's name that it is a part of (-1), and which part."""
    found: list[tuple[int, int, int]] = []
    kinds: dict[str, int] = {}
    for number in used.tolist():
        name = str(names.things[number])
        if not name.startswith("__") and ".cold" not in name:
            continue
        owner = prefix_owner(name)
        if owner is not None:
            kind = kinds.setdefault(name[: len(name) - len(owner)], FIRST_PREFIX + len(kinds))
            found.append((number, names.number(owner), kind))
            continue
        owner = cold_parent(name)
        if owner is not None:
            found.append((number, names.number(owner), COLD))
    owners = np.full(len(names), -1, np.int64)
    sorts = np.zeros(len(names), np.int64)
    for number, owner_number, kind in found:
        owners[number], sorts[number] = owner_number, kind
    return owners, sorts


def _cold(both: Union, row: int, wanted: int) -> int:
    """The function of the wanted name that the cold part refers to or is referred to by; -1 if not one."""
    graph, entity = both.side(row)
    shift = row - entity
    near = np.concatenate([graph.users_of(entity), graph.references.target[graph.references_of(entity)]])
    hits = distinct(near[both.name[near + shift] == wanted])
    return int(hits[0]) + shift if len(hits) == 1 else -1
