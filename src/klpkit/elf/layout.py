"""The tables of ELF64 as numpy record types, in either byte order, and the checks that guard them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from klpkit.errors import FormatError

Buffer = bytes | memoryview
Records = npt.NDArray[np.void]
Ints = npt.NDArray[np.int64]
Offsets = npt.NDArray[np.uint64]

_HEADER = [
    ("ident", "S16"), ("type", "u2"), ("machine", "u2"), ("version", "u4"), ("entry", "u8"), ("phoff", "u8"),
    ("shoff", "u8"), ("flags", "u4"), ("ehsize", "u2"), ("phentsize", "u2"), ("phnum", "u2"),
    ("shentsize", "u2"), ("shnum", "u2"), ("shstrndx", "u2"),
]  # fmt: skip
_SECTION = [
    ("name", "u4"), ("type", "u4"), ("flags", "u8"), ("addr", "u8"), ("offset", "u8"), ("size", "u8"),
    ("link", "u4"), ("info", "u4"), ("addralign", "u8"), ("entsize", "u8"),
]  # fmt: skip
_SYMBOL = [("name", "u4"), ("info", "u1"), ("other", "u1"), ("shndx", "u2"), ("value", "u8"), ("size", "u8")]
_REL = [("offset", "u8"), ("info", "u8")]
_RELA = [*_REL, ("addend", "i8")]


class Layout:
    """The record types of one byte order (`little` is the prefix `<`, `big` is `>`)."""

    __slots__ = ("header", "order", "rel", "rela", "section", "symbol", "word")

    def __init__(self, order: str) -> None:
        self.order = order
        self.header = _ordered(_HEADER, order)
        self.section = _ordered(_SECTION, order)
        self.symbol = _ordered(_SYMBOL, order)
        self.rel = _ordered(_REL, order)
        self.rela = _ordered(_RELA, order)
        self.word: np.dtype[Any] = np.dtype(f"{order}u4")


def _ordered(fields: list[tuple[str, str]], order: str) -> np.dtype[Any]:
    return np.dtype([(name, kind if kind[0] == "S" else order + kind) for name, kind in fields])


LITTLE, BIG = Layout("<"), Layout(">")


def records(
    data: Buffer, kind: np.dtype[Any], offset: int, count: int, *, path: object, place: str
) -> npt.NDArray[Any]:
    """`count` records of `kind` at `offset` of `data`, without a copy; `FormatError` if they do not fit."""
    if offset < 0 or count < 0 or offset + count * kind.itemsize > len(data):
        raise FormatError(path, place, f"reaches past the end ({len(data):#x} bytes): the file is cut or broken")
    if not count:
        return np.empty(0, dtype=kind)
    return np.frombuffer(data, dtype=kind, count=count, offset=offset)


def table(data: Buffer, kind: np.dtype[Any], entry_size: int, *, path: object, place: str) -> npt.NDArray[Any]:
    """All of `data` as records of `kind`; `FormatError` where the sizes do not agree."""
    if entry_size not in (0, kind.itemsize) or len(data) % kind.itemsize:
        problem = f"{len(data)} bytes in entries of {entry_size} are no table of {kind.itemsize}-byte entries"
        raise FormatError(path, place, problem)
    return records(data, kind, 0, len(data) // kind.itemsize, path=path, place=place)
