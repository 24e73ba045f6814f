"""Thousands of clone dumps at once: the reading of `clonelines` done on whole arrays.

Dumps are read in batches (`_clonebatch`) and split into function records (`_clonefields`); only a function's
first record is taken apart.  A dump in which anything looks wrong goes through `clonelines`, which raises the
error or, if lenient, says which lines to keep: there is one judge of what a good line is.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from klpkit.records._clonebatch import BadDumpsError, Batch, batches
from klpkit.records._clonefields import Lines, Records, all_records, decoded_places, split_lines
from klpkit.records._clonenodes import Numbering, first_of_each
from klpkit.records._hashing import HashIndex
from klpkit.records._pool import Pool
from klpkit.records._spans import MARGIN, Flags, Ids, Offsets, hash_spans, word_of, words_at
from klpkit.records.causes import cause_code
from klpkit.records.clonelines import cause_of, is_lto_dump, parse_dump, unknown_word_warning
from klpkit.records.model import Codes, EffectTable

_INLININ, _G_TO = map(word_of, (b";inlinin", b"g to"))
_FOUR_BYTES = np.uint64(0xFFFFFFFF)


def read_dumps(paths: Sequence[str], *, lenient: bool = False) -> EffectTable:
    """One table of all the dumps at `paths`, as `clones.read_clone_dumps` describes it."""
    table = _Accumulator(paths, lenient=lenient)
    for batch in batches(paths):
        table.take(batch)
    return table.finish()


@dataclass(slots=True)
class _Fields:
    """The contents of function records, one row a record; names are indices into the pool."""

    symbol: Ids
    order: Ids
    file: Ids
    line: Ids
    column: Ids


class _Columns:
    """Columns that grow by whole arrays."""

    def __init__(self, *dtypes: type[np.generic]) -> None:
        self._dtypes = dtypes
        self._parts: list[list[npt.NDArray[Any]]] = [[] for _ in dtypes]

    def extend(self, *columns: npt.NDArray[Any]) -> None:
        for parts, column, dtype in zip(self._parts, columns, self._dtypes, strict=True):
            parts.append(column.astype(dtype))

    def joined(self) -> Iterator[npt.NDArray[Any]]:
        """Each column; its parts are let go as it is made."""
        for parts, dtype in zip(self._parts, self._dtypes, strict=True):
            yield np.concatenate([*parts, np.zeros(0, dtype=dtype)])
            parts.clear()


class _Accumulator:
    """Grows an effect table batch by batch."""

    def __init__(self, paths: Sequence[str], *, lenient: bool) -> None:
        self._paths = paths
        self._lenient = lenient
        self._pool = Pool()
        self._units = self._pool.intern_all([os.fsencode(path) for path in paths])
        self._linked = np.array([is_lto_dump(path) for path in paths], dtype=np.bool_)
        # unit, symbol, order, file, line, column, removed
        self._functions = _Columns(*[np.int32] * 6, np.bool_)
        # body, user, cause
        self._effects = _Columns(np.int32, np.int32, np.uint8)
        self._rows = 0
        self._numbering = Numbering()
        self._unknown: Counter[str] = Counter()
        self._warnings: list[str] = []

    def take(self, batch: Batch) -> None:
        """Add a batch; dumps in which something looks wrong are first mended by the line reader."""
        mended: set[int] = set()
        while True:
            try:
                self._take(batch)
            except BadDumpsError as bad:
                todo = set(bad.positions) - mended
                if not todo:
                    raise RuntimeError(f"the two clone dump readers disagree: {self._path(batch, bad)}") from bad
                batch = self._mended(batch, todo)
                mended |= todo
            else:
                return

    def _path(self, batch: Batch, bad: BadDumpsError) -> str:
        return self._paths[batch.first_unit + bad.positions[0]]

    def _mended(self, batch: Batch, positions: set[int]) -> Batch:
        """`batch` with only the good lines of the dumps at `positions`; FormatError unless lenient."""
        bounds = zip(batch.starts.tolist(), batch.starts[1:].tolist(), strict=False)
        parts = [batch.data[start:stop].tobytes() for start, stop in bounds]
        for position in sorted(positions):
            path = self._paths[batch.first_unit + position]
            data = parts[position][:-1] if position in batch.broken else parts[position]
            kept: list[bytes] = []
            self._warnings += parse_dump(data, path, lenient=self._lenient, kept=kept).warnings
            parts[position] = b"".join(line + b"\n" for line in kept)
        starts = MARGIN + np.cumsum([0] + [len(part) for part in parts], dtype=np.int64)
        data = b"\0" * MARGIN + b"".join(parts) + b"\0" * MARGIN
        return Batch(batch.first_unit, np.frombuffer(data, dtype=np.uint8), starts, batch.broken - positions)

    def _take(self, batch: Batch) -> None:
        lines = split_lines(batch)
        records = all_records(batch, lines)
        mentions = 2 * len(lines.clone_dump)
        rows, fresh = self._numbering.number(batch, records)
        # Numbers are given in order, so functions of clone records come before those that are only removed.
        named = int(np.searchsorted(fresh, mentions))
        functions = records.pick(fresh)
        fields = self._fields(batch, lines.marks, functions)
        same_symbol = first_of_each(functions.dump, fields.symbol)
        leader = self._leaders(batch, functions.dump, fields, same_symbol)
        body, user = rows[0:mentions:2], rows[1:mentions:2]
        causes, unknown = self._causes(batch, lines, same_symbol[body] == same_symbol[user])

        removed = np.zeros(len(fresh), dtype=np.bool_)
        removed[rows[mentions:]] = True
        # Other nodes of a symbol that clone records name are inlined copies, which GCC numbers and drops without
        # such a record; they say nothing about the function that carries the symbol.
        kept = same_symbol >= named
        kept[:named] = True
        twins = np.flatnonzero(leader[:named] != np.arange(named, dtype=np.int32))
        self._add_effects(body, user, causes, (leader[twins], twins.astype(np.int32)))
        self._add_functions(batch, functions.dump, fields, removed, kept)
        self._unknown.update(unknown)

    def _fields(self, batch: Batch, marks: Offsets, functions: Records) -> _Fields:
        """The first records of functions taken apart and checked."""
        line, column = decoded_places(batch, marks, functions)
        at = functions.before
        symbol = self._pool.intern(batch.data, functions.start, marks[at + 1])
        file = self._pool.intern_few(batch.data, marks[at + 2] + 1, marks[at + 3])
        return _Fields(symbol, functions.order, file, line, column)

    def _causes(self, batch: Batch, lines: Lines, equal: Flags) -> tuple[Codes, Counter[str]]:
        """The cause of each clone record, and how often each word appears that is not known."""
        end = lines.marks[lines.end]
        words = words_at(batch.data, end - len(b";inlining to"), 2)
        others = np.flatnonzero((words[:, 0] != _INLININ) | (words[:, 1] & _FOUR_BYTES != _G_TO))
        causes = np.full(len(end), cause_code("inline"), dtype=np.uint8)
        start, end = lines.marks[lines.end[others] - 1] + 1, end[others]
        ids, fresh = HashIndex().insert(hash_spans(batch.data, start, end - start))
        unknown: Counter[str] = Counter()
        for word_id, first in enumerate(fresh.tolist()):
            which = others[ids == word_id]
            word = batch.data[start[first] : end[first]].tobytes().decode(errors="surrogateescape")
            if not word:
                raise BadDumpsError(lines.clone_dump[which])
            # Whether the symbols are equal is all that matters about them.
            between = cause_code(cause_of(word, "a", "b")[0])
            within, known = cause_of(word, "a", "a")
            causes[which] = np.where(equal[which], cause_code(within), between)
            if not known:
                unknown[word] += len(which)
        return causes, unknown

    def _leaders(self, batch: Batch, dump: Ids, fields: _Fields, same_symbol: Ids) -> Ids:
        """For each function the first node of it; `same_symbol` has the first with its symbol in the same dump.

        In one unit's dump a symbol is one function, whatever its orders: GCC makes a node of a copy that it
        inlined, and records what was inlined into the function under the first node only.  At link time
        several units' statics share a symbol, so there the place in the source must be the same, too.
        """
        linked = np.flatnonzero(self._linked[batch.first_unit + dump])
        if not len(linked):
            return same_symbol
        leader = same_symbol.copy()
        place = np.stack([column[linked] for column in (fields.file, fields.line, fields.column)], axis=1)
        _, places = np.unique(place, axis=0, return_inverse=True)
        leader[linked] = linked[first_of_each(leader[linked], places.astype(np.int32))]
        return leader

    def _add_effects(self, body: Ids, user: Ids, causes: Codes, twins: tuple[Ids, Ids]) -> None:
        """Add each effect once, ordered by body, user and cause."""
        code = np.uint8(cause_code("same-function"))
        leaders, others = twins
        body = np.concatenate((body, leaders, others))
        user = np.concatenate((user, others, leaders))
        causes = np.concatenate((causes, np.full(len(body) - len(causes), code)))
        # One number an effect: 5 bits are enough for a cause, 29 for a row of a batch.
        keys = (body.astype(np.int64) << 34) | (user.astype(np.int64) << 5) | causes
        keys.sort()
        keys = keys[np.concatenate((keys[:1] >= 0, keys[1:] != keys[:-1]))]
        rows = self._rows
        self._effects.extend((keys >> 34) + rows, ((keys >> 5) & 0x1FFFFFFF) + rows, keys & 31)

    def _add_functions(self, batch: Batch, dump: Ids, fields: _Fields, removed: Flags, kept: Flags) -> None:
        unit = self._units[batch.first_unit + dump]
        columns = (unit, fields.symbol, fields.order, fields.file, fields.line, fields.column, removed)
        chosen = np.flatnonzero(kept)
        self._functions.extend(*(column[chosen] for column in columns))
        self._rows += len(chosen)

    def finish(self) -> EffectTable:
        unit, symbol, order, file, line, column, removed = self._functions.joined()
        body, user, cause = self._effects.joined()
        warnings = self._warnings
        warnings += [unknown_word_warning(word, count) for word, count in sorted(self._unknown.items())]
        return EffectTable(
            strings=self._pool.strings(),
            unit=unit,
            symbol=symbol,
            order=order,
            file=file,
            line=line,
            column=column,
            body=body,
            user=user,
            cause=cause,
            where_file=np.full(len(body), -1, dtype=np.int32),
            where_line=np.zeros(len(body), dtype=np.int32),
            warnings=warnings,
            removed=removed,
        )
