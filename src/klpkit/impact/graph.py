"""The effect graph: from each function to those that use its body, as compressed rows.

Rows of an effect table that are one function (`same-function` effects) are one node here, so that a closure
which enters a function through one of its records leaves through all of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from klpkit.records.causes import cause_code
from klpkit.records.model import EffectTable, Ints

Longs = npt.NDArray[np.int64]


class Graph:
    """Nodes are 0 to `node_count`; `node_of` has the node of each function row of `table`.

    Edge i goes from node `bodies[i]` to node `targets[i]` and is the table's effect `effects[i]`; the edges of
    node n are those from `starts[n]` to `starts[n + 1]`, in the order of the table.
    """

    def __init__(self, table: EffectTable) -> None:
        self.table = table
        same = table.cause == cause_code("same-function")
        self.node_of = _components(table.function_count, table.body[same], table.user[same])
        self.node_count = int(self.node_of.max(initial=-1)) + 1
        bodies, users = self.node_of[table.body], self.node_of[table.user]
        # An effect of a function on itself (recursion) changes no answer.
        self.effects: Ints = np.flatnonzero(bodies != users).astype(np.int32)
        bodies = bodies[self.effects]
        if np.any(bodies[1:] < bodies[:-1]):
            order = np.argsort(bodies, kind="stable")
            self.effects, bodies = self.effects[order], bodies[order]
        self.bodies: Ints = bodies
        self.targets: Ints = users[self.effects]
        self.starts: Longs = np.zeros(self.node_count + 1, dtype=np.int64)
        np.cumsum(np.bincount(bodies, minlength=self.node_count), out=self.starts[1:])

    def edges_of(self, node: int) -> range:
        """The positions of the edges that leave `node`."""
        return range(int(self.starts[node]), int(self.starts[node + 1]))

    def nodes_of(self, rows: npt.ArrayLike) -> list[int]:
        """The nodes of function rows, each once, in the order given."""
        return list(dict.fromkeys(self.node_of[np.asarray(rows, dtype=np.int64)].tolist()))

    def rows_by_node(self) -> tuple[Ints, Longs]:
        """All function rows ordered by node, and where each node's rows start (one more than there are nodes)."""
        starts = np.zeros(self.node_count + 1, dtype=np.int64)
        np.cumsum(np.bincount(self.node_of, minlength=self.node_count), out=starts[1:])
        return np.argsort(self.node_of, kind="stable").astype(np.int32), starts


def _components(count: int, left: Ints, right: Ints) -> Ints:
    """The component of each of `count` rows under the joins `left`-`right`, numbered in row order.

    Every round hangs the root of each join's larger side below the smaller one and halves all paths, so long
    chains of joins need few rounds.
    """
    root = np.arange(count, dtype=np.int32)
    while len(left):
        low, high = np.minimum(root[left], root[right]), np.maximum(root[left], root[right])
        apart = low != high
        left, right, low, high = left[apart], right[apart], low[apart], high[apart]
        np.minimum.at(root, high, low)
        while np.any(root[root] != root):
            root = root[root]
    is_root = root == np.arange(count)
    numbers: Ints = (np.cumsum(is_root) - 1).astype(np.int32)[root]
    return numbers
