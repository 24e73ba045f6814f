"""Thousands of clone dumps at once: the reading of `clonelines` done on whole arrays.

Dumps are read in batches into one buffer.  Every separator is found in one pass; a line is a row of separator
positions; the function records in it are spans of bytes, numbered by their hashes (`_hashing`), and only a
record's first appearance is taken apart.  A batch in which anything looks wrong goes through `clonelines`,
which raises the error or, if lenient, says which lines to keep: there is one judge of what a good line is.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from klpkit.errors import FormatError, UserError
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
from klpkit.records.clonelines import NUMBER_MAX, cause_of, is_lto_dump, parse_dump, unknown_word_warning
from klpkit.records.model import Codes, EffectTable, Flags, Strings

BATCH_BYTES = 16 << 20
DUMP_BYTES_MAX = 1 << 30

# Zero bytes around a batch, so that a whole block may be read from any offset inside it.
_MARGIN = 64
_NEWLINE, _SEMICOLON, _STAR, _ZERO = 10, 59, 42, 48
_SPACE = 32


def _word(text: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(text, "little"))


_CALLGRAP, _CLONE, _REMOVAL_1, _REMOVAL_2 = map(_word, (b"Callgrap", b"h clone;", b"h remova", b"removal;"))
_OPTIMIZA, _IZATION = map(_word, (b"optimiza", b"ization:"))
_INLINING, _INING_TO = map(_word, (b"inlining", b"ining to"))


@dataclass(slots=True)
class _Batch:
    """Dumps one after another in `data`; dump i is the bytes from `starts[i]` to `starts[i + 1]`.

    `broken` are the dumps whose last line has no end; one was added so that it does not run into the next.
    """

    first_unit: int
    data: Bytes
    starts: Offsets
    broken: set[int]


@dataclass(slots=True)
class _Lines:
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


class _BadDumpsError(Exception):
    """Something is wrong in the dumps with these positions in the batch."""

    def __init__(self, positions: npt.NDArray[np.integer]) -> None:
        super().__init__()
        self.positions = sorted({int(position) for position in positions})


def read_dumps(paths: Sequence[str], *, lenient: bool = False) -> EffectTable:
    """One table of all the dumps at `paths`, as `clones.read_clone_dumps` describes it."""
    table = _Accumulator(paths, lenient=lenient)
    for batch in _batches(paths):
        table.take(batch)
    return table.finish()


def _batches(paths: Sequence[str]) -> Iterator[_Batch]:
    """The dumps at `paths`, read in order, about `BATCH_BYTES` at a time."""
    sizes = [_size(path) for path in paths]
    start = 0
    while start < len(paths):
        end, total = start + 1, sizes[start]
        while end < len(paths) and total + sizes[end] <= BATCH_BYTES:
            total += sizes[end]
            end += 1
        yield _read_batch(paths, sizes, start, end)
        start = end


def _size(path: str) -> int:
    try:
        size = os.stat(path).st_size  # noqa: PTH116 - thousands of them
    except OSError as error:
        raise UserError(f"can't read the clone dump {path}: {error.strerror}") from error
    if size > DUMP_BYTES_MAX:
        raise FormatError(path, "", f"{size >> 20} MiB are too many for a clone dump")
    return size


def _read_batch(paths: Sequence[str], sizes: Sequence[int], start: int, end: int) -> _Batch:
    """Dumps `start` to `end` in one buffer, each ending with a line feed."""
    buffer = np.zeros(2 * _MARGIN + sum(sizes[start:end]) + end - start, dtype=np.uint8)
    view = memoryview(buffer.data)
    starts = [_MARGIN]
    broken = set()
    for index in range(start, end):
        at = starts[-1]
        stop = at + _read_into(paths[index], view[at : at + sizes[index]])
        if stop > at and buffer[stop - 1] != _NEWLINE:
            broken.add(index - start)
            buffer[stop] = _NEWLINE
            stop += 1
        starts.append(stop)
    return _Batch(start, buffer[: starts[-1] + _MARGIN], np.array(starts), broken)


def _read_into(path: str, view: memoryview) -> int:
    """Fill `view` with the file at `path` and return how many bytes that were."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            got = os.readv(descriptor, [view]) if view else 0
            # A signal or a pipe can cut a read short.
            while 0 < got < len(view) and (more := os.readv(descriptor, [view[got:]])):
                got += more
            grown = os.read(descriptor, 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UserError(f"can't read the clone dump {path}: {error.strerror}") from error
    if grown or got < len(view):
        raise UserError(
            f"the clone dump {path} changed while it was read", hint="wait until the build has finished"
        )
    return got


def _split(batch: _Batch) -> _Lines:
    """The records of a batch by their shape; `_BadDumpsError` where a line has none of the known ones."""
    data = batch.data[: batch.starts[-1]]
    control = data < _SPACE
    control[:_MARGIN] = False
    marks = np.flatnonzero(control | (data == _SEMICOLON))
    last = np.flatnonzero(data[marks] < _SPACE)
    if not np.all(data[marks[last]] == _NEWLINE):
        offsets = marks[last][data[marks[last]] != _NEWLINE]
        raise _BadDumpsError(np.searchsorted(batch.starts, offsets, side="right") - 1)
    first = np.concatenate(([0], last[:-1] + 1)) if len(last) else last
    begin = np.concatenate(([_MARGIN], marks[last[:-1]] + 1)) if len(last) else last
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
        raise _BadDumpsError(np.concatenate((dump[~good], list(batch.broken))))

    is_clone = ~removal
    gap = np.zeros(len(first), dtype=np.int64)
    gap[older] = 1
    gap = gap[is_clone]
    source = first[is_clone]
    cause = last[is_clone] - 1
    return _Lines(
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
    is_arrow = (marks[first + 6] - arrow == 2) & ((words[arrow] & np.uint64(0xFFFF)) == _word(b"<-"))
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


def _numbers(batch: _Batch, words: Hashes, starts: Offsets, ends: Offsets) -> tuple[Ids, Flags]:
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


def _interleaved(first: Offsets, second: Offsets) -> Offsets:
    both = np.empty(2 * len(first), dtype=np.int64)
    both[0::2], both[1::2] = first, second
    return both


@dataclass(slots=True)
class _Records:
    """Function records by where they stand: the dump, the mark before the name, and the name's first byte."""

    dump: Ids
    before: Offsets
    start: Offsets
    hashes: Hashes

    def pick(self, rows: npt.NDArray[np.integer] | Flags) -> _Records:
        return _Records(self.dump[rows], self.before[rows], self.start[rows], self.hashes[rows])


def _records(batch: _Batch, marks: Offsets, dump: Ids, before: Offsets) -> _Records:
    """The records behind the marks `before`, with hashes that differ between dumps."""
    start = marks[before] + 1
    # An assembler name that the source gave literally is marked so; object files know it without.
    start += batch.data[start] == _STAR
    end = marks[before + 5]
    short = end - start < 8
    if np.any(short):
        raise _BadDumpsError(dump[short])
    seeds = (dump.astype(np.uint64) + np.uint64(1)) << np.uint64(40)
    return _Records(dump, before, start, hash_spans(batch.data, start, end, seeds, block=64))


def _decoded_numbers(batch: _Batch, marks: Offsets, records: _Records) -> list[Ids]:
    """Order, line and column of each record; `_BadDumpsError` where one of them is bad or the name is empty."""
    words = words_at(batch.data)
    good = marks[records.before + 1] > records.start
    numbers = []
    for field in (1, 3, 4):
        at = records.before + field
        values, fine = _numbers(batch, words, marks[at] + 1, marks[at + 1])
        numbers.append(values)
        good &= fine
    if not np.all(good):
        raise _BadDumpsError(records.dump[~good])
    return numbers


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
        self._index = HashIndex(1 << 16)
        self._parts: list[bytes] = []
        self._lengths: list[Offsets] = []
        self.intern_all([b""])

    def intern_all(self, values: Sequence[bytes]) -> Ids:
        """The indices of `values`."""
        raw = b"".join(values) + b"\0" * _MARGIN
        ends = np.cumsum([len(value) for value in values], dtype=np.int64)
        starts = ends - np.array([len(value) for value in values], dtype=np.int64)
        return self.intern(np.frombuffer(raw, dtype=np.uint8), starts, ends)

    def intern(self, data: Bytes, starts: Offsets, ends: Offsets) -> Ids:
        """The indices of the strings in the spans of `data`."""
        seeds = np.zeros(len(starts), dtype=np.uint64)
        ids, fresh = self._index.insert(hash_spans(data, starts, ends, seeds, block=32))
        view = memoryview(data.data)
        spans = zip(starts[fresh].tolist(), ends[fresh].tolist(), strict=True)
        self._parts += [view[start:end].tobytes() for start, end in spans]
        self._lengths.append((ends - starts)[fresh])
        return ids

    def text(self, index: int) -> str:
        return self._parts[index].decode(errors="surrogateescape")

    def strings(self) -> Strings:
        lengths = np.concatenate(self._lengths) + 1
        return Strings.from_bytes(b"\n" + b"\n".join(self._parts) + b"\n", 1 + np.cumsum(lengths) - lengths)


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
        self._pool = _Pool()
        self._units = self._pool.intern_all([os.fsencode(path) for path in paths])
        self._linked = np.array([is_lto_dump(path) for path in paths], dtype=np.bool_)
        # unit, symbol, order, file, line, column, removed
        self._functions = _Columns(*[np.int32] * 6, np.bool_)
        # body, user, cause
        self._effects = _Columns(np.int32, np.int32, np.uint8)
        self._rows = 0
        self._unknown: Counter[str] = Counter()
        self._warnings: list[str] = []

    def take(self, batch: _Batch) -> None:
        """Add a batch; dumps in which something looks wrong are first mended by the line reader."""
        mended: set[int] = set()
        while True:
            try:
                self._take(batch)
            except _BadDumpsError as bad:
                todo = set(bad.positions) - mended
                if not todo:
                    raise RuntimeError(f"the two clone dump readers disagree: {self._path(batch, bad)}") from bad
                batch = self._mended(batch, todo)
                mended |= todo
            else:
                return

    def _path(self, batch: _Batch, bad: _BadDumpsError) -> str:
        return self._paths[batch.first_unit + bad.positions[0]]

    def _mended(self, batch: _Batch, positions: set[int]) -> _Batch:
        """`batch` with only the good lines of the dumps at `positions`; FormatError unless lenient."""
        bounds = zip(batch.starts.tolist(), batch.starts[1:].tolist(), strict=False)
        parts = [batch.data[start:stop].tobytes() for start, stop in bounds]
        for position in sorted(positions):
            path = self._paths[batch.first_unit + position]
            data = parts[position][:-1] if position in batch.broken else parts[position]
            kept: list[bytes] = []
            self._warnings += parse_dump(data, path, lenient=self._lenient, kept=kept).warnings
            parts[position] = b"".join(line + b"\n" for line in kept)
        starts = _MARGIN + np.cumsum([0] + [len(part) for part in parts], dtype=np.int64)
        data = b"\0" * _MARGIN + b"".join(parts) + b"\0" * _MARGIN
        return _Batch(batch.first_unit, np.frombuffer(data, dtype=np.uint8), starts, batch.broken - positions)

    def _take(self, batch: _Batch) -> None:
        lines = _split(batch)
        mentions = _records(
            batch,
            lines.marks,
            np.repeat(lines.clone_dump, 2),
            _interleaved(lines.source, lines.target),
        )
        shares = Shares(mentions.dump)
        index = HashIndex(len(mentions.hashes))
        rows, fresh = index.insert(mentions.hashes, shares.near(mentions.dump, mentions.hashes))
        known = mentions.pick(fresh)
        fields = self._fields(batch, lines.marks, known)
        gone = _records(batch, lines.marks, lines.removal_dump, lines.removal)
        gone_rows = index.find(gone.hashes, shares.near(gone.dump, gone.hashes))
        strangers = self._strangers(batch, lines.marks, known.dump, fields, gone.pick(gone_rows < 0))
        strange_fields = self._fields(batch, lines.marks, strangers)
        body, user = rows[0::2], rows[1::2]
        causes, unknown = self._causes(batch, lines, fields.symbol[body] == fields.symbol[user])

        removed = np.zeros(len(fresh), dtype=np.bool_)
        removed[gone_rows[gone_rows >= 0]] = True
        self._add_effects(lines.clone_dump, body, user, causes, self._twins(batch, known.dump, fields))
        self._add_functions(batch, known.dump, fields, removed)
        self._add_functions(batch, strangers.dump, strange_fields, np.ones(len(strangers.dump), dtype=np.bool_))
        self._unknown.update(unknown)

    def _strangers(self, batch: _Batch, marks: Offsets, dump: Ids, fields: _Fields, removed: _Records) -> _Records:
        """Of `removed` nodes in no clone record those whose symbol no clone record of their dump names, each once.

        The others are inlined copies, which GCC numbers and drops without a clone record; they say nothing
        about the function that carries the symbol.
        """
        _decoded_numbers(batch, marks, removed)
        shares = Shares(dump)
        keys = mix_numbers(dump, fields.symbol)
        symbols = HashIndex(len(dump))
        symbols.insert(keys, shares.near(dump, keys))
        keys = mix_numbers(removed.dump, self._symbols(batch, marks, removed))
        new = removed.pick(symbols.find(keys, shares.near(removed.dump, keys)) < 0)
        return new.pick(HashIndex().insert(new.hashes)[1])

    def _symbols(self, batch: _Batch, marks: Offsets, records: _Records) -> Ids:
        return self._pool.intern(batch.data, records.start, marks[records.before + 1])

    def _fields(self, batch: _Batch, marks: Offsets, records: _Records) -> _Fields:
        """The records taken apart."""
        order, line, column = _decoded_numbers(batch, marks, records)
        at = records.before
        file = self._pool.intern(batch.data, marks[at + 2] + 1, marks[at + 3])
        return _Fields(self._symbols(batch, marks, records), order, file, line, column)

    def _causes(self, batch: _Batch, lines: _Lines, same_symbol: Flags) -> tuple[Codes, Counter[str]]:
        """The cause of each clone record, and how often each word appears that is not known."""
        words = words_at(batch.data)
        start, end = lines.marks[lines.cause] + 1, lines.cause_end
        inline = (end - start == 11) & (words[start] == _INLINING) & (words[start + 3] == _INING_TO)
        causes = np.full(len(start), cause_code("inline"), dtype=np.uint8)
        others = np.flatnonzero(~inline)
        ids = self._pool.intern(batch.data, start[others], end[others])
        unknown: Counter[str] = Counter()
        for word_id in np.unique(ids).tolist():
            which = others[ids == word_id]
            word = self._pool.text(word_id)
            if not word:
                raise _BadDumpsError(lines.clone_dump[which])
            # Whether the symbols are equal is all that matters about them.
            between = cause_code(cause_of(word, "a", "b")[0])
            within, known = cause_of(word, "a", "a")
            causes[which] = np.where(same_symbol[which], cause_code(within), between)
            if not known:
                unknown[word] += len(which)
        return causes, unknown

    def _twins(self, batch: _Batch, dump: Ids, fields: _Fields) -> tuple[Ids, Ids]:
        """Pairs of rows that are one function: the first node of a symbol, and each further one.

        In one unit's dump a symbol is one function, whatever its orders: GCC makes a node of a copy that it
        inlined, and records what was inlined into the function under the first node only.  At link time
        several units' statics share a symbol, so there the place in the source must be the same, too.
        """
        linked = self._linked[batch.first_unit + dump]
        place = [np.where(linked, column, 0) for column in (fields.file, fields.line, fields.column)]
        keys = mix_numbers(dump, fields.symbol, *place)
        ids, first = HashIndex(len(dump)).insert(keys, Shares(dump).near(dump, keys))
        leader = first[ids].astype(np.int32)
        twins = np.flatnonzero(leader != np.arange(len(dump)))
        return leader[twins], twins.astype(np.int32)

    def _add_effects(self, dump: Ids, body: Ids, user: Ids, causes: Codes, twins: tuple[Ids, Ids]) -> None:
        """Add each effect once, ordered by body."""
        keys = mix_numbers(body, user, causes)
        _, fresh = HashIndex(len(keys)).insert(keys, Shares(dump).near(dump, keys))
        code = cause_code("same-function")
        # Records can say so themselves that two nodes are one function.
        joins = fresh[causes[fresh] == code]
        fresh = fresh[causes[fresh] != code]
        leaders, others = twins
        left = np.concatenate((body[joins], leaders, others)).astype(np.int64)
        pairs = np.unique(left << 32 | np.concatenate((user[joins], others, leaders)))
        body = np.concatenate((body[fresh], (pairs >> 32).astype(np.int32)))
        user = np.concatenate((user[fresh], pairs.astype(np.int32)))
        causes = np.concatenate((causes[fresh], np.full(len(pairs), code, dtype=np.uint8)))
        order = np.sort((body.astype(np.int64) << 32) | np.arange(len(body))) & 0xFFFFFFFF
        self._effects.extend(body[order] + self._rows, user[order] + self._rows, causes[order])

    def _add_functions(self, batch: _Batch, dump: Ids, fields: _Fields, removed: Flags) -> None:
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
