"""Which function records of clone dumps name one call graph node, and which nodes are one function."""

from __future__ import annotations

import numpy as np

from klpkit.records._clonebatch import Batch
from klpkit.records._clonefields import Records
from klpkit.records._spans import Ids, Offsets, same_spans

# Places in the table of `Numbering`; where it would be larger, numbers are sorted.
_PLACES_MAX = 1 << 24


class Numbering:
    """Numbers the functions of a batch in the order in which its records first name them.

    GCC gives every node of a dump a number of its own (`order`), so a function's first record is looked up in a
    table with a place for each number of each dump, and every other record is compared with it.  Where records
    with one number differ all the same, a function is what has one text.
    """

    def __init__(self) -> None:
        self._table = np.empty(0, dtype=np.int32)

    def number(self, batch: Batch, records: Records) -> tuple[Ids, Offsets]:
        """The number of each record's function, and the position of each function's first record."""
        first = self._first_with_order(records)
        positions = np.arange(len(first), dtype=np.int32)
        is_first = first == positions
        strangers = _not_repetitions(batch, records, np.flatnonzero(~is_first), first)
        if len(strangers):
            _tell_apart(batch, records, strangers, first)
            is_first = first == positions
        numbers = np.cumsum(is_first, dtype=np.int32) - np.int32(1)
        return numbers[first], np.flatnonzero(is_first)

    def _first_with_order(self, records: Records) -> Ids:
        """The position of the first record with the same dump and order, of each record."""
        width = int(records.order.max(initial=0)) + 1
        keys = records.dump * np.int64(width) + records.order
        needed = width * (int(records.dump.max(initial=0)) + 1)
        if needed > _PLACES_MAX:
            _, places, which = np.unique(keys, return_index=True, return_inverse=True)
            sorted_first: Ids = places.astype(np.int32)[which]
            return sorted_first
        if needed > len(self._table):
            # What is in it does not matter: only places that were just written to are read.
            self._table = np.empty(needed, dtype=np.int32)
        # Written back to front, so that each place ends up with the first position that wants it.
        self._table[keys[::-1]] = np.arange(len(keys) - 1, -1, -1, dtype=np.int32)
        first: Ids = self._table[keys]
        return first


def _not_repetitions(batch: Batch, records: Records, again: Offsets, first: Ids) -> Offsets:
    """Those of the records in `again` that lack the text of the record that is `first` for them."""
    earlier = first[again]
    start, first_start = records.start[again], records.start[earlier]
    lengths = records.end[again] - start
    same = lengths == records.end[earlier] - first_start
    if np.all(same):
        same = same_spans(batch.data, start, first_start, lengths)
    else:
        alike = np.flatnonzero(same)
        same[alike] = same_spans(batch.data, start[alike], first_start[alike], lengths[alike])
    rest: Offsets = again[~same]
    return rest


def _tell_apart(batch: Batch, records: Records, strangers: Offsets, first: Ids) -> None:
    """Set `first` by text for all records that share a number with one of `strangers`, which is not equal."""
    disputed = np.zeros(len(first), dtype=np.bool_)
    disputed[first[strangers]] = True
    rows = np.flatnonzero(disputed[first]).tolist()
    known: dict[tuple[int, bytes], int] = {}
    for row in rows:
        text = batch.data[records.start[row] : records.end[row]].tobytes()
        first[row] = known.setdefault((int(records.dump[row]), text), row)


def first_of_each(ones: Ids, others: Ids) -> Ids:
    """The first row that has the same two numbers, of each row; no number is negative."""
    rows = len(ones)
    keys = ones * (np.int64(others.max(initial=0)) + 1) + others
    bits = rows.bit_length()
    if int(keys.max(initial=0)).bit_length() + bits > 62:
        _, first, which = np.unique(keys, return_index=True, return_inverse=True)
        leader: Ids = first.astype(np.int32)[which]
        return leader
    # One number a row, which ends with the row: much sooner sorted than rows are by keys.
    keys <<= bits
    keys |= np.arange(rows)
    keys.sort()
    row = (keys & ((1 << bits) - 1)).astype(np.int32)
    keys >>= bits
    is_new = np.concatenate((keys[:1] >= 0, keys[1:] != keys[:-1]))
    leader = np.empty(rows, dtype=np.int32)
    leader[row] = row[is_new][np.cumsum(is_new) - 1]
    return leader
