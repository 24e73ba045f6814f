"""Who is impacted: reachability in the effect graph, with reasons, for one function or for all.

Nothing here recurses: a chain of 100,000 functions is as good as any other graph.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

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
        heavy = weight > 1
        if np.any(heavy):
            # Only few members count more than once: how much more, up to each place.
            places = np.flatnonzero(heavy[self.members])
            more = np.concatenate(([0], np.cumsum(weight[self.members[places]] - 1)))
            before, behind = (
                more[np.searchsorted(places, ends)] for ends in (self.starts, self.starts + self.lengths)
            )
            per_group = per_group + behind - before
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
    # A question about one function, which a person waits for, does without these.
    from klpkit.impact._order import condense
    from klpkit.impact._unions import Unions

    condensed = condense(graph)
    pool = Unions(condensed, limit)
    for groups in condensed.levels():
        pool.add(groups)
    nodes, node_starts = condensed.groups, np.arange(condensed.count + 1)
    if condensed.count < graph.node_count:
        nodes = np.argsort(condensed.groups, kind="stable").astype(np.int32)
        np.cumsum(np.bincount(condensed.groups, minlength=condensed.count), out=node_starts[1:])
    return Closures(graph, condensed.groups, pool.begin, pool.size, pool.members(), nodes, node_starts)
