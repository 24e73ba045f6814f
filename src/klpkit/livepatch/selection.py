"""What of a patched object goes into the live patch: a closure over its entities.

It starts at the changed functions and at the author's callbacks.  Code is taken with its parts and with the
entries of special sections that describe it; what code refers to is taken where it is new, differs, or has no
identity (literals, constant pools), and stays in the running kernel where it has one: state above all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from klpkit.diff.graph import Graph, Kind
from klpkit.diff.names import declared
from klpkit.elf.special import Role
from klpkit.errors import RefusedError
from klpkit.livepatch.callbacks import callback_sections
from klpkit.livepatch.tracepoints import Silent
from klpkit.livepatch.unit import Unit

# Constants that a compiler or a macro makes for one place in the source: nobody compares their addresses.
_COPIED_NAMES = frozenset({"__func__", "__FUNCTION__", "__PRETTY_FUNCTION__", "CSWTCH", "___fmt", "__fmt"})
# Sections of records that a kernel registers for each module: a copy is a record of its own.
_COPIED_SECTIONS = ("__dyndbg", "__verbose", "__dyndbg_classes", "_ftrace_annotated_branch", "_ftrace_branch")
_LITERALS = (Role.STRINGS, Role.CONSTANTS, Role.PIECES)


class Fate(Enum):
    """What becomes of something that taken code refers to."""

    TAKE = "take"
    KERNEL = "kernel"


@dataclass(slots=True)
class Selection:
    """The entities of `unit` that go into the module, and those of the kernel that they refer to.

    `silent` are the jump labels of taken code that are left out.
    """

    unit: Unit
    taken: set[int] = field(default_factory=set)
    kernel: set[int] = field(default_factory=set)
    silent: tuple[Silent, ...] = ()

    @property
    def functions(self) -> list[int]:
        """The functions taken, without their parts, in the order of the object."""
        unit = self.unit
        return sorted(e for e in self.taken if e in unit.changed or e in unit.new)


def select(unit: Unit, more: Iterable[int] = (), silent: Iterable[Silent] = ()) -> Selection:
    """The closure from the changed functions, the callbacks, and `more`; without the entries of `silent`."""
    selection = Selection(unit)
    left_out = {each.entry: each for each in silent}
    queue = [*sorted(unit.changed), *callback_sections(unit.graph), *more]
    while queue:
        entity = queue.pop()
        if entity in selection.taken:
            continue
        selection.taken.add(entity)
        queue += [each for each in _company(unit, entity) if each not in left_out]
        for target in _targets(unit.graph, entity):
            if fate(unit, target) is Fate.TAKE:
                queue.append(_head(unit, target))
            else:
                selection.kernel.add(target)
    selection.silent = tuple(each for each in left_out.values() if each.function in selection.taken)
    return selection


def _targets(graph: Graph, entity: int) -> list[int]:
    found: list[int] = np.unique(graph.references.target[graph.references_of(entity)]).tolist()
    return found


def _head(unit: Unit, entity: int) -> int:
    """The function of a part: parts are taken with it."""
    return unit.function_of(entity) if unit.graph.entities.role[entity] == Role.TEXT else entity


def _company(unit: Unit, entity: int) -> list[int]:
    """What must come with an entity though it need not refer to it."""
    if unit.graph.entities.role[entity] != Role.TEXT:
        return []
    return unit.parts.get(entity, []) + unit.sites.get(entity, [])


def fate(unit: Unit, target: int) -> Fate:
    """Whether what taken code refers to is taken too; refused where that can't be told."""
    graph = unit.graph
    if int(graph.entities.kind[target]) >= Kind.EXTERNAL:
        return Fate.KERNEL
    role = Role(int(graph.entities.role[target]))
    if role in _LITERALS:
        return Fate.TAKE
    if role is Role.TEXT:
        return Fate.TAKE if unit.status(unit.function_of(target)) else Fate.KERNEL
    if role is Role.DATA:
        return Fate.KERNEL if unit.partner(target) >= 0 else Fate.TAKE
    if role is Role.RODATA:
        return Fate.TAKE if _copied(unit, target) else Fate.KERNEL
    section = graph.section_name(target)
    raise RefusedError(
        "unknown-special-section",
        f"{graph.path}: changed code refers to {graph.names[target] or 'bytes'} in {section}",
        hint="keep the reference out of the patch",
    )


def _copied(unit: Unit, target: int) -> bool:
    """Whether a constant is taken: it differs, or it has no identity that anything could depend on."""
    graph = unit.graph
    name = graph.names[target]
    if not name or not unit.same(target) or name.startswith(".L"):
        return True
    base = declared(name)
    if base is not None and base.rsplit(".", 1)[-1] in _COPIED_NAMES:
        return True
    return graph.section_name(target).startswith(_COPIED_SECTIONS)
