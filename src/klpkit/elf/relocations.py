"""A relocation section as columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from klpkit.elf.constants import SHT_RELA
from klpkit.elf.layout import Ints, Offsets, Records
from klpkit.errors import FormatError


@dataclass(frozen=True, slots=True)
class Relocation:
    """One relocation: at `offset` of its target section, `type` of the architecture, against `symbol`."""

    offset: int
    type: int
    symbol: int
    addend: int


class RelocationTable:
    """All relocations of the section numbered `section`, which apply to the section numbered `target`.

    `symbol` holds rows of the symbol table numbered `symbols`.  Where `explicit` is false (REL) the addend is
    in the bytes that the relocation changes, and the `addend` column is all 0.
    """

    __slots__ = ("addend", "explicit", "offset", "section", "symbol", "symbols", "target", "type")

    def __init__(self, section: int, target: int, symbols: int, kind: int, rows: Records) -> None:
        self.section = section
        self.target = target
        self.symbols = symbols
        self.explicit = kind == SHT_RELA
        info = rows["info"].astype(np.uint64)
        self.offset: Offsets = rows["offset"].astype(np.uint64)
        self.type: Ints = (info & np.uint64(0xFFFFFFFF)).astype(np.int64)
        self.symbol: Ints = (info >> np.uint64(32)).astype(np.int64)
        self.addend: Ints = rows["addend"].astype(np.int64) if self.explicit else np.zeros(len(rows), np.int64)

    def __len__(self) -> int:
        return len(self.offset)

    def __getitem__(self, row: int) -> Relocation:
        return Relocation(int(self.offset[row]), int(self.type[row]), int(self.symbol[row]), int(self.addend[row]))

    def __iter__(self) -> Iterator[Relocation]:
        return (self[row] for row in range(len(self)))

    def check(self, symbol_count: int, target_size: int | None, *, path: object, place: str) -> None:
        """`FormatError` for the first relocation outside its section or against a symbol that is not there.

        `target_size` is None where offsets are addresses (linked images).
        """
        bad = self.symbol >= symbol_count
        if bad.any():
            row = int(np.argmax(bad))
            raise FormatError(path, f"{place}, entry {row}", f"there is no symbol {int(self.symbol[row])}")
        if target_size is None:
            return
        bad = self.offset >= np.uint64(target_size)
        if bad.any():
            row = int(np.argmax(bad))
            problem = f"offset {int(self.offset[row]):#x} is outside the section of {target_size:#x} bytes"
            raise FormatError(path, f"{place}, entry {row}", problem)
