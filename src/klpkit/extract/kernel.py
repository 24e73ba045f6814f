"""The shipped kernel as `references` asks about it; the unit's compiled original tells equal names apart."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from klpkit.diff.graph import Graph
from klpkit.diff.load import load
from klpkit.diff.pool import Pool
from klpkit.elf import ElfFile
from klpkit.livepatch.locate import Locator, the_global
from klpkit.livepatch.unit import outside
from klpkit.target import VMLINUX, Target, TargetObject


class ShippedKernel:
    """`target` as seen from one unit: `original` is the unit's object, part of `home` (vmlinux or a module)."""

    def __init__(self, target: Target, original: Path, home: str) -> None:
        self.target = target
        self.home: TargetObject = target.object(home)
        self.original = original

    def exporter(self, name: str) -> str | None:
        """`vmlinux` where it exports `name`.

        What a module exports is no ordinary symbol of a patch: the patch could not load before that module.
        """
        export = self.target.exports().get(name)
        return VMLINUX if export is not None and export.module.rpartition("/")[2] == VMLINUX else None

    def find(self, name: str) -> tuple[str, str, int] | None:
        """(object, symbol, sympos) of what the unit calls `name`; None where the kernel has none.

        The symbol has another name where the compiler numbers it.
        """
        row = self._entities.get(name)
        if row is not None:
            symbol = self._locator(row)
            return self.home.name, symbol.name, self.home.sympos(symbol)
        for candidate in (self.home, self.target.vmlinux):
            if candidate.positions(name):
                symbol = the_global(candidate, name)
                return candidate.name, symbol.name, candidate.sympos(symbol)
        return None

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
