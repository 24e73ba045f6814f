"""Many clone dumps in one buffer, a batch at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from klpkit.errors import FormatError, UserError
from klpkit.records._spans import MARGIN, Bytes, Offsets

# So few that the arrays made of a batch stay in a cache, so many that starting an operation costs little.
BATCH_BYTES = 1 << 21
DUMP_BYTES_MAX = 1 << 30

NEWLINE = 10


@dataclass(slots=True)
class Batch:
    """Dumps one after another in `data`; dump i is the bytes from `starts[i]` to `starts[i + 1]`.

    Good until the next batch is read.  `broken` are the dumps whose last line has no end; one was added so that it
    does not run into the next.
    """

    first_unit: int
    data: Bytes
    starts: Offsets
    broken: set[int]


class BadDumpsError(Exception):
    """Something is wrong in the dumps with these positions in the batch."""

    def __init__(self, positions: npt.NDArray[np.integer]) -> None:
        super().__init__()
        self.positions = sorted({int(position) for position in positions})


def batches(paths: Sequence[str]) -> Iterator[Batch]:
    """The dumps at `paths`, read in order, until each batch has `BATCH_BYTES`.

    The memory of a batch is used again for the next one, since new memory has to be cleared first.
    """
    buffer = _Buffer(2 * BATCH_BYTES)
    start = 0
    while start < len(paths):
        batch = _read_batch(paths, start, buffer)
        start += len(batch.starts) - 1
        yield batch


def _read_batch(paths: Sequence[str], first: int, buffer: _Buffer) -> Batch:
    """Dumps from number `first` on in `buffer`, each ending with a line feed."""
    buffer.used = MARGIN
    starts = [MARGIN]
    broken = set()
    for index in range(first, len(paths)):
        at = buffer.used
        buffer.read(paths[index])
        if buffer.used > at and buffer.data[buffer.used - 1] != NEWLINE:
            broken.add(index - first)
            buffer.end_line()
        starts.append(buffer.used)
        if buffer.used >= BATCH_BYTES:
            break
    return Batch(first, buffer.finished(), np.array(starts), broken)


class _Buffer:
    """Bytes of files one after another between two margins of zeros."""

    def __init__(self, size: int) -> None:
        self.data: Bytes = np.empty(size + 3 * MARGIN, dtype=np.uint8)
        self.data[:MARGIN] = 0
        self.used = MARGIN
        self._view = memoryview(self.data.data)

    def read(self, path: str) -> None:
        """Add the content of the file at `path`; no `stat`, because there are thousands of files."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                while got := os.readv(descriptor, [self._view[self.used : -2 * MARGIN]]):
                    self.used += got
                    if self.used == len(self.data) - 2 * MARGIN:
                        self._make_room(path, os.fstat(descriptor).st_size)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise UserError(f"can't read the clone dump {path}: {error.strerror}") from error

    def _make_room(self, path: str, size: int) -> None:
        """Go on in a buffer that has room for all of a file of `size` bytes, or for twice as much as there is."""
        size = max(size, self.used)
        if size > DUMP_BYTES_MAX:
            raise FormatError(path, "", f"{size >> 20} MiB are too many for a clone dump")
        larger = _Buffer(len(self.data) + size)
        larger.data[: self.used] = self.data[: self.used]
        self.data, self._view = larger.data, larger._view

    def end_line(self) -> None:
        self.data[self.used] = NEWLINE
        self.used += 1

    def finished(self) -> Bytes:
        self.data[self.used : self.used + MARGIN] = 0
        return self.data[: self.used + MARGIN]
