"""Where the shipped kernel has what an object of ours names.

A name that only one symbol of the target has is that symbol.  Where several have it, or where the compiler
numbered it (`count.12`), the shipped code is asked: a function that refers to it stands at a known address, and
the field of that reference, in the shipped bytes, says what is meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import PurePosixPath

from klpkit.diff.graph import BRANCH, Graph
from klpkit.diff.names import declared
from klpkit.elf import constants as c
from klpkit.elf.special import Role
from klpkit.errors import RefusedError
from klpkit.livepatch.unit import lead_of
from klpkit.livepatch.witness import Witness, witness
from klpkit.target import TargetObject, TargetSymbol
from klpkit.target.shipped import Spot


class Locator:
    """Finds the entities of one original object (`graph`) in the shipped object `target` that it is part of."""

    def __init__(self, graph: Graph, target: TargetObject) -> None:
        self.graph = graph
        self.target = target
        self._known: dict[int, TargetSymbol] = {}
        self._busy: set[int] = set()

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

    # -- shipped code ------------------------------------------------------------------------------------------

    def _by_code(self, entity: int) -> TargetSymbol | None:
        """What the shipped code means where ours means `entity`; None where no shipped code tells."""
        if self.code is None or entity in self._busy:
            return None
        self._busy.add(entity)
        try:
            found = {symbol.index: symbol for symbol in self._witnesses(entity, self.code)}
        finally:
            self._busy.discard(entity)
        if len(found) > 1:
            places = ", ".join(f"{symbol.name} at {symbol.address:#x}" for symbol in found.values())
            raise RefusedError(
                "doubtful-symbol",
                f"{self.graph.names[entity]}: the shipped code means {places}",
                hint="check that source, configuration and compiler are those of the running kernel",
            )
        return next(iter(found.values()), None)

    def _witnesses(self, entity: int, code: Witness) -> Iterator[TargetSymbol]:
        references = self.graph.references
        rows, first = self.graph.users
        for row in rows[int(first[entity]) : int(first[entity + 1])].tolist():
            user, at = int(references.owner[row]), int(references.at[row])
            if int(references.type[row]) >= BRANCH or self.graph.entities.role[user] != Role.TEXT:
                continue
            field = code.fields.get(int(self.graph.entities.start[user]) + at)
            home = self._home(user, code)
            if home is not None and field is not None:
                lead = lead_of(self.graph, entity, field)
                yield from self._named_like(entity, code.meant(home, at, field, lead))

    def _home(self, user: int, code: Witness) -> TargetSymbol | None:
        """Where a function of ours is in the target, as far as names and bytes tell."""
        name = self.graph.names[user]
        fit = [symbol for symbol in self.target.positions(name) if code.fits(user, symbol)] if name else []
        return fit[0] if len(fit) == 1 else None

    def _named_like(self, entity: int, place: Spot | None) -> Iterator[TargetSymbol]:
        """The symbol at `place` that can be `entity` by its name: code that was rewritten may mean others."""
        if place is None:
            return
        name = self.graph.names[entity]
        here = self.target.at(place[1], place[0])
        exact = [symbol for symbol in here if symbol.name == name]
        wanted = declared(name)
        like = [symbol for symbol in here if wanted is not None and declared(symbol.name) == wanted]
        yield from (exact or like)[:1]


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
