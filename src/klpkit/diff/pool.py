"""Numbers for names and contents, shared by both sides of a diff, so that equal things have equal numbers."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


class Pool:
    """Interns hashable things: the same thing always gets the same number, counted from 0."""

    __slots__ = ("_numbers", "things")

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self.things: list[Hashable] = []

    def __len__(self) -> int:
        return len(self.things)

    def number(self, thing: Hashable) -> int:
        """The number of `thing`, a new one if it was never seen."""
        number = self._numbers.get(thing)
        if number is None:
            number = self._numbers[thing] = len(self.things)
            self.things.append(thing)
        return number

    def numbers(self, things: Iterable[Hashable]) -> Ints:
        """The numbers of all of `things`, in their order."""
        known, add = self._numbers, self.things
        found: list[int] = []
        for thing in things:
            number = known.get(thing)
            if number is None:
                number = known[thing] = len(add)
                add.append(thing)
            found.append(number)
        return np.array(found, dtype=np.int64)


_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFT = np.uint64(31)


def mixed(*columns: npt.NDArray[np.integer] | int) -> Hashes:
    """One well-spread 64-bit number a row from integer columns of equal length (scalars are spread)."""
    out: Hashes = np.asarray([0x243F6A8885A308D3], dtype=np.uint64)
    for index, column in enumerate(columns):
        values: Hashes = np.asarray(column).astype(np.uint64, copy=False)
        out = (out ^ values) * _MULTIPLIERS[index % 3]
        out ^= out >> _SHIFT
        out *= _MULTIPLIERS[(index + 1) % 3]
        out ^= out >> np.uint64(29)
    return out


def summed(values: Hashes, owner: Ints, count: int) -> Hashes:
    """The sum modulo 2**64 of `values` for each owner below `count`; `owner` ascends."""
    total = np.zeros(count, dtype=np.uint64)
    if len(owner):
        first = run_starts(owner)
        total[owner[first]] = np.add.reduceat(values, first)
    return total


def run_starts(values: Ints) -> Ints:
    """Where runs of equal numbers begin."""
    keep = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=keep[1:])
    return keep.nonzero()[0]


def among(values: npt.NDArray[np.integer], wanted: Collection[int]) -> Mask:
    """Which of `values` (none negative) are among a few small numbers."""
    table = np.zeros(max(wanted, default=0) + 2, dtype=bool)
    table[list(wanted)] = True
    found: Mask = table[np.minimum(values, len(table) - 1, dtype=np.int64)]
    return found


def distinct(values: Ints) -> Ints:
    """The different numbers among `values`, ascending."""
    if not len(values):
        return values
    ordered = np.sort(values)
    keep = np.empty(len(ordered), dtype=bool)
    keep[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=keep[1:])
    return ordered[keep]
