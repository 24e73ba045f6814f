"""A batch of clone dumps taken apart: lines, and the function records in them.

Every separator is found in one pass; a line is a row of separator positions, a record a span of bytes.  What
does not look like a record raises `BadDumpsError`, which only names the dumps: the line reader says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from klpkit.records._clonebatch import NEWLINE, BadDumpsError, Batch
from klpkit.records._spans import MARGIN, Bytes, Flags, Ids, Offsets, decimals, word_of, words_at

_SEMICOLON, _STAR = 59, 42
_SPACE = 32
_CALLGRAP, _CLONE, _REMOVA, _REMOVAL_END = map(word_of, (b"Callgrap", b"h clone;", b"h remova", b"l;"))
_OPTIMIZA, _TION = map(word_of, (b"optimiza", b"tion:"))
_TWO_BYTES, _FIVE_BYTES = np.uint64(0xFFFF), np.uint64(0xFF_FFFF_FFFF)


@dataclass(slots=True)
class Lines:
    """The records of a batch.  `marks` are the offsets of all separators; the others have one row a record.

    `source` and `target` number the separator before a function record, `end` the one at the end of the line.
    """

    marks: Offsets
    clone_dump: Ids
    source: Offsets
    target: Offsets
    end: Offsets
    removal_dump: Ids
    removal: Offsets


def split_lines(batch: Batch) -> Lines:
    """The records of a batch by their shape; `BadDumpsError` where a line has none of the known ones."""
    data = batch.data
    marks, last = _separators(batch)
    first = np.zeros_like(last)
    first[1:] = last[:-1] + 1
    begin = np.full_like(last, MARGIN)
    begin[1:] = marks[last[:-1]] + 1
    count = last - first
    per_dump = np.diff(np.searchsorted(begin, batch.starts))
    dump = np.repeat(np.arange(len(per_dump), dtype=np.int32), per_dump)

    words = words_at(data, begin, 3)
    ours = words[:, 0] == _CALLGRAP
    clone = ours & (words[:, 1] == _CLONE)
    removal = ours & (words[:, 1] == _REMOVA) & (words[:, 2] & _TWO_BYTES == _REMOVAL_END) & (count == 5)
    good = (clone & (count == 11)) | removal
    older = np.flatnonzero(clone & (count == 13))
    older = older[_is_older(data, marks, first[older])]
    good[older] = True
    if batch.broken or not np.all(good):
        raise BadDumpsError(np.concatenate((dump[~good], list(batch.broken))))

    target = first + 5
    target[older] += 1
    clones, removals = np.flatnonzero(~removal), np.flatnonzero(removal)
    return Lines(
        marks=marks,
        clone_dump=dump[clones],
        source=first[clones],
        target=target[clones],
        end=last[clones],
        removal_dump=dump[removals],
        removal=first[removals],
    )


def _separators(batch: Batch) -> tuple[Offsets, Offsets]:
    """The offsets of semicolons and line feeds, and which of them are line feeds; no other controls are good."""
    data = batch.data[: batch.starts[-1]]
    control = data < _SPACE
    control |= data == _SEMICOLON
    control[:MARGIN] = False
    marks = np.flatnonzero(control)
    found = data[marks]
    last = np.flatnonzero(found < _SPACE)
    ends = found[last]
    if not np.all(ends == NEWLINE):
        offsets = marks[last[ends != NEWLINE]]
        raise BadDumpsError(np.searchsorted(batch.starts, offsets, side="right") - 1)
    return marks, last


def _is_older(data: Bytes, marks: Offsets, first: Offsets) -> Flags:
    """Whether lines of 14 fields have the marks of the older spelling in their places."""
    arrow, label = marks[first + 5] + 1, marks[first + 11] + 1
    is_arrow = (marks[first + 6] - arrow == 2) & (words_at(data, arrow, 1)[:, 0] & _TWO_BYTES == word_of(b"<-"))
    words = words_at(data, label, 2)
    is_label = (words[:, 0] == _OPTIMIZA) & (words[:, 1] & _FIVE_BYTES == _TION)
    flags: Flags = is_arrow & is_label & (marks[first + 12] - label == 13)
    return flags


@dataclass(slots=True)
class Records:
    """Function records by where they stand: the dump, the mark before the name, first and last byte."""

    dump: Ids
    before: Offsets
    start: Offsets
    end: Offsets
    order: Ids

    def pick(self, rows: npt.NDArray[np.integer] | Flags) -> Records:
        return Records(self.dump[rows], self.before[rows], self.start[rows], self.end[rows], self.order[rows])


def all_records(batch: Batch, lines: Lines) -> Records:
    """Every function record of a batch: of each clone line the body and the user, then the removed nodes."""
    marks = lines.marks
    clones = len(lines.clone_dump)
    before = np.empty(2 * clones + len(lines.removal), dtype=np.int64)
    before[0 : 2 * clones : 2], before[1 : 2 * clones : 2] = lines.source, lines.target
    before[2 * clones :] = lines.removal
    dump = np.concatenate((np.repeat(lines.clone_dump, 2), lines.removal_dump))
    start = marks[before] + 1
    # An assembler name that the source gave literally is marked so; object files know it without.
    start += batch.data[start] == _STAR
    order, good = decimals(batch.data, marks[before + 1] + 1, marks[before + 2])
    if not np.all(good):
        raise BadDumpsError(dump[~good])
    return Records(dump, before, start, marks[before + 5], order)


def decoded_places(batch: Batch, marks: Offsets, records: Records) -> list[Ids]:
    """Line and column of each record; `BadDumpsError` where one of them is bad or the name is empty."""
    good = marks[records.before + 1] > records.start
    middle = marks[records.before + 4]
    numbers = []
    for start, end in ((marks[records.before + 3], middle), (middle, records.end)):
        values, fine = decimals(batch.data, start + 1, end)
        numbers.append(values)
        good &= fine
    if not np.all(good):
        raise BadDumpsError(records.dump[~good])
    return numbers
