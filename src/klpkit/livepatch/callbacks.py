"""Callbacks and states that a patch brings along: `klpkit.h` leaves them in sections of their own.

A callback's section is `.klp.callbacks.<member>.<object>`, its content one pointer; a state's is
`.klp.callbacks.state.<id>`, its content two 64-bit numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from klpkit.diff.graph import Graph
from klpkit.elf.special import Role
from klpkit.errors import RefusedError

PREFIX = ".klp.callbacks."
_STATE = f"{PREFIX}state."
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
        if not section.startswith(PREFIX) or section.startswith(_STATE) or graph.flat.base[number] < 0:
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


def states(graph: Graph) -> list[tuple[int, int]]:
    """The (id, version) of all states of a patched object."""
    found = []
    for number, section in enumerate(graph.elf.sections.names):
        if section.startswith(_STATE) and graph.flat.base[number] >= 0:
            content = bytes(graph.elf.content(number))
            order: Literal["little", "big"] = "little" if graph.elf.byte_order == "<" else "big"
            if len(content) != 16:
                raise RefusedError(
                    "patch-callback",
                    f"{graph.path}: {section} holds {len(content)} bytes and no state",
                    hint="use KLPKIT_STATE(id, version) once for each id",
                )
            found.append((int.from_bytes(content[:8], order), int.from_bytes(content[8:], order)))
    return found
