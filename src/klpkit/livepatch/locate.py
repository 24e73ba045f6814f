"""Where the shipped kernel has what an object of ours names.

A name that only one symbol of the target has is that symbol.  Where several have it, or where the compiler
numbered it (`count.12`), the shipped code is asked: a function that refers to it stands at a known address, and
the field of that reference, in the shipped bytes, says what is meant.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import PurePosixPath

from klpkit.diff.graph import Graph
from klpkit.diff.names import declared
from klpkit.elf import constants as c
from klpkit.elf.special import Role
from klpkit.errors import RefusedError
from klpkit.livepatch.witness import Witness, witness
from klpkit.target import TargetObject, TargetSymbol


class Locator:
    """Finds the entities of one original object (`graph`) in the shipped object `target` that it is part of."""

    def __init__(self, graph: Graph, target: TargetObject) -> None:
        self.graph = graph
        self.target = target
        self._known: dict[int, TargetSymbol] = {}

    def __call__(self, entity: int) -> TargetSymbol:
        """The shipped symbol of an entity of the original; `RefusedError` where it can't be told for sure."""
        if entity not in self._known:
            self._known[entity] = self._located(entity)
        return self._known[entity]

    @cached_property
    def code(self) -> Witness | None:
        """The shipped code as a witness, where it is at hand."""
        return witness(self.graph, self.target)

    # -- names -------------------------------------------------------------------------------------------------

    def _located(self, entity: int) -> TargetSymbol:
        name = self.graph.names[entity]
        if not name:
            raise RefusedError(
                "unnamed-reference",
                f"{self.graph.path}: changed code refers to bytes of {self.graph.section_name(entity)} that have "
                "no name in the running kernel",
                hint="compile with -fdata-sections, or keep the reference out of the patch",
            )
        same = self.target.positions(name)
        if not self.graph.entities.local[entity]:
            return the_global(self.target, name)
        if len(same) == 1 and not self._numbered(entity):
            return same[0]
        return self._by_code(entity) or self._by_source(entity, same)

    def _numbered(self, entity: int) -> bool:
        """Whether the compiler numbered it, so that another compilation may use the name for something else."""
        data = self.graph.entities.role[entity] != Role.TEXT
        return bool(data) and declared(self.graph.names[entity]) is not None

    def _by_source(self, entity: int, same: tuple[TargetSymbol, ...]) -> TargetSymbol:
        """The only symbol of this name that comes from the unit's source, or whose code is ours."""
        name = self.graph.names[entity]
        if not same:
            raise missing(self.target, name)
        mine = [s for s in same if s.source and PurePosixPath(s.source).name == self._source]
        if len(mine) == 1:
            return mine[0]
        if self.graph.entities.role[entity] == Role.TEXT:
            fit = [symbol for symbol in same if self.code and self.code.fits(entity, symbol)]
            if len(fit) == 1:
                return fit[0]
        raise RefusedError(
            "doubtful-symbol",
            f"{name}: {self.target.name} has {len(same)} symbols of this name, and its code does not tell which "
            "one is meant",
            hint="give the kernel image or its debug vmlinux, or keep the reference out of the patch",
        )

    @cached_property
    def _source(self) -> str:
        """The name of the unit's source as its file symbol has it."""
        symbols = self.graph.elf.symbols
        files = [row for row in range(len(symbols)) if symbols.type[row] == c.STT_FILE]
        return PurePosixPath(symbols.names[files[0]]).name if files else ""

    def _by_code(self, entity: int) -> TargetSymbol | None:
        """What the shipped code means where ours means `entity`; None where no shipped code tells."""
        spot = self.code.spot(entity) if self.code else None
        if spot is None:
            return None
        name = self.graph.names[entity]
        here = self.target.at(spot[1], spot[0])
        wanted = declared(name)
        exact = [symbol for symbol in here if symbol.name == name]
        like = [symbol for symbol in here if wanted is not None and declared(symbol.name) == wanted]
        return next(iter(exact or like), None)


def the_global(target: TargetObject, name: str) -> TargetSymbol:
    """The one global symbol of `target` called `name`."""
    same = target.positions(name)
    found = [symbol for symbol in same if symbol.kind.isupper()]
    if not same:
        raise missing(target, name)
    if len(found) == 1:
        return found[0]
    if len(same) == 1:
        return same[0]
    raise RefusedError(
        "doubtful-symbol",
        f"{name}: {len(found)} of the {len(same)} symbols of this name in {target.name} are global",
        hint="check that the target's files are those of one kernel",
    )


def missing(target: TargetObject, name: str) -> RefusedError:
    """The refusal for a symbol that the target does not have."""
    return RefusedError(
        "symbol-not-in-target",
        f"{target.name} of the running kernel has no symbol {name}",
        hint="it was optimised away or is of another version: check source, configuration and compiler, or keep "
        "the reference out of the patch",
    )
