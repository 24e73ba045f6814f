"""The symbol table that a kernel image carries for itself, found by content and decoded.

Format: `scripts/kallsyms.c`.  Symbols are in the order of their addresses.  A name is a length (ULEB128, one or
two bytes) and that many numbers of tokens; the first character of what the tokens spell is nm's letter.  Every
256th symbol has a marker, its offset in the names.  The order of the tables has changed over time:

- to Linux 6.1: offsets, relative_base, num_syms, names, markers, token_table, token_index;
- Linux 6.2 put `seqs_of_names` before token_table;
- from Linux 6.5: num_syms, names, markers, token_table, token_index, offsets, relative_base, seqs_of_names.

Offsets count from `relative_base`, or with absolute per-CPU symbols downwards from it where negative.  Which of
both it is shows in the addresses: they must ascend.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from klpkit.elf.layout import Buffer, Ints, Offsets
from klpkit.errors import FormatError

_TOKENS = 256
_CHUNK = 256
_ALIGN = 8
_LONGEST_TOKEN = 128
_OVERRUN = 4
# A name takes at least two bytes, and hardly more than the kernel's longest name (KSYM_NAME_LEN, 512).
_MARKER_STEP = (2 * _CHUNK, 515 * _CHUNK)


@dataclass(frozen=True, slots=True)
class Kallsyms:
    """Every symbol in the kernel's own order: addresses, nm's letters (one character each) and names."""

    addresses: Offsets
    kinds: str
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class _Names:
    """The names as they are stored: `starts` and `lengths` in bytes of what `stream` holds of each symbol."""

    place: int
    stream: npt.NDArray[np.uint8]
    starts: Ints
    lengths: Ints


def read_kallsyms(data: Buffer, *, path: object) -> Kallsyms:
    """The kallsyms tables in `data`, the content of a kernel's read-only data (8-byte aligned).

    Raises `FormatError` where there are none, or where none is whole.
    """
    content = np.frombuffer(data, np.uint8)
    for index_at in _token_indexes(content):
        index = content[index_at : index_at + 2 * _TOKENS].view("<u2").astype(np.int64)
        table_at = _token_table(content, index_at, index)
        if table_at is None:
            continue
        tokens = _tokens(data, table_at, index)
        for markers_at, count in _marker_tables(content, table_at):
            names = _names(content, markers_at, count)
            if names is None:
                continue
            addresses = _addresses(content, names, index_at + 2 * _TOKENS)
            if addresses is not None:
                kinds, spelled = _spelled(names, tokens, path)
                return Kallsyms(addresses, kinds, spelled)
    raise FormatError(
        path,
        "",
        "no kallsyms tables of a known format",
        hint="name the distribution's debug vmlinux (--vmlinux) or System.map instead",
    )


def _token_indexes(content: npt.NDArray[np.uint8]) -> Iterator[int]:
    """The places that look like `kallsyms_token_index`: 256 ascending 16-bit numbers from 0."""
    words = content[: len(content) // 2 * 2].view("<u2").astype(np.int32)
    step = np.diff(words)
    ascending = (step > 1) & (step <= _LONGEST_TOKEN + 1)
    falls = np.flatnonzero(~ascending)
    bounds = np.concatenate(([-1], falls, [len(ascending)]))
    for run in np.flatnonzero(np.diff(bounds) >= _TOKENS):
        first, end = int(bounds[run]) + 1, int(bounds[run + 1])
        # What follows the table may happen to go on ascending, what is before it can't: it starts with 0.
        if words[first] == 0 and end - first >= _TOKENS - 1 and (first * 2) % _ALIGN == 0:
            yield first * 2


def _token_table(content: npt.NDArray[np.uint8], index_at: int, index: Ints) -> int | None:
    """Where the strings lie that `index` points into: they end right before it."""
    last = int(index[-1])
    for start in range(
        (index_at - last - 2) // _ALIGN * _ALIGN, index_at - last - _LONGEST_TOKEN - 2 * _ALIGN, -_ALIGN
    ):
        if start < 0:
            return None
        zeros = np.flatnonzero(content[start : start + last] == 0)
        if len(zeros) == _TOKENS - 1 and (zeros == index[1:] - 1).all():
            end = np.flatnonzero(content[start + last : index_at] == 0)
            if len(end) and (content[start + last + int(end[0]) : index_at] == 0).all():
                return start
    return None


def _tokens(data: Buffer, table_at: int, index: Ints) -> list[bytes]:
    blob = bytes(data[table_at : table_at + int(index[-1]) + _LONGEST_TOKEN + 1])
    return [blob[start : blob.find(b"\0", start)] for start in index.tolist()]


def _marker_tables(content: npt.NDArray[np.uint8], before: int) -> Iterator[tuple[int, int]]:
    """The (place, number) of what looks like markers before `before`, nearest first: offsets ascending from 0."""
    words = content[: before // 4 * 4].view("<u4").astype(np.int64)
    step = np.diff(words)
    falls = np.flatnonzero((step < _MARKER_STEP[0]) | (step > _MARKER_STEP[1]))
    bounds = np.concatenate(([-1], falls, [len(step)]))
    starts, lengths = bounds[:-1] + 1, np.diff(bounds)
    good = (lengths >= 2) & (words[np.minimum(starts, max(len(words) - 1, 0))] == 0) & (starts % 2 == 0)
    for run in np.flatnonzero(good)[::-1]:
        yield int(starts[run]) * 4, int(lengths[run])


def _names(content: npt.NDArray[np.uint8], markers_at: int, longest: int) -> _Names | None:
    """The names that the markers at `markers_at` belong to, found by their number in front of them.

    `longest` is how many markers there can be: what follows the last one may happen to ascend as well.
    """
    for count in range(longest, max(longest - _OVERRUN, 1), -1):
        markers = content[markers_at : markers_at + 4 * count].view("<u4").astype(np.int64)
        latest = (markers_at - int(markers[-1]) - 2) // _ALIGN * _ALIGN
        earliest = max(markers_at - int(markers[-1]) - _MARKER_STEP[1], _ALIGN) // _ALIGN * _ALIGN
        heads = (
            content[earliest - _ALIGN : max(latest, earliest - _ALIGN)].view("<u4").reshape(-1, 2).astype(np.int64)
        )
        likely = (heads[:, 1] == 0) & (-(-heads[:, 0] // _CHUNK) == count)
        for row in np.flatnonzero(likely)[::-1].tolist():
            names = _walked(content, earliest + row * _ALIGN, markers_at, markers, int(heads[row, 0]))
            if names is not None:
                return names
    return None


def _walked(content: npt.NDArray[np.uint8], start: int, end: int, markers: Ints, number: int) -> _Names | None:
    """All names from `start` on, walked from every marker at once; None where a chunk misses the next marker."""
    stream = content[start:end]
    # What follows the last name is padding: reading past it must not fail.
    padded = np.concatenate([stream, np.zeros(2, np.uint8)])
    at = markers.copy()
    starts, lengths = np.zeros((len(markers), _CHUNK), np.int64), np.zeros((len(markers), _CHUNK), np.int64)
    for turn in range(_CHUNK):
        live = len(markers) if turn < (number - 1) % _CHUNK + 1 else len(markers) - 1
        here = np.minimum(at[:live], len(stream))
        low, high = padded[here].astype(np.int64), padded[here + 1].astype(np.int64)
        big = low >= 0x80
        length = np.where(big, (low & 0x7F) | (high << 7), low)
        starts[:live, turn], lengths[:live, turn] = here + 1 + big, length
        at[:live] = here + 1 + big + length
    if (at[:-1] != markers[1:]).any() or not 0 <= len(stream) - at[-1] < _ALIGN:
        # Tables of later kinds may lie between the names and the markers of nothing that is known.
        return None
    starts, lengths = starts.reshape(-1)[:number], lengths.reshape(-1)[:number]
    return None if (lengths == 0).any() else _Names(start, stream, starts, lengths)


def _spelled(names: _Names, tokens: list[bytes], path: object) -> tuple[str, list[str]]:
    """nm's letters and the names that the tokens spell."""
    # One byte of 0 before each symbol: a mark in the stream, spelled as a token of its own.
    total = int(names.lengths.sum())
    ends = np.cumsum(names.lengths + 1)
    codes = np.full(total + len(ends), _TOKENS, np.int64)
    keep = np.ones(len(codes), np.bool_)
    keep[ends - names.lengths - 1] = False
    shift = np.repeat(names.starts - (np.cumsum(names.lengths) - names.lengths), names.lengths)
    codes[keep] = names.stream[np.arange(total) + shift]
    text = b"".join(map([*tokens, b"\0"].__getitem__, codes.tolist())).decode("utf-8", "surrogateescape")
    words = text[1:].split("\0")
    if len(words) != len(names.lengths) or not all(len(word) > 1 for word in words):
        raise FormatError(path, "kallsyms_names", "a symbol has no name")
    return "".join(word[0] for word in words), [word[1:] for word in words]


def _addresses(content: npt.NDArray[np.uint8], names: _Names, after: int) -> Offsets | None:
    """The addresses of the symbols, from the tables behind the tokens or, in older kernels, before the names."""
    number = len(names.lengths)
    size = -(-4 * number // _ALIGN) * _ALIGN
    # (place of offsets, place of relative_base)
    for offsets_at, base_at in (
        (after, after + size),
        (names.place - 2 * _ALIGN - size, names.place - 2 * _ALIGN),
    ):
        if offsets_at < 0 or base_at + 8 > len(content):
            continue
        offsets = content[offsets_at : offsets_at + 4 * number].view("<u4")
        base = int(content[base_at : base_at + 8].view("<u8")[0])
        for addresses in (_relative(offsets, base), _absolute_percpu(offsets, base)):
            if base and (addresses[1:] >= addresses[:-1]).all():
                return addresses
    return None


def _relative(offsets: npt.NDArray[np.uint32], base: int) -> Offsets:
    return offsets.astype(np.uint64) + np.uint64(base)


def _absolute_percpu(offsets: npt.NDArray[np.uint32], base: int) -> Offsets:
    signed = offsets.view("<i4").astype(np.int64)
    below = np.uint64(base) - np.uint64(1) - signed.astype(np.uint64)
    chosen: Offsets = np.where(signed >= 0, signed.astype(np.uint64), below)
    return chosen
