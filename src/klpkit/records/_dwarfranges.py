"""Where the pieces of a function start that has several: `DW_AT_ranges`.

DWARF 5, section 2.17.3 and 7.25 (`.debug_rnglists`); DWARF 4, section 2.17.3 (`.debug_ranges`).
"""

from __future__ import annotations

from klpkit.records._dwarfbytes import Section
from klpkit.records._dwarfforms import Format
from klpkit.records._dwarfshapes import leb

RLE_END_OF_LIST, RLE_BASE_ADDRESSX, RLE_STARTX_ENDX, RLE_STARTX_LENGTH = 0, 1, 2, 3
RLE_OFFSET_PAIR, RLE_BASE_ADDRESS, RLE_START_END, RLE_START_LENGTH = 4, 5, 6, 7


class Ranges:
    """The range lists of one file; `addresses` is its `.debug_addr`."""

    def __init__(self, lists: Section, old_lists: Section, addresses: Section) -> None:
        self._lists = lists
        self._old_lists = old_lists
        self._addresses = addresses

    def starts(self, offset: int, kind: Format, base: int, addresses_base: int) -> list[int]:
        """The start address of each piece that is not empty, in the order of the list at `offset`.

        `base` is the unit's address, `addresses_base` where the unit's part of `.debug_addr` starts.
        """
        mask = (1 << 8 * kind.address_size) - 1
        if kind.version < 5:
            return self._old_starts(offset, kind.address_size, base & mask, mask)
        return self._starts(offset, kind.address_size, base & mask, addresses_base)

    def _old_starts(self, at: int, size: int, base: int, mask: int) -> list[int]:
        starts: list[int] = []
        section = self._old_lists
        while True:
            start, end = section.number(at, size), section.number(at + size, size)
            at += 2 * size
            if start == mask:
                base = end
            elif not start and not end:
                return starts
            elif start != end:
                starts.append((base + start) & mask)

    def _starts(self, at: int, size: int, base: int, addresses_base: int) -> list[int]:
        section = self._lists
        starts = []
        while kind := section.number(at, 1):
            at += 1
            if kind in (RLE_BASE_ADDRESSX, RLE_STARTX_ENDX, RLE_STARTX_LENGTH):
                index, at = leb(section.data, at)
                first = self._addresses.number(addresses_base + index * size, size)
            elif kind == RLE_OFFSET_PAIR:
                first, at = leb(section.data, at)
                first += base
            elif kind in (RLE_BASE_ADDRESS, RLE_START_END, RLE_START_LENGTH):
                first = section.number(at, size)
                at += size
            else:
                raise section.error(at - 1, f"unknown kind {kind} of a range list entry")
            if kind in (RLE_BASE_ADDRESS, RLE_BASE_ADDRESSX):
                base = first
                continue
            second, at = self._second(kind, at, size, addresses_base)
            empty = second == 0 if kind in (RLE_START_LENGTH, RLE_STARTX_LENGTH) else second == first
            if kind == RLE_OFFSET_PAIR:
                empty = second + base == first
            if not empty:
                starts.append(first)
        return starts

    def _second(self, kind: int, at: int, size: int, addresses_base: int) -> tuple[int, int]:
        """The second operand of an entry: an end or a length."""
        if kind == RLE_START_END:
            return self._lists.number(at, size), at + size
        value, at = leb(self._lists.data, at)
        if kind == RLE_STARTX_ENDX:
            value = self._addresses.number(addresses_base + value * size, size)
        return value, at
