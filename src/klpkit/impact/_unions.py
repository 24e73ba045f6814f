"""The closures of all groups of an acyclic graph, made from those of their users as whole arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from klpkit.errors import UserError
from klpkit.impact._order import Condensed
from klpkit.impact.graph import Longs
from klpkit.records.model import Ints

_Members = npt.NDArray[np.uint32]


class Unions:
    """Closures one after another in the order in which they become known."""

    def __init__(self, condensed: Condensed, limit: int) -> None:
        self._graph = condensed
        self._limit = limit
        self.begin = np.zeros(condensed.count, dtype=np.int64)
        self.size = np.zeros(condensed.count, dtype=np.int64)
        self._members = np.empty(8 * condensed.count + 16, dtype=np.uint32)
        self._used = 0
        # A pair (owner, member) is one short number where it can be, because those are sorted twice as fast.
        self._bits = condensed.count.bit_length()
        self._key: type[np.unsignedinteger[Any]] = np.uint32 if self._bits <= 22 else np.uint64
        self._at_once = min(1 << (32 - self._bits), 4096) if self._bits <= 22 else 4096

    def add(self, groups: Ints) -> None:
        """Compute the closures of `groups`, all of whose users are known."""
        starts = self._graph.starts[groups]
        edges = self._graph.starts[groups + 1] - starts
        none, one, several = (np.flatnonzero(found) for found in (edges == 0, edges == 1, edges > 1))
        if len(none):
            self._take(groups[none], np.ones(len(none), dtype=np.int64), groups[none].view(np.uint32))
        if len(one):
            self._add_to_one(groups[one], self._graph.targets[starts[one]])
        if len(several):
            self._add_to_several(groups[several])

    def _add_to_one(self, groups: Ints, users: Ints) -> None:
        """Groups with one user: its closure and the group itself."""
        sizes = self.size[users] + 1
        stops = np.cumsum(sizes)
        self._check(int(stops[-1]))
        first = stops - sizes
        places = np.repeat(self.begin[users] - 1 - first, sizes)
        places += np.arange(len(places))
        members = self._members.take(places, mode="clip")
        members[first] = groups
        self._take(groups, sizes, members)

    def _add_to_several(self, groups: Ints) -> None:
        """Groups with several users, whose closures overlap; few enough at once for a processor's cache."""
        for begin in range(0, len(groups), self._at_once):
            self._unite(groups[begin : begin + self._at_once])

    def _unite(self, groups: Ints) -> None:
        edges, owner = _ranges(self._graph.starts[groups], self._graph.starts[groups + 1])
        users = self._graph.targets[edges]
        places, edge = _ranges(self.begin[users], self.begin[users] + self.size[users])
        self._check(len(places))
        # One number a pair (owner, member): sorted and made unique, they are the new closures in order.
        bits = self._bits
        owner = owner.astype(self._key) << bits
        keys = np.empty(len(places) + len(groups), dtype=self._key)
        np.bitwise_or(owner[edge], self._members[places], out=keys[: len(places)])
        own = np.arange(len(groups), dtype=self._key) << bits
        np.bitwise_or(own, groups.view(np.uint32), out=keys[len(places) :])
        keys.sort()
        is_new = np.ones(len(keys), dtype=np.bool_)
        np.not_equal(keys[1:], keys[:-1], out=is_new[1:])
        keys = keys[is_new]
        members = (keys & self._key((1 << bits) - 1)).astype(np.uint32)
        self._take(groups, np.bincount((keys >> bits).astype(np.int64), minlength=len(groups)), members)

    def _check(self, coming: int) -> None:
        if self._used + coming > self._limit:
            raise UserError(
                f"the lists of all functions have more than {self._limit:,} entries",
                hint="ask for single functions instead of --all",
            )

    def _take(self, groups: Ints, sizes: Longs, members: _Members) -> None:
        """Keep the closures of `groups`, which have `sizes` and lie one after another in `members`."""
        self.size[groups] = sizes
        self.begin[groups] = self._used + np.cumsum(sizes) - sizes
        end = self._used + len(members)
        if end > len(self._members):
            grown = np.empty(max(end, 2 * len(self._members)), dtype=np.uint32)
            grown[: self._used] = self._members[: self._used]
            self._members = grown
        self._members[self._used : end] = members
        self._used = end

    def members(self) -> Ints:
        """The pool itself: the closure of a group is `size` long from `begin` on."""
        return self._members[: self._used].view(np.int32)


def _ranges(begins: Longs, ends: Longs) -> tuple[Longs, Longs]:
    """All numbers of the ranges one after another, and for each the range that it is from."""
    lengths = ends - begins
    which = np.repeat(np.arange(len(lengths)), lengths)
    first = np.cumsum(lengths) - lengths
    return np.arange(len(which)) + (begins - first)[which], which
