"""Questions to an effect table: which functions are meant, and what a change of theirs impacts."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np

from klpkit.errors import UserError
from klpkit.impact.closure import CHAINS_MAX, Reached, reach, simple_chains
from klpkit.impact.graph import Graph, Longs
from klpkit.impact.result import ImpactAnswer, ImpactedFunction, Patchability
from klpkit.records.model import Effect, EffectTable, Function, Ints

Judge = Callable[[Function], Patchability]
RowsByNode = tuple[Ints, Longs]
"""What `Graph.rows_by_node` returns."""

SUGGESTIONS = 5
_NO_ROWS: Ints = np.zeros(0, dtype=np.int32)


def find_functions(table: EffectTable, spec: str) -> list[int]:
    """The rows of the functions that `spec` means: `name`, or `file.c:name`.

    The file is the end of a path, whole components of it, and is looked for in the function's own place and in
    its unit (for a dump or object, the name of the source that it was made from).  A name alone means every
    function of that symbol in every unit, so that a header's function is all its copies.  UserError with the
    closest names when there is none.
    """
    file, _, name = spec.rpartition(":")
    rows = table.rows_of(name) if name else _NO_ROWS
    chosen = [row for row in rows.tolist() if not file or _is_in(table, row, file)]
    if chosen:
        return chosen
    if len(rows):
        places = sorted({_place(table, row) for row in rows.tolist()})
        more = f" and {len(places) - SUGGESTIONS} more" if len(places) > SUGGESTIONS else ""
        hint = f"it is in {', '.join(places[:SUGGESTIONS])}{more}"
        raise UserError(f"no function {name} in {file}", hint=hint)
    raise UserError(f"no function {name or spec!r} in the records", hint=_closest(table, name))


def _is_in(table: EffectTable, row: int, file: str) -> bool:
    """Whether `file` is the end of the path of the function's place or unit."""
    own = table.strings[int(table.file[row])]
    unit = table.strings[int(table.unit[row])]
    return _ends_with(own, file) or _ends_with(source_of_unit(unit), file) or _ends_with(unit, file)


def source_of_unit(unit: str) -> str:
    """The source path that a dump's name holds: `fs/namei.c` for `fs/namei.c.000i.ipa-clones`."""
    stem = unit.removesuffix(".ipa-clones")
    return stem.rpartition(".")[0] if stem != unit else unit


def _ends_with(path: str, end: str) -> bool:
    """Whether `end` is the end of `path`; or an absolute path that ends with `path`, which is relative."""
    end = end.removeprefix("./")
    if end.startswith("/") and not path.startswith("/"):
        return bool(path) and end.endswith("/" + path.removeprefix("./"))
    return path == end or path.endswith("/" + end.removeprefix("/"))


def _place(table: EffectTable, row: int) -> str:
    function = table.function(row)
    return function.location.file if function.location else function.unit


def _closest(table: EffectTable, name: str) -> str:
    """A hint with the closest names; of 100,000 only those of like length and beginning or end are compared."""
    symbols = {table.strings[index] for index in np.unique(table.symbol).tolist()}
    candidates = [
        symbol
        for symbol in symbols
        if abs(len(symbol) - len(name)) <= 3 and (symbol[:1] == name[:1] or symbol[-3:] == name[-3:])
    ]
    containing = sorted(symbol for symbol in symbols if name in symbol) if len(name) > 3 else []
    close = difflib.get_close_matches(name, sorted(candidates)[:20_000], SUGGESTIONS, 0.6)
    names = list(dict.fromkeys([*close, *containing[:SUGGESTIONS]]))[:SUGGESTIONS]
    if names:
        return f"did you mean {', '.join(names)}?"
    return "records name only functions that were inlined, copied or received a copy; check the spelling"


def answer(
    table: EffectTable,
    seeds: Sequence[int],
    *,
    all_chains: bool = False,
    chains_max: int = CHAINS_MAX,
    patchability: Judge | None = None,
    evidence: Iterable[str] = (),
    warnings: Iterable[str] = (),
    graph: Graph | None = None,
    by_node: RowsByNode | None = None,
) -> ImpactAnswer:
    """What the functions in rows `seeds` impact: themselves, and all that use their bodies, however far.

    Order: distance, then symbol, then unit.  Rows that are one function appear once, by the row that knows
    most about it.  With `all_chains`, every simple chain to each function, at most `chains_max` of them, with
    a warning where there are more.  `patchability` says of a function how it can be patched.  Give `graph`
    when asking one table several times, and its `rows_by_node()` when asking it for very many functions.
    """
    graph = graph or Graph(table)
    return _Answer(graph, seeds, all_chains, chains_max, patchability, by_node).build(evidence, warnings)


class _Answer:
    """An answer in the making."""

    def __init__(
        self,
        graph: Graph,
        seeds: Sequence[int],
        all_chains: bool,
        chains_max: int,
        judge: Judge | None,
        by_node: RowsByNode | None,
    ) -> None:
        self._graph = graph
        self._seeds = graph.nodes_of(seeds)
        self._reached: Reached = reach(graph, self._seeds)
        self._chains_max = chains_max if all_chains else 0
        self._judge = judge
        self._truncated = 0
        self._functions = _spokesmen(graph, _rows_of(graph, self._reached.distance, by_node))

    def build(self, evidence: Iterable[str], warnings: Iterable[str]) -> ImpactAnswer:
        inside = [edge for node in self._reached.distance for edge in self._graph.edges_of(node)]
        causes: dict[int, set[str]] = {}
        effects: dict[Effect, None] = {}
        for edge in inside:
            effect = self._effect(edge)
            effects[effect] = None
            causes.setdefault(int(self._graph.targets[edge]), set()).add(effect.cause)
        impacted = [self._impacted(node, causes.get(node, set())) for node in self._reached.distance]
        impacted.sort(key=lambda one: (one.distance, one.function.symbol, one.function.unit, one.function.order))
        said = [*self._graph.table.warnings, *warnings]
        if self._truncated:
            said.append(
                f"{self._truncated} functions have more than {self._chains_max} chains; only so many are listed"
            )
        return ImpactAnswer(
            seeds=tuple(self._functions[node] for node in self._seeds),
            impacted=tuple(impacted),
            effects=tuple(effects),
            evidence=tuple(evidence),
            warnings=tuple(said),
        )

    def _impacted(self, node: int, causes: set[str]) -> ImpactedFunction:
        function = self._functions[node]
        chain = self._reached.chain(self._graph, node)
        return ImpactedFunction(
            function=function,
            chain=tuple(self._effect(edge) for edge in chain),
            causes=tuple(sorted(causes)),
            patchability=self._judge(function) if self._judge else Patchability(),
            chains=self._chains(node) if chain and self._chains_max else (),
        )

    def _chains(self, node: int) -> tuple[tuple[Effect, ...], ...]:
        found = list(islice(simple_chains(self._graph, self._seeds, node), self._chains_max + 1))
        if len(found) > self._chains_max:
            self._truncated += 1
            found.pop()
        found.sort(key=len)
        return tuple(tuple(self._effect(edge) for edge in chain) for chain in found)

    def _effect(self, edge: int) -> Effect:
        """The effect of an edge, between the functions as the answer names them."""
        table = self._graph.table
        plain = table.effect(int(self._graph.effects[edge]))
        body = self._functions[int(self._graph.bodies[edge])]
        return Effect(body, self._functions[int(self._graph.targets[edge])], plain.cause, plain.where)


def _rows_of(graph: Graph, nodes: Iterable[int], by_node: RowsByNode | None) -> list[int]:
    """All function rows of `nodes`; the rows of one node in the order of the table."""
    if by_node is not None:
        rows, starts = by_node
        return [row for node in nodes for row in rows[starts[node] : starts[node + 1]].tolist()]
    wanted = np.zeros(graph.node_count, dtype=np.bool_)
    wanted[list(nodes)] = True
    chosen: list[int] = np.flatnonzero(wanted[graph.node_of]).tolist()
    return chosen


def _spokesmen(graph: Graph, rows: Iterable[int]) -> dict[int, Function]:
    """The function that stands for each node of `rows`: the first that knows its place, else the first."""
    found: dict[int, Function] = {}
    for row in rows:
        node = int(graph.node_of[row])
        if node not in found or (found[node].location is None and graph.table.file[row]):
            found[node] = graph.table.function(row)
    return found
