"""Who is impacted: reachability in the effect graph, with reasons, for one function or for all.

Nothing here recurses: a chain of 100,000 functions is as good as any other graph.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from klpkit.errors import UserError
from klpkit.impact._order import Condensed, condense
from klpkit.impact.graph import Graph, Longs
from klpkit.records.model import Ints

CHAINS_MAX = 1000
MEMBERS_MAX = 100_000_000


@dataclass(frozen=True, slots=True)
class Reached:
    """What a search found: `distance` of each impacted node, nearest first, and the edge that it came by.

    `came_by` lacks the seeds.  Edges are positions in the graph.
    """

    distance: dict[int, int]
    came_by: dict[int, int]

    def chain(self, graph: Graph, node: int) -> list[int]:
        """The edges of one shortest chain from a seed to `node`, first to last."""
        edges = []
        while node in self.came_by:
            edge = self.came_by[node]
            edges.append(edge)
            node = int(graph.bodies[edge])
        return edges[::-1]


def reach(graph: Graph, seeds: Iterable[int]) -> Reached:
    """The closure of the nodes `seeds`, breadth first: of several shortest chains, the table's first."""
    distance = dict.fromkeys(seeds, 0)
    came_by: dict[int, int] = {}
    todo = deque(distance)
    starts, targets = graph.starts, graph.targets
    while todo:
        node = todo.popleft()
        begin, end = int(starts[node]), int(starts[node + 1])
        for edge, target in enumerate(targets[begin:end].tolist(), begin):
            if target not in distance:
                distance[target] = distance[node] + 1
                came_by[target] = edge
                todo.append(target)
    return Reached(distance, came_by)


def simple_chains(graph: Graph, seeds: Iterable[int], target: int) -> Iterator[list[int]]:
    """Every simple chain of edges from one of `seeds` to `target`, one at a time.

    A chain visits no node twice and no seed but its first.  Several effects between two functions make
    several chains.  There can be exponentially many: take as many as you need.
    """
    sources = list(dict.fromkeys(seeds))
    useful = _leading_to(graph, sources, target)
    for seed in sources:
        if seed in useful and seed != target:
            yield from _chains_from(graph, seed, target, useful - set(sources))


def _leading_to(graph: Graph, seeds: list[int], target: int) -> set[int]:
    """The nodes between `seeds` and `target`: all others are dead ends, which a search must not enter."""
    reached = reach(graph, seeds).distance
    before: dict[int, list[int]] = {}
    for node in reached:
        for edge in graph.edges_of(node):
            before.setdefault(int(graph.targets[edge]), []).append(node)
    useful = {target} if target in reached else set()
    todo = list(useful)
    while todo:
        for node in before.get(todo.pop(), ()):
            if node not in useful:
                useful.add(node)
                todo.append(node)
    return useful


def _chains_from(graph: Graph, seed: int, target: int, useful: set[int]) -> Iterator[list[int]]:
    """Depth first with a stack of edge iterators; `chain` is the path to the top of the stack."""
    chain: list[int] = []
    visited = {seed}
    stack = [iter(graph.edges_of(seed))]
    while stack:
        edge = next(stack[-1], None)
        if edge is None:
            stack.pop()
            if chain:
                visited.discard(int(graph.targets[chain.pop()]))
            continue
        node = int(graph.targets[edge])
        if node == target:
            yield [*chain, edge]
        elif node in useful and node not in visited:
            chain.append(edge)
            visited.add(node)
            stack.append(iter(graph.edges_of(node)))


@dataclass(frozen=True, slots=True)
class Closures:
    """The impacted functions of every function of a graph.

    The `lengths[g]` entries of `members` from `starts[g]` on are the groups that group g impacts, itself
    included, where a group is a set of nodes that all impact each other, nearly always a single one.  `groups`
    has the group of each node; the nodes of group g are `nodes[node_starts[g]:node_starts[g + 1]]`.
    """

    graph: Graph
    groups: Ints
    starts: Longs
    lengths: Longs
    members: Ints
    nodes: Ints
    node_starts: Longs

    def sizes(self) -> Longs:
        """The number of impacted functions of each node, itself included."""
        per_group = self.lengths
        weight = np.diff(self.node_starts)
        if np.any(weight > 1):
            totals = np.concatenate(([0], np.cumsum(weight[self.members])))
            per_group = totals[self.starts + self.lengths] - totals[self.starts]
        sizes: Longs = per_group[self.groups]
        return sizes

    def of(self, node: int) -> Ints:
        """The nodes that `node` impacts, itself included, ascending."""
        group = self.groups[node]
        groups = self.members[self.starts[group] : self.starts[group] + self.lengths[group]]
        parts = [self.nodes[self.node_starts[g] : self.node_starts[g + 1]] for g in groups.tolist()]
        return np.sort(np.concatenate(parts))


def closure_all(graph: Graph, *, limit: int = MEMBERS_MAX) -> Closures:
    """The closures of all nodes at once; UserError when they have more than `limit` members together.

    Groups are taken from those without users upwards, all of one height together: the closure of a group is
    itself and the union of its users' closures, which are known by then.
    """
    condensed = condense(graph)
    pool = _Pool(condensed, limit)
    for groups in condensed.levels():
        pool.add(groups)
    nodes = np.argsort(condensed.groups, kind="stable").astype(np.int32)
    node_starts = np.concatenate(([0], np.cumsum(np.bincount(condensed.groups, minlength=condensed.count))))
    return Closures(graph, condensed.groups, pool.begin, pool.size, pool.members(), nodes, node_starts)


class _Pool:
    """Closures one after another in the order in which they become known."""

    def __init__(self, condensed: Condensed, limit: int) -> None:
        self._graph = condensed
        self._limit = limit
        self.begin = np.zeros(condensed.count, dtype=np.int64)
        self.size = np.zeros(condensed.count, dtype=np.int64)
        self._members = np.empty(4 * condensed.count + 16, dtype=np.int32)
        self._used = 0

    def add(self, groups: Ints) -> None:
        """Compute the closures of `groups`, all of whose users are known."""
        edges, owner = _ranges(self._graph.starts[groups], self._graph.starts[groups + 1])
        users = self._graph.targets[edges]
        places, edge = _ranges(self.begin[users], self.begin[users] + self.size[users])
        self._check(len(places))
        # One number a pair (owner, member): sorted and made unique, they are the new closures in order.
        own = (np.arange(len(groups), dtype=np.int64) << 32) | groups
        keys = np.concatenate(((owner[edge] << 32) | self._members[places], own))
        keys.sort()
        keys = keys[np.concatenate(([True], keys[1:] != keys[:-1]))]
        sizes = np.bincount(keys >> 32, minlength=len(groups))
        self.size[groups] = sizes
        self.begin[groups] = self._used + np.cumsum(sizes) - sizes
        self._append(keys.astype(np.int32))

    def _check(self, coming: int) -> None:
        if self._used + coming > self._limit:
            raise UserError(
                f"the lists of all functions have more than {self._limit:,} entries",
                hint="ask for single functions instead of --all",
            )

    def _append(self, members: Ints) -> None:
        end = self._used + len(members)
        if end > len(self._members):
            grown = np.empty(max(end, 2 * len(self._members)), dtype=np.int32)
            grown[: self._used] = self._members[: self._used]
            self._members = grown
        self._members[self._used : end] = members
        self._used = end

    def members(self) -> Ints:
        """The pool itself: the closure of a group is `size` long from `begin` on."""
        return self._members[: self._used]


def _ranges(begins: Longs, ends: Longs) -> tuple[Longs, Longs]:
    """All numbers of the ranges one after another, and for each the range that it is from."""
    lengths = ends - begins
    which = np.repeat(np.arange(len(lengths)), lengths)
    first = np.cumsum(lengths) - lengths
    return np.arange(len(which)) + (begins - first)[which], which
