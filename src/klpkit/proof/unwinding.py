"""What the unwinder is told of each function: whether it may be unwound, its personality, its exception table.

`.eh_frame` (Linux Standard Base, "Exception Frames") names a function's code and, in `.gcc_except_table`, its
language-specific data area (the Itanium C++ ABI, "Exception Handling Tables"): which call may throw, where that
lands, what is caught.  Code can be the same to the last byte while that table says that a call never throws.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from klpkit.elf import ElfFile

_EH_FRAME = ".eh_frame"
_EXTENDED = 0xFFFFFFFF

Place = tuple[int, int]
"""Section and offset."""


@dataclass(frozen=True, slots=True, order=True)
class Unwinding:
    """`personality` is the symbol of its routine, `table` the exception table's bytes, `refers` its pointers."""

    personality: str = ""
    table: bytes = b""
    refers: tuple[tuple[int, str, int], ...] = ()


def unwinding(elf: ElfFile) -> dict[str, tuple[Unwinding, ...]]:
    """What the unwinder knows of the relocatable object `elf`: for each symbol the functions of that name."""
    symbols = elf.symbols
    found: dict[Place, Unwinding] = {}
    for section in elf.sections.find(_EH_FRAME):
        found.update(_Frames(elf, section).functions())
    rows = symbols.defined_functions.tolist()
    named: dict[str, list[Unwinding]] = defaultdict(list)
    for row in rows:
        if known := found.get((int(symbols.section[row]), int(symbols.value[row]))):
            named[symbols.names[row]].append(known)
    return {name: tuple(sorted(known)) for name, known in named.items()}


class _Frames:
    """One `.eh_frame` section.  In a relocatable object relocations tell all pointers, whatever their encoding."""

    def __init__(self, elf: ElfFile, section: int) -> None:
        self.elf = elf
        self.data = bytes(elf.content(section))
        self.pointers = _pointers(elf, section)
        self.offsets = sorted(self.pointers)
        self.personality: dict[int, str] = {}

    def functions(self) -> Iterator[tuple[Place, Unwinding]]:
        found: list[tuple[Place, str, Place | None]] = []
        for start, body, end in self._entries():
            (number,) = struct.unpack_from(self.elf.byte_order + "I", self.data, body)
            inside = [self.pointers[at] for at in self.offsets if body < at < end]
            if number == 0:
                self.personality[start] = inside[0][0] if inside else ""
            elif inside:
                table = self._place(inside[1]) if len(inside) > 1 else None
                found.append((self._place(inside[0]), self.personality.get(body - number, ""), table))
        starts = sorted({table for _, _, table in found if table is not None})
        for code, personality, table in found:
            content = (b"", ()) if table is None else self._table(table, starts)
            yield code, Unwinding(personality, *content)

    def _entries(self) -> Iterator[tuple[int, int, int]]:
        """`(start, start of the body, end)` of each entry; the terminator, which a linker adds, ends all."""
        start = 0
        while start + 4 <= len(self.data):
            (size,) = struct.unpack_from(self.elf.byte_order + "I", self.data, start)
            body = start + 4
            if size == _EXTENDED:
                (size,) = struct.unpack_from(self.elf.byte_order + "Q", self.data, body)
                body += 8
            if size >= 4:
                yield start, body, body + size
            start = body + size

    def _place(self, pointer: tuple[str, int, int]) -> Place:
        _, section, offset = pointer
        return section, offset

    def _table(self, place: Place, starts: list[Place]) -> tuple[bytes, tuple[tuple[int, str, int], ...]]:
        """The exception table at `place`: it says how long it is, but for the padding behind it."""
        section, first = place
        data = bytes(self.elf.content(section))
        index = bisect_right(starts, place)
        last = starts[index][1] if index < len(starts) and starts[index][0] == section else len(data)
        refers = [(at - first, to) for at, to in _pointers(self.elf, section).items() if first <= at < last]
        names = tuple((at, self._named(to), to[2]) for at, to in sorted(refers))
        return data[first:last].rstrip(b"\0"), names

    def _named(self, pointer: tuple[str, int, int]) -> str:
        name, section, _ = pointer
        return name or self.elf.sections.names[section]


def _pointers(elf: ElfFile, section: int) -> dict[int, tuple[str, int, int]]:
    """Offset in `section` → the symbol there, the section that it lies in and the offset in that."""
    found = {}
    data = elf.content(section)
    for table in elf.relocations_of(section):
        for relocation in table:
            symbol = elf.symbols[relocation.symbol]
            addend = relocation.addend
            if not table.explicit:
                (addend,) = struct.unpack_from(elf.byte_order + "i", data, relocation.offset)
            found[relocation.offset] = (symbol.name, symbol.section, symbol.value + addend)
    return found
