"""One debug section and the reading of numbers at many of its places at once (DWARF 5, section 7.6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from klpkit.errors import FormatError
from klpkit.records._dwarfforms import Ending
from klpkit.records._dwarfshapes import leb

Ints = npt.NDArray[np.int64]

# A number of more 7-bit groups does not fit in 64 bits.
MAX_LEB_BYTES = 10


class Section:
    """The bytes of a debug section; `order` is `<` or `>` as in `struct`.

    Positions count from the start of the section.  Reading past its end raises `IndexError`.
    """

    def __init__(self, name: str, data: memoryview, order: str, path: object) -> None:
        self.name = name
        self.data = data
        self.order = order
        self.path = path
        self.bytes: npt.NDArray[np.uint8] = np.frombuffer(data, np.uint8)
        self._views = {size: self._view(size) for size in (1, 2, 4, 8)}

    def __len__(self) -> int:
        return len(self.data)

    def _view(self, size: int) -> npt.NDArray[Any]:
        """The number of `size` bytes at each byte of the section, aligned or not."""
        count = max(0, len(self.data) - size + 1)
        return np.ndarray((count,), f"{self.order}u{size}", self.bytes if count else b"", 0, (1,))

    def error(self, position: int, problem: str) -> FormatError:
        return FormatError(self.path, f"{self.name}+{position:#x}", problem, hint="the file is cut or broken")

    def unsigned(self, position: Ints, size: int) -> Ints:
        """The unsigned numbers of `size` bytes at `position`; 64-bit ones as their two's complement."""
        if size == 3:
            parts = self.unsigned(position, 1), self.unsigned(position + 1, 2)
            return parts[0] << 16 | parts[1] if self.order == ">" else parts[0] | parts[1] << 8
        values: Ints = self._views[size][position].astype(np.int64)
        return values

    def number(self, position: int, size: int) -> int:
        """The unsigned number of `size` bytes at `position`."""
        if position < 0 or position + size > len(self.data):
            raise IndexError(position)
        byte_order = "big" if self.order == ">" else "little"
        return int.from_bytes(self.data[position : position + size], byte_order)  # type: ignore[arg-type]

    def string(self, position: int) -> str:
        """The zero-terminated string at `position`."""
        size = 64
        while position >= 0:
            piece = bytes(self.data[position : position + size])
            end = piece.find(b"\0")
            if end >= 0:
                return piece[:end].decode(errors="surrogateescape")
            if len(piece) < size:
                break
            size *= 8
        raise IndexError(position)

    def leb(self, position: Ints, *, signed: bool = False) -> tuple[Ints, Ints]:
        """The LEB128 numbers at `position`, cut to 64 bits, and where each ends."""
        first = self.bytes.take(position)
        if not signed and (not first.size or first.max() < 0x80):
            return first.astype(np.int64), position + 1
        value = np.zeros(len(position), np.int64)
        end = position.copy()
        live = np.arange(len(position))
        for group in range(MAX_LEB_BYTES):
            byte = self.bytes.take(end.take(live)).astype(np.int64)
            value[live] |= (byte & 0x7F) << (7 * group)
            end[live] += 1
            more = byte >= 0x80
            if signed:
                negative = live[~more & ((byte & 0x40) != 0)]
                value[negative] |= np.int64(-1) << min(7 * (group + 1), 63)
            live = live[more]
            if not live.size:
                return value, end
        raise self.error(int(position[live[0]]), "a number of more than 64 bits")

    def past(self, position: Ints, ending: int) -> Ints:
        """Where the values of variable size at `position` end."""
        if ending == Ending.LEB:
            return self.leb(position)[1]
        if ending == Ending.STRING:
            return self._past_strings(position)
        if ending == Ending.LEB_AND_4:
            return self.leb(position)[1] + 4
        if ending == Ending.BLOCK_LEB:
            length, start = self.leb(position)
        else:
            size = _BLOCK_SIZES[ending]
            length, start = self.unsigned(position, size), position + size
        # A length can't be larger than the section; the clipped end is past it and found by the caller.
        result: Ints = start + np.where((length < 0) | (length > len(self)), len(self) + 1, length)
        return result

    def _past_strings(self, position: Ints) -> Ints:
        end = position.copy()
        live = np.arange(len(position))
        while live.size:
            byte = self.bytes.take(end.take(live))
            end[live] += 1
            live = live[byte != 0]
        return end

    def past_one(self, at: int, ending: int) -> int:
        """Where one value of variable size ends."""
        if ending in _BLOCK_SIZES:
            size = _BLOCK_SIZES[ending]
            return at + size + self.number(at, size)
        if ending == Ending.STRING:
            while self.data[at]:
                at += 1
            return at + 1
        value, at = leb(self.data, at)
        if ending == Ending.BLOCK_LEB:
            return at + value
        return at + 4 if ending == Ending.LEB_AND_4 else at


_BLOCK_SIZES = {Ending.BLOCK1: 1, Ending.BLOCK2: 2, Ending.BLOCK4: 4}


def members(values: Ints, known: Ints) -> npt.NDArray[np.bool_]:
    """Which of `values` are in `known`, which is sorted."""
    if not len(known):
        return np.zeros(len(values), np.bool_)
    place = np.searchsorted(known, values)
    found: npt.NDArray[np.bool_] = known.take(np.minimum(place, len(known) - 1)) == values
    return found


def sorted_once(values: Ints) -> Ints:
    """`values` sorted, each once; `numpy.unique` hashes, which is slower for positions."""
    ordered = np.sort(values)
    once: Ints = ordered[np.diff(ordered, prepend=ordered[:1] - 1) != 0]
    return once
