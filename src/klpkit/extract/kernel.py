"""The shipped kernel as `references` asks about it; the unit's compiled original tells equal names apart."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from klpkit.diff.graph import Graph
from klpkit.diff.load import load
from klpkit.diff.pool import Pool
from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.errors import RefusedError
from klpkit.livepatch.locate import Locator, the_global
from klpkit.livepatch.unit import outside
from klpkit.target import VMLINUX, Export, Target, TargetObject, TargetSymbol
from klpkit.target.vmlinux import Vmlinux


class ShippedKernel:
    """`target` as seen from one unit: `original` is the unit's object, part of `home` (vmlinux or a module)."""

    def __init__(self, target: Target, original: Path, home: str) -> None:
        self.target = target
        self.home: TargetObject = target.object(home)
        self.original = original

    def exporter(self, name: str) -> str | None:
        """`vmlinux` where it exports `name` to every module.

        What a module exports is no ordinary symbol of a patch: the patch could not load before that module.  One
        in a namespace would have to be imported, in words that differ between versions of Linux.
        """
        export = self.target.exports().get(name)
        return VMLINUX if export is not None and not export.namespace and _owner(export) == VMLINUX else None

    def find(self, name: str) -> tuple[str, str, int] | None:
        """(object, symbol, sympos) of what the unit calls `name`; None where the kernel has none.

        The symbol has another name where the compiler numbers it.  Raises `RefusedError` (`init-reference`) for
        what the kernel frees after its start.
        """
        row = self._entities.get(name)
        if row is not None:
            return self._place(self.home, self._locator(row))
        export = self.target.exports().get(name)
        others = [self.target.object(_owner(export))] if export is not None and self.home.name != VMLINUX else []
        for candidate in (self.home, *others, self.target.vmlinux):
            if candidate.positions(name):
                return self._place(candidate, the_global(candidate, name))
        return None

    def replaced(self, name: str) -> int:
        """The position (sympos) of the unit's function `name`, which a patch replaces.

        Raises `RefusedError` (`overridden-weak`) where the kernel has another function of this name instead.
        """
        row = self._entities.get(name)
        if row is None:
            raise RefusedError(
                "symbol-not-in-kernel",
                f"{name} has code under another name only, which the glue would have to be given by hand",
                hint="name the functions that call it",
            )
        symbol = self._locator(row)
        weak = self._graph.elf.symbols.bind[self._graph.entities.symbol[row]] == c.STB_WEAK
        code = self._locator.code
        if weak and code is not None and not code.fits(row, symbol):
            raise RefusedError(
                "overridden-weak",
                f"{name} of this source is weak, and the running kernel has another function of the name",
                hint="patch the function that overrides it",
            )
        return self.home.sympos(symbol)

    def _place(self, holder: TargetObject, symbol: TargetSymbol) -> tuple[str, str, int]:
        freed = symbol.section.startswith(".init")
        if isinstance(holder, Vmlinux):
            freed = holder.in_init(symbol.address)
        if freed:
            raise RefusedError(
                "init-reference",
                f"the draft refers to {symbol.name}, which the kernel has freed after its start",
                hint="keep init code and data out of the patch",
            )
        return holder.name, symbol.name, holder.sympos(symbol)

    @cached_property
    def _graph(self) -> Graph:
        return load(ElfFile.open(self.original), Pool(), Pool())

    @cached_property
    def _locator(self) -> Locator:
        return Locator(self._graph, self.home)

    @cached_property
    def _entities(self) -> dict[str, int]:
        """Name → row of what the unit itself defines."""
        graph = self._graph
        rows = range(len(graph.entities.role))
        return {graph.names[row]: row for row in rows if graph.names[row] and not outside(graph, row)}


def _owner(export: Export) -> str:
    return export.module.rpartition("/")[2]
