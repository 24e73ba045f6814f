"""Callbacks that a patch brings along: `klpkit.h` leaves pointers to them in sections of their own.

The section is `.klp.callbacks.<member>.<object>`, its content one pointer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from klpkit.diff.graph import Graph
from klpkit.elf.special import Role
from klpkit.errors import RefusedError

PREFIX = ".klp.callbacks."
MEMBERS = ("pre_patch", "post_patch", "pre_unpatch", "post_unpatch")


@dataclass(frozen=True, slots=True)
class Callback:
    """The function (an entity) that is to be the `member` of the `object`'s callbacks."""

    member: str
    object: str
    function: int


def callback_sections(graph: Graph) -> list[int]:
    """The functions that are callbacks, as entities."""
    return [callback.function for callback in callbacks(graph)]


def callbacks(graph: Graph) -> list[Callback]:
    """All callbacks of a patched object, in its order; refused where one is malformed or there twice."""
    found: dict[tuple[str, str], Callback] = {}
    entities = graph.entities
    for number, section in enumerate(graph.elf.sections.names):
        if not section.startswith(PREFIX) or graph.flat.base[number] < 0:
            continue
        member, _, owner = section.removeprefix(PREFIX).partition(".")
        rows = np.flatnonzero(entities.section[: entities.defined] == number).tolist()
        targets = [t for row in rows for t in graph.references.target[graph.references_of(row)].tolist()]
        targets = [target for target in targets if entities.role[target] == Role.TEXT]
        if member not in MEMBERS or not owner or len(targets) != 1 or (owner, member) in found:
            raise RefusedError(
                "patch-callback",
                f"{graph.path}: {section} names no callback, or a second one of its kind",
                hint="use one KLPKIT_PRE_PATCH(object, function) or its like for each object",
            )
        found[owner, member] = Callback(member, owner, targets[0])
    return list(found.values())
