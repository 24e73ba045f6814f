"""The code of functions: where each starts, and the assembler name that the symbol table gives it there.

DWARF knows a clone only by its source name (`foo`); the symbol at its address tells `foo.isra.0`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from klpkit.elf.constants import STT_NOTYPE
from klpkit.records import _dwarfforms as d
from klpkit.records._dwarfbytes import members, sorted_once
from klpkit.records._dwarfranges import Ranges
from klpkit.records._dwarfsections import DebugSections
from klpkit.records._dwarfunits import Units
from klpkit.records._dwarfvalues import ABSENT, Values
from klpkit.records.suffixes import PREFIXES

Ints = npt.NDArray[np.int64]

_MASK = (1 << 64) - 1


def read_addresses(
    sections: DebugSections, units: Units, values: Values, position: Ints, unit: Ints
) -> tuple[Ints, Ints]:
    """Where the code of each subprogram starts (`ABSENT` for none), and where the other pieces of all do."""
    others: list[int] = []
    read = values.read(position, unit, (d.AT_LOW_PC, d.AT_RANGES))
    address = read[d.AT_LOW_PC]
    ranges = Ranges(sections[".debug_rnglists"], sections[".debug_ranges"], sections[".debug_addr"])
    split = np.flatnonzero((address == ABSENT) & (read[d.AT_RANGES] != ABSENT))
    for row in split.tolist():
        home = int(unit[row])
        base = int(units.values[d.AT_LOW_PC][home])
        addresses = int(max(units.values[d.AT_ADDR_BASE][home], units.values[d.AT_GNU_ADDR_BASE][home]))
        offset, kind = int(read[d.AT_RANGES][row]), units.headers[home].format
        starts = ranges.starts(offset, kind, 0 if base == ABSENT else base, addresses)
        address[row] = _signed(starts[0]) if starts else ABSENT
        others += map(_signed, starts[1:])
    return address, np.array(others, np.int64)


def _signed(address: int) -> int:
    address &= _MASK
    return address - (1 << 64) if address >> 63 else address


@dataclass(frozen=True, slots=True)
class CodeNames:
    """What the file's symbol table says of code: `live` addresses are in sections of code, names by address."""

    sections: DebugSections

    def live(self, address: Ints) -> npt.NDArray[np.bool_]:
        """Which addresses lie in code; the linker sets those of code that it dropped to some place outside."""
        start, end = (bound.view(np.uint64) for bound in self.sections.code_ranges())
        if not len(start):
            return np.zeros(len(address), np.bool_)
        place = address.view(np.uint64)
        row = np.searchsorted(start, place, side="right") - 1
        inside: npt.NDArray[np.bool_] = (row >= 0) & (place < end.take(row)) & (address != ABSENT)
        return inside

    def undescribed(self, address: Ints) -> int:
        """How many functions of the symbol table start at none of `address`; padding before functions aside."""
        symbols = self.sections.elf.symbols
        rows, places = self.sections.functions()
        typed = (symbols.type[rows] != STT_NOTYPE) & (symbols.size[rows] > 0) & self.live(places)
        unknown = np.flatnonzero(typed & ~members(places, sorted_once(address)))
        pairs = zip(places[unknown].tolist(), rows[unknown].tolist(), strict=True)
        return len({place for place, row in pairs if not symbols.names[row].startswith(PREFIXES)})

    def names(self, address: Ints, wanted: list[str]) -> list[str]:
        """The symbol at each address: of several that which is `wanted` or made from it; `wanted` if none."""
        rows, places = self.sections.functions()
        symbols = self.sections.elf.symbols.names
        first = np.searchsorted(places, address, side="left").tolist()
        last = np.searchsorted(places, address, side="right").tolist()
        found = []
        for start, end, name in zip(first, last, wanted, strict=True):
            candidates = [symbols[row] for row in rows[start:end].tolist()] if end - start != 1 else ()
            found.append(_best(candidates, name) if end - start != 1 else symbols[rows[start]])
        return found


def _best(candidates: Sequence[str], wanted: str) -> str:
    if not candidates or wanted in candidates:
        return wanted
    made = [name for name in candidates if name.startswith(f"{wanted}.")]
    return (made or candidates)[0]
