"""The effect graph without its cycles, and its groups ordered by height.

Nodes that impact each other (recursion between copies) form one group; a group's height is the length of the
longest way to a group without users.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from klpkit.impact.graph import Graph, Longs
from klpkit.records.model import Ints

# After so many whole-array rounds what is left is a long chain or a cycle, which goes node by node.
_ROUNDS = 48


@dataclass(frozen=True, slots=True)
class Condensed:
    """An acyclic graph of groups: the edges of group g lead to `targets[starts[g]:starts[g + 1]]`."""

    count: int
    groups: Ints
    starts: Longs
    targets: Ints
    height: Ints

    def levels(self) -> Iterator[Ints]:
        """The groups of each height, from those without users upwards."""
        # Of short numbers numpy's stable sort is a radix sort.
        narrow = self.height.astype(np.int16) if self.height.max(initial=0) < 2**15 else self.height
        order = np.argsort(narrow, kind="stable").astype(np.int32)
        bounds = np.cumsum(np.bincount(self.height)).tolist()
        for begin, end in zip([0, *bounds], bounds, strict=False):
            yield order[begin:end]


def condense(graph: Graph) -> Condensed:
    """The groups of `graph` and their heights."""
    height = _heights_of_acyclic_part(graph)
    rest = np.flatnonzero(height < 0)
    groups = np.arange(graph.node_count, dtype=np.int32)
    if not len(rest):
        return Condensed(graph.node_count, groups, graph.starts, graph.targets, height)
    leaders = _cycles(graph, rest, height)
    is_leader = leaders == groups
    groups = (np.cumsum(is_leader) - 1).astype(np.int32)[leaders]
    count = int(np.count_nonzero(is_leader))
    bodies, users = groups[graph.bodies], groups[graph.targets]
    between = bodies != users
    starts, targets = _compressed(bodies[between], users[between], count)
    return Condensed(count, groups, starts, targets, height[is_leader])


def _compressed(bodies: Ints, users: Ints, count: int) -> tuple[Longs, Ints]:
    """The edges as compressed rows."""
    starts = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(bodies, minlength=count), out=starts[1:])
    return starts, users[np.argsort(bodies, kind="stable")]


def _heights_of_acyclic_part(graph: Graph) -> Ints:
    """The height of every node, -1 for those above a cycle or more than `_ROUNDS` high."""
    height = np.zeros(graph.node_count, dtype=np.int32)
    waiting = np.flatnonzero(np.diff(graph.starts))
    height[waiting] = -1
    bodies, users = graph.bodies, graph.targets
    last_round = np.zeros(graph.node_count, dtype=np.int8)
    for level in range(1, _ROUNDS):
        keep = np.flatnonzero(height[users] < 0)
        if len(keep) == len(users):
            break
        bodies, users = bodies[keep], users[keep]
        last_round[bodies] = level
        done = last_round[waiting] != level
        height[waiting[done]] = level
        waiting = waiting[~done]
    return height


def _cycles(graph: Graph, rest: Longs, height: Ints) -> Ints:
    """The lowest node of the group of each node; fills in the heights of the nodes in `rest` (Tarjan 1972).

    Every group is finished after all groups that it leads to, so its height is known at that moment.
    """
    leaders = np.arange(graph.node_count, dtype=np.int32)
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
    unfinished = set(rest.tolist())
    users = {node: graph.targets[graph.starts[node] : graph.starts[node + 1]].tolist() for node in rest.tolist()}
    for root in rest.tolist():
        if root in number:
            continue
        stack = [(root, iter(users[root]))]
        number[root] = low[root] = len(number)
        path.append(root)
        on_path.add(root)
        while stack:
            node, edges = stack[-1]
            for user in edges:
                if user not in unfinished:
                    continue
                if user not in number:
                    number[user] = low[user] = len(number)
                    path.append(user)
                    on_path.add(user)
                    stack.append((user, iter(users[user])))
                    break
                if user in on_path:
                    low[node] = min(low[node], number[user])
            else:
                stack.pop()
                if stack:
                    low[stack[-1][0]] = min(low[stack[-1][0]], low[node])
                if low[node] == number[node]:
                    _close(node, path, on_path, users, leaders, height)
    return leaders


def _close(
    node: int,
    path: list[int],
    on_path: set[int],
    users: dict[int, list[int]],
    leaders: Ints,
    height: Ints,
) -> None:
    """Take the group that `node` started off `path`, and give it its leader and its height."""
    group = [path.pop()]
    while group[-1] != node:
        group.append(path.pop())
    on_path.difference_update(group)
    inside = set(group)
    outside = {int(height[user]) for member in group for user in users[member] if user not in inside}
    leaders[group] = min(group)
    height[group] = max(outside, default=-1) + 1
