"""A batch of clone dumps taken apart: lines, the function records in them, and the numbers in those.

Every separator is found in one pass; a line is a row of separator positions, a record a span of bytes.  What
does not look like a record raises `BadDumpsError`, which only names the dumps: the line reader says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from klpkit.records._clonebatch import MARGIN, NEWLINE, BadDumpsError, Batch
from klpkit.records._hashing import Hashes, HashIndex, Ids, Offsets, hash_spans, words_at
from klpkit.records.clonelines import NUMBER_MAX
from klpkit.records.model import Flags

_SEMICOLON, _STAR, _ZERO = 59, 42, 48
_SPACE = 32


def word_of(text: bytes) -> np.uint64:
    """Eight or fewer bytes as the number that `words_at` has for them."""
    return np.uint64(int.from_bytes(text, "little"))


_CALLGRAP, _CLONE, _REMOVAL_1, _REMOVAL_2 = map(word_of, (b"Callgrap", b"h clone;", b"h remova", b"removal;"))
_OPTIMIZA, _IZATION = map(word_of, (b"optimiza", b"ization:"))


@dataclass(slots=True)
class Lines:
    """The records of a batch.  `marks` are the offsets of all separators; the others have one row a record.

    `source` and `target` number the separator before a function record, `cause` the one before the last word.
    """

    marks: Offsets
    clone_dump: Ids
    source: Offsets
    target: Offsets
    cause: Offsets
    cause_end: Offsets
    removal_dump: Ids
    removal: Offsets


def split_lines(batch: Batch) -> Lines:
    """The records of a batch by their shape; `BadDumpsError` where a line has none of the known ones."""
    data = batch.data[: batch.starts[-1]]
    control = data < _SPACE
    control[:MARGIN] = False
    marks = np.flatnonzero(control | (data == _SEMICOLON))
    last = np.flatnonzero(data[marks] < _SPACE)
    if not np.all(data[marks[last]] == NEWLINE):
        offsets = marks[last][data[marks[last]] != NEWLINE]
        raise BadDumpsError(np.searchsorted(batch.starts, offsets, side="right") - 1)
    first = np.concatenate(([0], last[:-1] + 1)) if len(last) else last
    begin = np.concatenate(([MARGIN], marks[last[:-1]] + 1)) if len(last) else last
    per_dump = np.diff(np.searchsorted(begin, batch.starts))
    dump = np.repeat(np.arange(len(per_dump), dtype=np.int32), per_dump)
    count = last - first

    words = words_at(batch.data)
    second = words[begin + 8]
    ours = words[begin] == _CALLGRAP
    clone = ours & (second == _CLONE)
    plain = clone & (count == 11)
    older = np.flatnonzero(clone & (count == 13))
    older = older[_is_older(words, marks, first[older])]
    removal = ours & (second == _REMOVAL_1) & (words[begin + 10] == _REMOVAL_2) & (count == 5)
    good = plain | removal
    good[older] = True
    if batch.broken or not np.all(good):
        raise BadDumpsError(np.concatenate((dump[~good], list(batch.broken))))

    is_clone = ~removal
    gap = np.zeros(len(first), dtype=np.int64)
    gap[older] = 1
    gap = gap[is_clone]
    source = first[is_clone]
    cause = last[is_clone] - 1
    return Lines(
        marks=marks,
        clone_dump=dump[is_clone],
        source=source,
        target=source + 5 + gap,
        cause=cause,
        cause_end=marks[cause + 1],
        removal_dump=dump[removal],
        removal=first[removal],
    )


def _is_older(words: Hashes, marks: Offsets, first: Offsets) -> Flags:
    """Whether lines of 14 fields have the marks of the older spelling in their places."""
    arrow, label = marks[first + 5] + 1, marks[first + 11] + 1
    is_arrow = (marks[first + 6] - arrow == 2) & ((words[arrow] & np.uint64(0xFFFF)) == word_of(b"<-"))
    is_label = (marks[first + 12] - label == 13) & (words[label] == _OPTIMIZA)
    flags: Flags = is_arrow & is_label & (words[label + 5] == _IZATION)
    return flags


# For a number of n bytes, n from 0 to 8: which of the 8 bytes that end with it are its own, and zeros for others.
_KEEP = np.array([(2**64 - 1) ^ ((1 << 8 * (8 - n)) - 1) for n in range(9)], dtype=np.uint64)
_FILL = np.array([0x3030303030303030 & ((1 << 8 * (8 - n)) - 1) for n in range(9)], dtype=np.uint64)
# Eight digits at once: neighbours are joined to two-digit, then four-digit, then eight-digit numbers.
_JOINS = ((10, 8, 0x00FF00FF00FF00FF), (100, 16, 0x0000FFFF0000FFFF), (10000, 32, 0x00000000FFFFFFFF))
_HIGH_HALVES = np.uint64(0xF0F0F0F0F0F0F0F0)
_DIGITS = np.uint64(0x3030303030303030)
_SIXES = np.uint64(0x0606060606060606)


def _numbers(batch: Batch, words: Hashes, starts: Offsets, ends: Offsets) -> tuple[Ids, Flags]:
    """The decimal numbers in the spans, and which of them are C ints as `%d` writes them."""
    lengths = ends - starts
    sizes = np.minimum(lengths, 8)
    text = (words[ends - 8] & _KEEP[sizes]) | _FILL[sizes]
    good = ((text & _HIGH_HALVES) == _DIGITS) & (((text + _SIXES) & _HIGH_HALVES) == _DIGITS)
    good &= (lengths > 0) & ((batch.data[starts] != _ZERO) | (lengths == 1))
    values = text ^ _DIGITS
    for factor, shift, mask in _JOINS:
        values = (values * np.uint64(factor) + (values >> np.uint64(shift))) & np.uint64(mask)
    for index in np.flatnonzero(lengths > 8).tolist():
        digits = batch.data[starts[index] : ends[index]].tobytes()
        number = int(digits) if len(digits) <= 10 and digits.isdigit() else NUMBER_MAX + 1
        good[index] &= number <= NUMBER_MAX
        values[index] = number & NUMBER_MAX
    return values.astype(np.int32), good


@dataclass(slots=True)
class Records:
    """Function records by where they stand: the dump, the mark before the name, and the name's first byte."""

    dump: Ids
    before: Offsets
    start: Offsets
    order: Ids
    hashes: Hashes

    def pick(self, rows: npt.NDArray[np.integer] | Flags) -> Records:
        return Records(self.dump[rows], self.before[rows], self.start[rows], self.order[rows], self.hashes[rows])


def all_records(batch: Batch, lines: Lines) -> Records:
    """Every function record of a batch: of each clone line the body and the user, then the removed nodes.

    The hashes differ between dumps.
    """
    clones = len(lines.clone_dump)
    before = np.empty(2 * clones + len(lines.removal), dtype=np.int64)
    before[0 : 2 * clones : 2], before[1 : 2 * clones : 2] = lines.source, lines.target
    before[2 * clones :] = lines.removal
    dump = np.concatenate((np.repeat(lines.clone_dump, 2), lines.removal_dump))
    marks = lines.marks
    start = marks[before] + 1
    # An assembler name that the source gave literally is marked so; object files know it without.
    start += batch.data[start] == _STAR
    end = marks[before + 5]
    short = end - start < 8
    if np.any(short):
        raise BadDumpsError(dump[short])
    order, good = _numbers(batch, words_at(batch.data), marks[before + 1] + 1, marks[before + 2])
    if not np.all(good):
        raise BadDumpsError(dump[~good])
    seeds = (dump.astype(np.uint64) + np.uint64(1)) << np.uint64(40)
    return Records(dump, before, start, order, hash_spans(batch.data, start, end, seeds, block=64))


def decoded_places(batch: Batch, marks: Offsets, records: Records) -> list[Ids]:
    """Line and column of each record; `BadDumpsError` where one of them is bad or the name is empty."""
    words = words_at(batch.data)
    good = marks[records.before + 1] > records.start
    numbers = []
    for field in (3, 4):
        at = records.before + field
        values, fine = _numbers(batch, words, marks[at] + 1, marks[at + 1])
        numbers.append(values)
        good &= fine
    if not np.all(good):
        raise BadDumpsError(records.dump[~good])
    return numbers


# Places in the table of `Numbering`; above that, hashes are numbered.
_PLACES_MAX = 1 << 24


class Numbering:
    """Numbers the functions of a batch in the order in which its records first name them.

    GCC gives every node of a dump a number of its own (`order`), so a function's first record is looked up in a
    table with a place for each number of each dump.  Where records with one number differ all the same, or the
    numbers are too high for a table, equal hashes are one function.
    """

    def __init__(self) -> None:
        self._table = np.empty(0, dtype=np.int32)

    def rows(self, records: Records) -> tuple[Ids, Offsets]:
        """The number of each record's function, and the position of each function's first record."""
        first = self._first(records)
        if first is None or not np.array_equal(records.hashes[first], records.hashes):
            return HashIndex(len(records.hashes)).insert(records.hashes)
        is_first = first == np.arange(len(first), dtype=np.int32)
        numbers = np.cumsum(is_first, dtype=np.int32) - np.int32(1)
        return numbers[first], np.flatnonzero(is_first)

    def _first(self, records: Records) -> Ids | None:
        """The position of the first record with the same dump and order."""
        width = int(records.order.max(initial=0)) + 1
        needed = width * (int(records.dump.max(initial=0)) + 1)
        if needed > _PLACES_MAX:
            return None
        if needed > len(self._table):
            # What is in it does not matter: only places that were just written to are read.
            self._table = np.empty(needed, dtype=np.int32)
        places = records.dump * np.int32(width) + records.order
        positions = np.arange(len(places), dtype=np.int32)
        # Written back to front, so that each place ends up with the first position that wants it.
        self._table[places[::-1]] = positions[::-1]
        first: Ids = self._table[places]
        return first
