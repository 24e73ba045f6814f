"""Which functions have an ftrace location, from what the compiler and the linker left behind.

Relocatable objects: relocations in the sections that the kernel's linker script gathers into its list of
locations, or a call to the profiling function right behind a function's start, where those sections are written
only later.  Linked images: the list itself, between `__start_mcount_loc` and `__stop_mcount_loc`.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.elf.arch import Architecture
from klpkit.records.objects import ObjectCode

_START, _STOP = "__start_mcount_loc", "__stop_mcount_loc"


class TraceSites:
    """The ftrace locations of one file.  `known` is false where the file can't tell."""

    def __init__(self, code: ObjectCode) -> None:
        self._code = code
        self._sites: dict[int, list[int]] = {}
        self.known = code.facts is not None
        if code.facts is None:
            return
        if code.elf.relocatable:
            self._read_object(code.elf, code.facts)
        else:
            self.known = self._read_image(code.elf)
        for sites in self._sites.values():
            sites.sort()

    @property
    def any(self) -> bool:
        """Whether the file has a location at all."""
        return bool(self._sites)

    def traced(self, position: int) -> bool | None:
        """Whether the function at `position` of the code has a location; None where the file can't tell."""
        facts, (section, start) = self._code.facts, self._code.places[position]
        if not self.known or facts is None or not section:
            return None
        sites = self._sites.get(section, [])
        at = bisect_right(sites, start - facts.site_before - 1)
        while at < len(sites) and sites[at] < start + facts.site_after:
            if self._belongs(section, sites[at], position, start):
                return True
            at += 1
        return False

    def _belongs(self, section: int, site: int, position: int, start: int) -> bool:
        """Whether `site`, near `start`, is this function's and not a neighbour's."""
        owner = self._code.function_at(section, site)
        if site >= start:
            return owner is not None and self._code.places[owner] == self._code.places[position]
        return owner is None and not self._code.starts_between(section, site, start)

    def _read_object(self, elf: ElfFile, facts: Architecture) -> None:
        names, symbols = elf.sections.names, elf.symbols
        calls = {row for name in facts.entry_calls for row in symbols.find(name)}
        for number in elf.relocation_sections:
            target = int(elf.sections.info[number])
            if names[target] in facts.site_sections:
                table = elf.relocations(number)
                places = symbols.value[table.symbol].astype(np.int64) + table.addend
                for section, place in zip(symbols.section[table.symbol].tolist(), places.tolist(), strict=True):
                    self._sites.setdefault(section, []).append(place)
            elif calls and int(elf.sections.flags[target]) & c.SHF_EXECINSTR:
                table = elf.relocations(number)
                hits = np.isin(table.symbol, np.array(sorted(calls), np.int64))
                if hits.any():
                    self._sites.setdefault(target, []).extend(table.offset[hits].astype(np.int64).tolist())

    def _read_image(self, elf: ElfFile) -> bool:
        starts, stops = elf.symbols.find(_START), elf.symbols.find(_STOP)
        if len(starts) != 1 or len(stops) != 1:
            return False
        first, last = int(elf.symbols.value[starts[0]]), int(elf.symbols.value[stops[0]])
        addresses = _addresses(elf, int(elf.symbols.section[starts[0]]), first, last)
        if not len(addresses) or not addresses.any():
            return False
        for section in elf.sections.executable:
            base, size = int(elf.sections.address[section]), int(elf.sections.size[section])
            inside = addresses[(addresses >= np.uint64(base)) & (addresses < np.uint64(base + size))]
            if len(inside):
                self._sites[section] = (inside - np.uint64(base)).astype(np.int64).tolist()
        return bool(self._sites)


def _addresses(elf: ElfFile, section: int, first: int, last: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """The list between two addresses of `section`; empty where the image keeps it elsewhere."""
    empty = np.empty(0, np.uint64)
    if section <= 0 or last <= first:
        return empty
    offset = first - int(elf.sections.address[section])
    content = elf.content(section)
    if offset < 0 or offset + last - first > len(content) or (last - first) % 8:
        return empty
    return np.frombuffer(content[offset : offset + last - first], f"{elf.byte_order}u8").astype(np.uint64)
