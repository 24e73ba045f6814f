"""Strings of many files, each held once, interned as whole arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from klpkit.records._hashing import HashIndex
from klpkit.records._spans import MARGIN, Bytes, Hashes, Ids, Offsets, hash_spans
from klpkit.records.model import Strings

_NEWLINE = 10


class Pool:
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
        """The indices of the strings in the spans of `data`, whose hashes may be known."""
        ids, fresh = self._index.insert(hash_spans(data, starts, ends - starts) if hashes is None else hashes)
        self._append(data, starts[fresh], ends[fresh] - starts[fresh])
        return ids

    def intern_few(self, data: Bytes, starts: Offsets, ends: Offsets) -> Ids:
        """The same for spans that are nearly all repetitions: sooner, because a small table does most of it."""
        hashes = hash_spans(data, starts, ends - starts)
        ids, fresh = HashIndex().insert(hashes)
        return self.intern(data, starts[fresh], ends[fresh], hashes[fresh])[ids]

    def _append(self, data: Bytes, starts: Offsets, lengths: Offsets) -> None:
        """Add strings to the pool, each with a line feed behind it."""
        sizes = lengths + 1
        stops = np.cumsum(sizes)
        total = int(stops[-1]) if len(stops) else 0
        text = data[np.arange(total) + np.repeat(starts - (stops - sizes), sizes)]
        text[stops - 1] = _NEWLINE
        self._parts.append(text.tobytes())
        self._lengths.append(sizes)

    def strings(self) -> Strings:
        sizes = np.concatenate(self._lengths)
        return Strings.from_bytes(b"\n" + b"".join(self._parts), 1 + np.cumsum(sizes) - sizes)
