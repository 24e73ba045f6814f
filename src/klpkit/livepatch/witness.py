"""The shipped code as a witness: where it has what our object names, and whether it is the code of our object.

`klpkit.target.placing` does the work; here its answer is asked for by entities.  It takes a while and is only made
when a name alone does not tell.
"""

from __future__ import annotations

from functools import cached_property

from klpkit.diff.graph import Graph
from klpkit.errors import RefusedError
from klpkit.target import TargetObject, TargetSymbol
from klpkit.target.module import Module
from klpkit.target.original import Extent, Original
from klpkit.target.placing import Placing, place
from klpkit.target.shipped import Spot, shipped_code
from klpkit.target.vmlinux import Vmlinux


class Witness:
    """The code of a shipped vmlinux or module beside the unit's original in `graph`."""

    def __init__(self, graph: Graph, original: Original, target: Vmlinux | Module) -> None:
        self.graph = graph
        self._original = original
        self._target = target

    def spot(self, entity: int) -> Spot | None:
        """Where an entity lies, as far as names and the references of equal code agree; None where they don't."""
        extent = self._extents.get(int(self.graph.entities.symbol[entity]))
        return self._placing.spot_of(extent.section, extent.offset) if extent else None

    def fits(self, entity: int, symbol: TargetSymbol) -> bool:
        """Whether the shipped bytes of `symbol` are those of our function."""
        extent = self._extents.get(int(self.graph.entities.symbol[entity]))
        body = self._placing.body(extent, (symbol.section, symbol.address)) if extent else None
        return body is not None and body.difference is None

    @cached_property
    def _placing(self) -> Placing:
        return place(self._original, shipped_code(self._target))

    @cached_property
    def _extents(self) -> dict[int, Extent]:
        return {extent.row: extent for extent in self._original.extents}


def witness(graph: Graph, target: TargetObject) -> Witness | None:
    """The witness for a target; None where its code is not at hand, or its machine's code can't be compared."""
    if not isinstance(target, Module) and not (isinstance(target, Vmlinux) and target.elf is not None):
        return None
    try:
        return Witness(graph, Original(graph.elf), target)
    except RefusedError:
        return None
