"""A function whose branches to other functions of its unit have other distances, or another length, when shipped.

An assembler resolves branches inside a section, so another function that grew changes the bytes of those around
it.  Between functions of one section an assembler knows the distance and writes short branches; an object with a
section for each function has relocated ones of full length there, and what follows lies further on.  So
instructions are compared one by one: the same ones in the same order, branches inside the function to the same
instruction, other branches to the same symbol.  No-ops are passed over: they align what follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from klpkit.diff.decoders import iced
from klpkit.target.bodies import Body, Live, beyond
from klpkit.target.original import Extent, Original
from klpkit.target.shipped import Shipped, Spot

# A branch's field is the last of its instruction, and distances count from the instruction's end.
_FIELD = 4


def compare_relaxed(original: Original, extent: Extent, shipped: Shipped, spot: Spot, there: bytes) -> Body | None:
    """The body at `spot`, whose bytes are `there`, if it differs in how branches are written alone; else None."""
    here = original.bytes_of(extent.section, extent.offset, extent.size)
    pairing = _Pairing(original, extent, shipped, spot, here, there)
    padding = re.compile(original.facts.padding)
    theirs = _decoded(there, padding, pairing.their_places, pairing.listed)
    end = 0
    for mine in _decoded(here, padding, pairing.my_places, set()):
        other = next(theirs, None)
        if other is None or not pairing.take(mine, other):
            return None
        end = int(other.next_ip)
    if not pairing.closed(extent.size, end) or beyond(original, extent, shipped, spot, end):
        return None
    return Body(there, None, tuple(pairing.live))


def _decoded(code: bytes, padding: re.Pattern[bytes], places: dict[int, int], kept: set[int]) -> Iterator[Any]:
    """The instructions of `code` but no-ops that an assembler pads with (those at `kept` places stay).

    `places` gets the number of each instruction by its place; a no-op has the number of what follows it.
    """
    nop = iced().Mnemonic.NOP
    number = 0
    for instruction in iced().Decoder(64, code):
        places[instruction.ip] = number
        skipped = instruction.mnemonic == nop and instruction.ip not in kept
        if skipped and padding.fullmatch(code, instruction.ip, instruction.next_ip):
            continue
        number += 1
        yield instruction


class _Pairing:
    """What was found equal so far: places of instructions, branches inside the function, live fields."""

    def __init__(
        self, original: Original, extent: Extent, shipped: Shipped, spot: Spot, here: bytes, there: bytes
    ) -> None:
        self.original = original
        self.extent = extent
        self.shipped = shipped
        self.spot = spot
        self.here = here
        self.there = there
        self.live: list[Live] = []
        fields = original.fields_in(extent.section, extent.offset, extent.size)
        self._fields = {field.offset - extent.offset: field for field in fields}
        self._nops = {
            place - extent.offset for section, place in original.jumps_to_nop if section == extent.section
        }
        self.listed = {place - spot[1] for section, place in shipped.jump_sites if section == spot[0]}
        self.my_places: dict[int, int] = {}
        self.their_places: dict[int, int] = {}
        self._branches: list[tuple[int, int]] = []

    def take(self, mine: Any, theirs: Any) -> bool:
        """Whether one instruction of each side agree."""
        if mine.is_invalid or theirs.is_invalid:
            return False
        if mine.ip in self._nops and self._became_nop(theirs):
            return True
        if mine.is_jmp_short_or_near or mine.is_jcc_short_or_near or mine.is_call_near:
            return bool(mine.mnemonic == theirs.mnemonic) and self._branch(mine, theirs)
        return self._plain(mine, theirs)

    def closed(self, size: int, end: int) -> bool:
        """Whether all branches inside the function lead to the same instructions on both sides."""
        self.my_places[size] = self.their_places[end] = -1
        return all(
            mine in self.my_places and self.my_places[mine] == self.their_places.get(theirs)
            for mine, theirs in self._branches
        )

    def _became_nop(self, theirs: Any) -> bool:
        return theirs.ip in self.listed and self.there[theirs.ip : theirs.next_ip] in (
            b"\x66\x90",
            b"\x0f\x1f\x44\x00\x00",
        )

    def _branch(self, mine: Any, theirs: Any) -> bool:
        place = mine.next_ip - _FIELD
        field = self._fields.get(place) if mine.len > _FIELD else None
        if field is not None and theirs.len == mine.len:
            self.live.append(Live(field, theirs.next_ip - _FIELD))
            return True
        goal, there = _signed(mine.near_branch_target), _signed(theirs.near_branch_target)
        if field is not None:
            meant = self.spot[0], self.spot[1] + there - field.addend - _FIELD
            self.live.append(Live(field, theirs.next_ip - 1, meant))
            return True
        if 0 <= goal < self.extent.size:
            self._branches.append((goal, there))
            return True
        return self._same_function(goal, there)

    def _same_function(self, goal: int, there: int) -> bool:
        """Whether two resolved branches to elsewhere in the section lead to the same place of one function."""
        other = self.original.covering(self.extent.section, self.extent.offset + goal)
        if other is None:
            return False
        inside = self.extent.offset + goal - other.offset
        spots = [spot for spot, symbol in self.shipped.named(other.name) if symbol.function]
        # Where others have the name too, it must be the one that lies nearest, as its unit's does.
        nearest = min(spots, key=lambda spot: abs(spot[1] - self.spot[1]), default=None)
        return nearest == (self.spot[0], self.spot[1] + there - inside)

    def _plain(self, mine: Any, theirs: Any) -> bool:
        a = bytearray(self.here[mine.ip : mine.next_ip])
        b = bytearray(self.there[theirs.ip : theirs.next_ip])
        for place in range(mine.ip, mine.next_ip):
            field = self._fields.get(place)
            if field is not None:
                start = place - mine.ip
                a[start : start + field.fact.size] = bytes(field.fact.size)
                b[start : start + field.fact.size] = bytes(field.fact.size)
                self.live.append(Live(field, theirs.ip + start))
        return a == b


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
