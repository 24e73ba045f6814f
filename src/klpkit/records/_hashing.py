"""Spans of bytes told apart by 64-bit hashes, and numbered, as whole arrays.

A kernel's dumps hold millions of function records.  Making a Python object of each costs more than the whole
budget, so a record is a (start, end) pair of offsets, its hash is mixed from eight bytes at a time, and equal
hashes are equal records: with 10^6 records in one numbering the odds of one wrong pair are below 1 in 10^5.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Offsets = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Ids = npt.NDArray[np.int32]

WORD = 8
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_HALF_SHIFT = np.uint64(16)
_CHUNK = 1 << 12
_LAST_SHIFT = np.uint64(29)
_ONE = np.uint64(1)
_NEAR_MAX = np.uint64(2**32 - 1)
_MINIMUM_SLOTS = 1 << 10


def words_at(data: Bytes) -> Hashes:
    """`data` as one little-endian 64-bit word for every byte offset; the last 7 offsets have none."""
    return np.ndarray(shape=(len(data) - WORD + 1,), dtype="<u8", buffer=data.data, strides=(1,))


def hash_spans(data: Bytes, starts: Offsets, ends: Offsets, seeds: Hashes, *, block: int = 64) -> Hashes:
    """The hash of each span of `data`; equal bytes under equal seeds have equal hashes, never 0.

    `block` bytes are fetched at a time: a multiple of eight, at best a little more than the usual length.
    At least that many bytes must follow every span's start in `data`, inside the span or behind it.
    """
    hashes = np.empty(len(starts), dtype=np.uint64)
    for begin in range(0, len(starts), _CHUNK):
        chunk = slice(begin, begin + _CHUNK)
        hashes[chunk] = _hash_chunk(data, starts[chunk], ends[chunk] - starts[chunk], seeds[chunk], block)
    return hashes


def _hash_chunk(data: Bytes, starts: Offsets, lengths: Offsets, seeds: Hashes, block: int) -> Hashes:
    blocks: npt.NDArray[np.void] = np.ndarray(
        shape=(len(data) - block + 1,), dtype=f"V{block}", buffer=data.data, strides=(1,)
    )
    hashes = seeds ^ (lengths.astype(np.uint64) << _SHIFT)
    hashes *= _MULTIPLIER
    hashes += _digests(blocks[starts], lengths, block)
    longer = np.flatnonzero(lengths > block)
    done = block
    while len(longer):
        rest = lengths[longer] - done
        hashes[longer] = hashes[longer] * _MULTIPLIER + _digests(blocks[starts[longer] + done], rest, block)
        longer = longer[rest > block]
        done += block
    _stir(hashes)
    return np.maximum(hashes, _ONE)


def _digests(blocks: npt.NDArray[np.void], lengths: Offsets, block: int) -> Hashes:
    """A number for the first `lengths` bytes of each block: its words times odd numbers, added up.

    A product knows nothing of a factor's lower bits, so each word's high bits are first folded onto its low
    ones: words that differ in their last letters only must not be alike.
    """
    masks, factors = _masks(block), _factors(block)
    words = blocks.view("<u8")
    spare = masks.view(f"V{block}")[:, 0][np.minimum(lengths, block)].view("<u8")
    words &= spare
    for shift in (_SHIFT, _HALF_SHIFT):
        np.right_shift(words, shift, out=spare)
        words ^= spare
    digests: Hashes = words.reshape(-1, block // WORD) @ factors
    return digests


@cache
def _masks(block: int) -> Hashes:
    """Row n keeps the first n bytes of a block."""
    keep = np.arange(block) < np.arange(block + 1)[:, None]
    return np.ascontiguousarray(np.where(keep, 0xFF, 0).astype(np.uint8)).view("<u8")


@cache
def _factors(block: int) -> Hashes:
    """An odd number without a pattern for each word of a block."""
    numbers = np.arange(1, block // WORD + 1, dtype=np.uint64)
    for _ in range(3):
        numbers *= _MULTIPLIER
        numbers ^= numbers >> _LAST_SHIFT
    return numbers | _ONE


def _stir(hashes: Hashes) -> None:
    """Let every bit of each hash have a part in its high and low ones, in place."""
    hashes ^= hashes >> _LAST_SHIFT
    hashes *= _MULTIPLIER
    hashes ^= hashes >> _SHIFT


def _mix(hashes: Hashes, words: Hashes) -> None:
    """Fold one word into each hash, in place; the shift spreads a difference in high bits to low ones."""
    hashes ^= words
    hashes *= _MULTIPLIER
    hashes ^= hashes >> _SHIFT


def mix_numbers(*columns: npt.NDArray[np.integer]) -> Hashes:
    """One hash for each row of whole-number columns."""
    hashes = np.full(len(columns[0]), 1, dtype=np.uint64)
    for column in columns:
        _mix(hashes, column.astype(np.uint64))
    return np.maximum(hashes, np.uint64(1))


class HashIndex:
    """Numbers hashes in the order in which they are first seen: an open hash table held in two arrays.

    Hashes come with a place between 0 and 1 (`near`), in 2^32nds, where the search for them begins.  Hashes
    that can only be equal when they come from the same part of the input, the same dump say, and lie close
    together there keep the part of the table that is in use small, which is several times as fast.
    """

    def __init__(self, expected: int = 0) -> None:
        self.count = 0
        self._resize(expected)

    def _resize(self, expected: int) -> None:
        self._slots = max(_MINIMUM_SLOTS, 1 << (2 * expected).bit_length())
        self._keys = np.zeros(self._slots, dtype=np.uint64)
        self._ids = np.full(self._slots, -1, dtype=np.int32)

    def insert(self, hashes: Hashes, near: Hashes | None = None) -> tuple[Ids, Offsets]:
        """The number of each hash, and the positions in `hashes` of those that were new, in number order.

        A table that was made too small for `near` grows only when that is not given.
        """
        if near is None:
            self._make_room(len(hashes))
        slots = self._claim(hashes, near)
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

    def find(self, hashes: Hashes, near: Hashes | None = None) -> Ids:
        """The number of each hash, -1 for one that was never inserted."""
        found = np.full(len(hashes), -1, dtype=np.int32)
        pending = np.arange(len(hashes))
        slots = self._first_slots(hashes, near)
        while len(pending):
            keys = self._keys[slots]
            hit = keys == hashes[pending]
            found[pending[hit]] = self._ids[slots[hit]]
            onward = ~hit & (keys != 0)
            pending = pending[onward]
            slots = (slots[onward] + 1) & (self._slots - 1)
        return found

    def _first_slots(self, hashes: Hashes, near: Hashes | None) -> Offsets:
        scaled = (hashes >> _SHIFT) if near is None else near
        return ((scaled * np.uint64(self._slots)) >> _SHIFT).astype(np.int64)

    def _claim(self, hashes: Hashes, near: Hashes | None = None) -> Offsets:
        """The slot of each hash; linear probing, the winners of a contested free slot keep it."""
        result = slots = self._first_slots(hashes, near)
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


class Shares:
    """Where hashes of many groups begin in a `HashIndex`: each group has a share of the table of its size.

    `groups` has the group of each hash that will be inserted, ascending from 0 or more.
    """

    def __init__(self, groups: Ids) -> None:
        ends = np.searchsorted(groups, np.arange(int(groups.max(initial=-1)) + 2))
        scale = 2.0**32 / max(len(groups), 1)
        self._starts = np.minimum(ends * scale, 2.0**32 - 1).astype(np.uint64)
        self._widths = (np.diff(ends, append=len(groups)) * scale).astype(np.uint64)

    def near(self, groups: Ids, hashes: Hashes) -> Hashes:
        """The places of hashes of `groups`; within its share, a place is as random as the hash."""
        groups = np.minimum(groups, len(self._starts) - 1)
        inside = (self._widths[groups] * (hashes >> _SHIFT)) >> _SHIFT
        places: Hashes = np.minimum(self._starts[groups] + inside, _NEAR_MAX)
        return places
