"""Many clone dumps in one buffer, a batch at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from klpkit.errors import FormatError, UserError
from klpkit.records._hashing import Bytes, Offsets

# So much that the arrays made of a batch stay in a processor's cache.
BATCH_BYTES = 4 << 20
DUMP_BYTES_MAX = 1 << 30

# Zero bytes around a batch, so that a whole block may be read from any offset inside it.
MARGIN = 64
NEWLINE = 10


@dataclass(slots=True)
class Batch:
    """Dumps one after another in `data`; dump i is the bytes from `starts[i]` to `starts[i + 1]`.

    `broken` are the dumps whose last line has no end; one was added so that it does not run into the next.
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


def _read_batch(paths: Sequence[str], sizes: Sequence[int], start: int, end: int) -> Batch:
    """Dumps `start` to `end` in one buffer, each ending with a line feed."""
    buffer = np.empty(2 * MARGIN + sum(sizes[start:end]) + end - start, dtype=np.uint8)
    buffer[:MARGIN] = 0
    view = memoryview(buffer.data)
    starts = [MARGIN]
    broken = set()
    for index in range(start, end):
        at = starts[-1]
        stop = at + _read_into(paths[index], view[at : at + sizes[index]])
        if stop > at and buffer[stop - 1] != NEWLINE:
            broken.add(index - start)
            buffer[stop] = NEWLINE
            stop += 1
        starts.append(stop)
    buffer[starts[-1] : starts[-1] + MARGIN] = 0
    return Batch(start, buffer[: starts[-1] + MARGIN], np.array(starts), broken)


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
