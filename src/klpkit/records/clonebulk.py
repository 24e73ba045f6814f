"""Thousands of clone dumps at once: the reading of `clonelines` done on whole arrays.

Dumps are read in batches (`_clonebatch`) and split into function records (`_clonefields`), which are numbered
by their hashes (`_hashing`); only a record's first appearance is taken apart.  A dump in which anything looks
wrong goes through `clonelines`, which raises the error or, if lenient, says which lines to keep: there is one
judge of what a good line is.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from klpkit.records._clonebatch import MARGIN, NEWLINE, BadDumpsError, Batch, batches
from klpkit.records._clonefields import (
    Lines,
    Numbering,
    Records,
    all_records,
    decoded_places,
    split_lines,
    word_of,
)
from klpkit.records._hashing import (
    Bytes,
    Hashes,
    HashIndex,
    Ids,
    Offsets,
    Shares,
    hash_spans,
    mix_numbers,
    words_at,
)
from klpkit.records.causes import cause_code
from klpkit.records.clonelines import cause_of, is_lto_dump, parse_dump, unknown_word_warning
from klpkit.records.model import Codes, EffectTable, Flags, Strings

_INLINING, _INING_TO = map(word_of, (b"inlining", b"ining to"))


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


class _Pool:
    """All strings of a reading, each once; index 0 is the empty one."""

    def __init__(self) -> None:
        self._index = HashIndex(1 << 18)
        self._parts: list[bytes] = []
        self._lengths: list[Offsets] = []
        self.intern_all([b""])

    def intern_all(self, values: Sequence[bytes]) -> Ids:
        """The indices of `values`."""
        raw = b"".join(values) + b"\0" * MARGIN
        ends = np.cumsum([len(value) for value in values], dtype=np.int64)
        starts = ends - np.array([len(value) for value in values], dtype=np.int64)
        return self.intern(np.frombuffer(raw, dtype=np.uint8), starts, ends)

    def intern(self, data: Bytes, starts: Offsets, ends: Offsets, hashes: Hashes | None = None) -> Ids:
        """The indices of the strings in the spans of `data`, whose `_span_hashes` may be known."""
        ids, fresh = self._index.insert(_span_hashes(data, starts, ends) if hashes is None else hashes)
        self._append(data, starts[fresh], ends[fresh] - starts[fresh])
        return ids

    def intern_few(self, data: Bytes, starts: Offsets, ends: Offsets) -> Ids:
        """The same for spans that are nearly all repetitions: sooner, because a small table does most of it."""
        hashes = _span_hashes(data, starts, ends)
        ids, fresh = HashIndex().insert(hashes)
        return self.intern(data, starts[fresh], ends[fresh], hashes[fresh])[ids]

    def _append(self, data: Bytes, starts: Offsets, lengths: Offsets) -> None:
        """Add strings to the pool, each with a line feed behind it."""
        sizes = lengths + 1
        stops = np.cumsum(sizes)
        total = int(stops[-1]) if len(stops) else 0
        text = data[np.arange(total) + np.repeat(starts - (stops - sizes), sizes)]
        text[stops - 1] = NEWLINE
        self._parts.append(text.tobytes())
        self._lengths.append(sizes)

    def strings(self) -> Strings:
        sizes = np.concatenate(self._lengths)
        return Strings.from_bytes(b"\n" + b"".join(self._parts), 1 + np.cumsum(sizes) - sizes)


def _span_hashes(data: Bytes, starts: Offsets, ends: Offsets) -> Hashes:
    """The hashes by which a `_Pool` knows strings."""
    return hash_spans(data, starts, ends, np.zeros(len(starts), dtype=np.uint64), block=32)


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


class _Symbols:
    """The symbols that the clone records of a batch name, told apart by dump; `dump` and `names` are theirs."""

    def __init__(self, dump: Ids, names: Hashes) -> None:
        self._shares = Shares(dump)
        self._index = HashIndex(len(dump))
        keys = mix_numbers(dump, names)
        ids, first = self._index.insert(keys, self._shares.near(dump, keys))
        # The first function with the symbol of each.
        self.leader = first[ids].astype(np.int32)

    def has(self, dump: Ids, names: Hashes) -> Flags:
        """Which of the symbols `names` in `dump` there are."""
        keys = mix_numbers(dump, names)
        flags: Flags = self._index.find(keys, self._shares.near(dump, keys)) >= 0
        return flags


class _Accumulator:
    """Grows an effect table batch by batch."""

    def __init__(self, paths: Sequence[str], *, lenient: bool) -> None:
        self._paths = paths
        self._lenient = lenient
        self._pool = _Pool()
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
        rows, fresh = self._numbering.rows(records)
        # Numbers are given in order, so functions of clone records come before those that are only removed.
        count = int(np.searchsorted(fresh, mentions))
        known, strangers = records.pick(fresh[:count]), records.pick(fresh[count:])
        names = self._names(batch, lines.marks, known)
        fields = self._fields(batch, lines.marks, known, names)
        stranger_names = self._names(batch, lines.marks, strangers)
        symbols = _Symbols(known.dump, names)
        # Others are inlined copies, which GCC numbers and drops without a clone record; they say nothing about
        # the function that carries the symbol.
        new = ~symbols.has(strangers.dump, stranger_names)
        strange_fields = self._fields(batch, lines.marks, strangers, stranger_names, new)
        body, user = rows[0:mentions:2], rows[1:mentions:2]
        causes, unknown = self._causes(batch, lines, fields.symbol[body] == fields.symbol[user])

        removed = np.zeros(len(fresh), dtype=np.bool_)
        removed[rows[mentions:]] = True
        self._add_effects(body, user, causes, self._twins(batch, known.dump, fields, symbols.leader))
        self._add_functions(batch, known.dump, fields, removed[:count])
        self._add_functions(batch, strangers.dump[new], strange_fields, removed[count:][new])
        self._unknown.update(unknown)

    def _names(self, batch: Batch, marks: Offsets, records: Records) -> Hashes:
        """The hashes of the records' symbols."""
        return _span_hashes(batch.data, records.start, marks[records.before + 1])

    def _fields(
        self, batch: Batch, marks: Offsets, records: Records, names: Hashes, wanted: Flags | None = None
    ) -> _Fields:
        """The records taken apart, only those `wanted`; all are checked."""
        line, column = decoded_places(batch, marks, records)
        if wanted is not None:
            records, names, line, column = records.pick(wanted), names[wanted], line[wanted], column[wanted]
        at = records.before
        symbol = self._pool.intern(batch.data, records.start, marks[at + 1], names)
        file = self._pool.intern_few(batch.data, marks[at + 2] + 1, marks[at + 3])
        return _Fields(symbol, records.order, file, line, column)

    def _causes(self, batch: Batch, lines: Lines, same_symbol: Flags) -> tuple[Codes, Counter[str]]:
        """The cause of each clone record, and how often each word appears that is not known."""
        words = words_at(batch.data)
        start, end = lines.marks[lines.cause] + 1, lines.cause_end
        inline = (end - start == 11) & (words[start] == _INLINING) & (words[start + 3] == _INING_TO)
        causes = np.full(len(start), cause_code("inline"), dtype=np.uint8)
        others = np.flatnonzero(~inline)
        ids, fresh = HashIndex().insert(_span_hashes(batch.data, start[others], end[others]))
        unknown: Counter[str] = Counter()
        for word_id, first in enumerate(others[fresh].tolist()):
            which = others[ids == word_id]
            word = batch.data[start[first] : end[first]].tobytes().decode(errors="surrogateescape")
            if not word:
                raise BadDumpsError(lines.clone_dump[which])
            # Whether the symbols are equal is all that matters about them.
            between = cause_code(cause_of(word, "a", "b")[0])
            within, known = cause_of(word, "a", "a")
            causes[which] = np.where(same_symbol[which], cause_code(within), between)
            if not known:
                unknown[word] += len(which)
        return causes, unknown

    def _twins(self, batch: Batch, dump: Ids, fields: _Fields, leader: Ids) -> tuple[Ids, Ids]:
        """Pairs of rows that are one function: the first node of a symbol (`leader`), and each further one.

        In one unit's dump a symbol is one function, whatever its orders: GCC makes a node of a copy that it
        inlined, and records what was inlined into the function under the first node only.  At link time
        several units' statics share a symbol, so there the place in the source must be the same, too.
        """
        linked = np.flatnonzero(self._linked[batch.first_unit + dump])
        if len(linked):
            places = [column[linked] for column in (fields.file, fields.line, fields.column)]
            ids, first = HashIndex().insert(mix_numbers(dump[linked], fields.symbol[linked], *places))
            leader[linked] = linked[first][ids]
        twins = np.flatnonzero(leader != np.arange(len(dump)))
        return leader[twins], twins.astype(np.int32)

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

    def _add_functions(self, batch: Batch, dump: Ids, fields: _Fields, removed: Flags) -> None:
        unit = self._units[batch.first_unit + dump]
        places = (fields.file, fields.line, fields.column)
        self._functions.extend(unit, fields.symbol, fields.order, *places, removed)
        self._rows += len(dump)

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
