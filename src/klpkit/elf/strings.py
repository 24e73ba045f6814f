"""String tables: NUL-ended names found by offset, one at a time or a whole column at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from klpkit.elf.layout import Buffer
from klpkit.errors import FormatError


class StringTable:
    """The names in `data`.  Bytes that are no UTF-8 come out as surrogates, so that every name goes back."""

    __slots__ = ("_blob", "_path", "_place")

    def __init__(self, data: Buffer, path: object, place: str) -> None:
        self._blob = bytes(data)
        self._path = path
        self._place = place

    def name(self, offset: int) -> str:
        """The name at `offset`; `FormatError` where there is none."""
        end = self._blob.find(b"\0", offset)
        if end < 0:
            raise self._error(offset)
        return _decoded(self._blob[offset:end])

    def holds(self, name: str) -> bool:
        """Whether `name` is in the table as a whole string."""
        return b"\0" + name.encode("utf-8", "surrogateescape") + b"\0" in self._blob

    def names(self, offsets: npt.NDArray[np.integer]) -> list[str]:
        """The names at all of `offsets`, in their order."""
        if not len(offsets):
            return []
        starts = offsets.astype(np.int64)
        ends = np.flatnonzero(np.frombuffer(self._blob, np.uint8) == 0) if self._blob else np.empty(0, np.int64)
        which = np.searchsorted(ends, starts)
        if (which == len(ends)).any():
            raise self._error(int(starts[int(np.argmax(which == len(ends)))]))
        pairs = zip(starts.tolist(), ends[which].tolist(), strict=True)
        if self._blob.isascii():
            text = self._blob.decode("ascii")
            return [text[start:end] for start, end in pairs]
        return [_decoded(self._blob[start:end]) for start, end in pairs]

    def _error(self, offset: int) -> FormatError:
        problem = f"no name ends after offset {offset:#x} of the {len(self._blob):#x} bytes"
        return FormatError(self._path, self._place, problem)


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
