"""Strings, or anything else, numbered by 64-bit hashes, as whole arrays."""

from __future__ import annotations

import numpy as np

from klpkit.records._spans import Hashes, Ids, Offsets

_MINIMUM_BITS = 10


class HashIndex:
    """Numbers hashes in the order in which they are first seen: an open hash table held in two arrays."""

    def __init__(self, expected: int = 0) -> None:
        self.count = 0
        self._resize(expected)

    def _resize(self, expected: int) -> None:
        self._bits = max(_MINIMUM_BITS, (2 * expected).bit_length())
        self._slots = 1 << self._bits
        self._keys = np.zeros(self._slots, dtype=np.uint64)
        self._ids = np.full(self._slots, -1, dtype=np.int32)

    def insert(self, hashes: Hashes) -> tuple[Ids, Offsets]:
        """The number of each hash, and the positions in `hashes` of those that were new, in number order."""
        self._make_room(len(hashes))
        slots = self._claim(hashes)
        ids = self._ids[slots]
        unseen = np.flatnonzero(ids < 0)
        if len(unseen):
            fresh_slots = slots[unseen]
            places = -2 - np.arange(len(unseen), dtype=np.int32)
            # Written back to front, so that each slot ends up with the first position that wants it.
            self._ids[fresh_slots[::-1]] = places[::-1]
            fresh = np.flatnonzero(self._ids[fresh_slots] == places)
            self._ids[fresh_slots[fresh]] = np.arange(self.count, self.count + len(fresh), dtype=np.int32)
            self.count += len(fresh)
            ids[unseen] = self._ids[fresh_slots]
            unseen = unseen[fresh]
        return ids, unseen

    def _first_slots(self, hashes: Hashes) -> Offsets:
        return (hashes >> np.uint64(64 - self._bits)).astype(np.int64)

    def _claim(self, hashes: Hashes) -> Offsets:
        """The slot of each hash; linear probing, the winners of a contested free slot keep it."""
        result = slots = self._first_slots(hashes)
        pending: Offsets | None = None
        wanted = hashes
        while len(slots):
            keys = self._keys[slots]
            free = np.flatnonzero(keys == 0)
            if len(free):
                self._keys[slots[free]] = wanted[free]
                keys[free] = self._keys[slots[free]]
            lost = np.flatnonzero(keys != wanted)
            pending = lost if pending is None else pending[lost]
            slots = (slots[lost] + 1) & (self._slots - 1)
            wanted = wanted[lost]
            result[pending] = slots
        return result

    def _make_room(self, coming: int) -> None:
        if 2 * (self.count + coming) <= self._slots:
            return
        used = self._ids >= 0
        keys, ids = self._keys[used], self._ids[used]
        self._resize(self.count + coming)
        self._ids[self._claim(keys)] = ids
