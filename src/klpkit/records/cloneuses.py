"""Where an ELF file's code and data use given functions: by symbol, by address, by a branch without relocation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from klpkit.elf import ElfFile, RelocationTable
from klpkit.elf import constants as c
from klpkit.elf.arch import Architecture
from klpkit.elf.branches import branches_to
from klpkit.elf.layout import Ints
from klpkit.elf.symbols import Mask
from klpkit.records.pieces import Pieces, Place

# A place as one number: the section number above the offset.
OFFSET_BITS = 40

Use = tuple[int, int, int]
"""The section and offset of a use, and the position of the used clone."""


class CloneIndex:
    """Finds the uses of the clones of `pieces`.

    `rows` and `places` are the symbol rows and places of all functions by position; `ends` says for each
    defined clone where it ends in its section.
    """

    def __init__(
        self,
        elf: ElfFile,
        rows: Sequence[int],
        places: Sequence[Place],
        pieces: Pieces,
        ends: Mapping[int, int],
        facts: Architecture,
    ) -> None:
        self._elf = elf
        self._facts = facts
        self._at: dict[Place, list[int]] = {}
        self._undefined = {rows[clone]: clone for clone in pieces.clones if not places[clone][0]}
        for clone in ends:
            self._at.setdefault(places[clone], []).append(clone)
        self._entries = self._all_entries(rows, places)
        self._symbols = self._symbols_of(rows, places)
        found = sorted(
            (_key(place), _key((place[0], max(ends[i] for i in at))), place) for place, at in self._at.items()
        )
        self._starts = np.array([row[0] for row in found], np.int64)
        self._ends = np.array([row[1] for row in found], np.int64)
        self._places = [row[2] for row in found]
        self._bias = _biases(facts)
        self._named, self._near = self._symbol_masks()
        self._keys = {_key(place): clones for place, clones in self._entries.items()}

    def _symbol_masks(self) -> tuple[Mask, Mask]:
        """For each symbol row: whether it is a clone's symbol, and whether a clone can be meant through it."""
        named = np.zeros(len(self._elf.symbols), np.bool_)
        named[list(self._symbols)] = True
        homes = np.array(sorted({place[0] for place in self._at}), np.int64)
        return named, named | np.isin(self._elf.symbols.section, homes)

    def _all_entries(self, rows: Sequence[int], places: Sequence[Place]) -> dict[Place, list[int]]:
        entries: dict[Place, list[int]] = {}
        for (section, start), clones in self._at.items():
            for clone in clones:
                for entry in self._facts.entries(start, int(self._elf.symbols.other[rows[clone]])):
                    entries.setdefault((section, entry), []).append(clone)
        return entries

    def _symbols_of(self, rows: Sequence[int], places: Sequence[Place]) -> dict[int, list[int]]:
        """Symbol row → clones, for each function symbol at the place of a clone, and clones defined elsewhere."""
        symbols = {row: [clone] for row, clone in self._undefined.items()}
        for row, place in zip(rows, places, strict=True):
            if place in self._at:
                symbols[row] = self._at[place]
        return symbols

    def relocated(self, relocations: RelocationTable) -> Iterator[Use]:
        """The uses of clones among `relocations`: in code anywhere inside a clone, in data its entries alone."""
        if not self._near[relocations.symbol].any():
            return
        section = relocations.target
        keys = self._meant(relocations)
        if not int(self._elf.sections.flags[section]) & c.SHF_EXECINSTR:
            for row in np.flatnonzero(np.isin(keys, np.array(sorted(self._keys), np.int64))).tolist():
                for clone in self._keys[int(keys[row])]:
                    yield section, int(relocations.offset[row]), clone
            return
        which = np.searchsorted(self._starts, keys, side="right") - 1
        inside = (which >= 0) & (keys < self._ends[which]) if len(self._ends) else np.zeros(len(keys), np.bool_)
        for row in np.flatnonzero(self._named[relocations.symbol] | inside).tolist():
            clones = set(self._symbols.get(int(relocations.symbol[row]), ()))
            if inside[row]:
                clones.update(self._at[self._places[int(which[row])]])
            for clone in sorted(clones):
                yield section, int(relocations.offset[row]), clone

    def _meant(self, relocations: RelocationTable) -> Ints:
        """The place that each relocation means, as a key; -1 where it is in no section."""
        symbols = self._elf.symbols
        section = symbols.section[relocations.symbol]
        offset = symbols.value[relocations.symbol].astype(np.int64) + relocations.addend
        if int(self._elf.sections.flags[relocations.target]) & c.SHF_EXECINSTR:
            kinds = relocations.type
            offset = offset + np.where(
                kinds < len(self._bias), self._bias[np.minimum(kinds, len(self._bias) - 1)], 0
            )
        good = (section > 0) & (offset >= 0) & (offset < 1 << OFFSET_BITS)
        return np.where(good, (section << OFFSET_BITS) + offset, -1)

    def branched(self, section: int, resolved: Sequence[Ints]) -> Iterator[Use]:
        """The uses of clones by branches in `section` that no relocation at the offsets `resolved` explains."""
        goals = self._goals(section)
        if not goals:
            return
        fields = np.concatenate(resolved) if resolved else None
        targets = np.array(sorted(goals), np.int64)
        sites, found = branches_to(self._elf.content(section), targets, self._facts, fields)
        for site, goal in zip(sites.tolist(), found.tolist(), strict=True):
            for clone in goals[goal]:
                yield section, site, clone

    def _goals(self, section: int) -> dict[int, list[int]]:
        """Offset from `section` → clones, for what a branch in it can reach without a relocation."""
        if self._elf.relocatable:
            return {entry: clones for (home, entry), clones in self._entries.items() if home == section}
        base = self._elf.sections.address
        here = int(base[section])
        return {int(base[home]) + entry - here: clones for (home, entry), clones in self._entries.items()}


def _key(place: Place) -> int:
    return (place[0] << OFFSET_BITS) + place[1]


def _biases(facts: Architecture) -> Ints:
    """Relocation number → bias, as an array."""
    table = np.zeros(max(facts.relocations) + 1, np.int64)
    for number, kind in facts.relocations.items():
        table[number] = kind.bias
    return table
