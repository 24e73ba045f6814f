"""The shipped code as a witness: whether it is the code of our object, and what a reference in it means."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from klpkit.diff.graph import Graph
from klpkit.elf import constants as c
from klpkit.elf.arch import architecture
from klpkit.elf.special import Role
from klpkit.livepatch.unit import Field, fields_of
from klpkit.target import TargetObject, TargetSymbol
from klpkit.target.module import Module
from klpkit.target.shipped import Shipped, Spot, shipped_code
from klpkit.target.vmlinux import Vmlinux

_SHORT_JUMPS = (0xEB, 0x66)


class Witness:
    """The code of the shipped `target` beside the unit's original in `graph`."""

    def __init__(self, graph: Graph, target: TargetObject, shipped: Shipped) -> None:
        self.graph = graph
        self.target = target
        self.shipped = shipped
        self.fields: dict[int, Field] = fields_of(graph)
        facts = architecture(graph.elf.machine, graph.elf.byte_order)
        self._relocations = facts.relocations if facts else {}
        # Fields that are a part of an instruction word can only be read in a module, by its relocations.
        self._readable = graph.elf.machine == c.EM_X86_64 or isinstance(target, Module)

    def meant(self, symbol: TargetSymbol, offset: int, field: Field, lead: int) -> Spot | None:
        """Where the entity lies that the shipped code refers to at `offset` of the function `symbol`.

        `field` is our relocation there, `lead` its addend counted from the start of that entity.
        """
        kind = self._relocations.get(field.type)
        if kind is None or not self._readable:
            return None
        return self.shipped.meant((symbol.section, symbol.address + offset), field.type, kind, lead)

    def fits(self, entity: int, symbol: TargetSymbol) -> bool:
        """Whether the shipped bytes of `symbol` are those of our function, but for fields written later."""
        ours = self.graph.bytes_of(entity)
        theirs = self.shipped.read((symbol.section, symbol.address), len(ours))
        if theirs is None or len(theirs) != len(ours):
            return False
        equal = np.frombuffer(ours, np.uint8) == np.frombuffer(theirs, np.uint8)
        return bool((equal | self._written(entity, len(ours))).all())

    def _written(self, entity: int, size: int) -> npt.NDArray[np.bool_]:
        """Which bytes a linker or the kernel writes: fields of relocations, and jump labels."""
        graph = self.graph
        mask = np.zeros(size, dtype=bool)
        start = int(graph.entities.start[entity])
        for at in graph.references.at[graph.references_of(entity)].tolist():
            field = self.fields.get(start + at)
            kind = self._relocations.get(field.type) if field else None
            mask[at : at + (kind.size if kind else 4)] = True
        code = graph.bytes_of(entity)
        for at in self._jump_labels(entity):
            mask[at : at + (2 if code[at] in _SHORT_JUMPS else 5)] = True
        return mask

    def _jump_labels(self, entity: int) -> list[int]:
        """The offsets of the function that `__jump_table` lists."""
        graph, references = self.graph, self.graph.references
        rows, first = graph.users
        found = []
        for row in rows[int(first[entity]) : int(first[entity + 1])].tolist():
            owner = int(references.owner[row])
            table = graph.entities.role[owner] == Role.SITES and graph.section_name(owner) == "__jump_table"
            if table and int(references.at[row]) == 0:
                found.append(int(references.offset[row]))
        return found


def witness(graph: Graph, target: TargetObject) -> Witness | None:
    """The witness for a target, None where its code is not at hand."""
    if isinstance(target, Module) or (isinstance(target, Vmlinux) and target.elf is not None):
        return Witness(graph, target, shipped_code(target))
    return None
