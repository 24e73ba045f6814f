"""Where the entities of an object begin and end.

Symbols begin functions and data.  String literals end at a NUL, pool and special-section entries have their
section's entry size.  What is left between them is padding, or bytes without a name, cut where something refers
into them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from klpkit.diff.graph import Flat
from klpkit.diff.names import declared
from klpkit.diff.pool import Ints, Mask, among, distinct, run_starts
from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.elf.special import Role, Special, special

_ENTRIES = (Role.CONSTANTS, Role.SITES, Role.REGISTRY, Role.INFORMATION)
BY_SYMBOL = (Role.TEXT, Role.DATA, Role.RODATA, Role.PIECES, Role.REGISTRY, Role.INFORMATION, Role.UNKNOWN)


class _Relocations(Protocol):
    at: Ints
    section: Ints
    type: Ints
    symbol: Ints
    addend: Ints


class _Symbols(Protocol):
    flat: Ints
    nameless: Mask
    file: Ints


@dataclass(slots=True)
class Starts:
    """The defined entities in flat order; `symbol` is -1 where there is none, `aliases` are further symbols."""

    start: Ints
    end: Ints
    section: Ints
    symbol: Ints
    aliases: dict[int, list[int]]
    flat_of_symbol: Ints
    file_of_symbol: Ints


def entity_starts(elf: ElfFile, flat: Flat, roles: Ints, relocations: _Relocations, symbols: _Symbols) -> Starts:
    """All entities of the kept sections.  Sections whose entry size is unclear become `Role.UNKNOWN`."""
    divided, cut = _divided(elf, flat, roles, relocations)
    rows = _naming(elf, roles, symbols, divided)
    owner, aliases = _primary(elf, symbols.flat, rows)
    gaps = _gaps(elf, flat, roles, symbols.flat, rows, owner, divided)
    aimed = _aimed(roles, relocations, symbols)
    inside = aimed[_uncovered(flat, roles, aimed, owner, gaps, divided)]
    start = distinct(np.concatenate([owner[0], gaps, inside, *cut]))
    section = flat.section_at(start)
    limit = flat.base[section] + flat.sizes[section]
    keep = (start < limit) | (flat.sizes[section] == 0)
    start, section, limit = start[keep], section[keep], limit[keep]
    end = np.minimum(np.append(start[1:], np.iinfo(np.int64).max), limit)
    symbol = _symbol_at(start, *owner)
    return Starts(start, end, section, symbol, _alias_rows(start, aliases), symbols.flat, symbols.file)


def _divided(elf: ElfFile, flat: Flat, roles: Ints, relocations: _Relocations) -> tuple[Mask, list[Ints]]:
    """Which sections are cut into entries, and where each entry starts.

    Addends in entries whose places count from the entry are made to count from the field, as all others do.
    """
    divided = np.zeros(len(roles), dtype=bool)
    cut = _string_starts(elf, flat, roles, divided)
    sections = np.flatnonzero(among(roles, _ENTRIES))
    base, size = flat.base[sections], flat.sizes[sections]
    low, high = np.searchsorted(relocations.at, [base, base + size])
    stated = elf.sections.entry_size[sections].tolist()
    rows = zip(sections.tolist(), base.tolist(), size.tolist(), stated, low.tolist(), high.tolist(), strict=True)
    whole, entries = [], []
    for section, start, length, given, first, end in rows:
        row = special(elf.sections.names[section])
        entry = _entry_size(row, given, length, relocations.at[first:end] - start) if length else 0
        entries.append(entry)
        if entry and row and row.from_entry:
            relocations.addend[first:end] -= (relocations.at[first:end] - start) % entry
        if entry == length:
            whole.append(start)
        elif entry:
            cut.append(np.arange(start, start + length, entry))
    cut.append(np.array(whole, dtype=np.int64))
    found = np.array(entries, dtype=np.int64) > 0
    divided[sections[found]] = True
    unclear = sections[~found]
    roles[unclear[(roles[unclear] == Role.SITES) & (flat.sizes[unclear] > 0)]] = Role.UNKNOWN
    roles[unclear[roles[unclear] == Role.CONSTANTS]] = Role.RODATA
    return divided, cut


def _string_starts(elf: ElfFile, flat: Flat, roles: Ints, divided: Mask) -> list[Ints]:
    sections = np.flatnonzero((roles == Role.STRINGS) & (flat.sizes > 0))
    wide = elf.sections.entry_size[sections] > 1
    roles[sections[wide]] = Role.RODATA
    sections = sections[~wide]
    divided[sections] = True
    if not len(sections):
        return []
    data = np.frombuffer(flat.data, np.uint8)
    spans = zip(flat.base[sections].tolist(), flat.sizes[sections].tolist(), strict=True)
    inner = [np.flatnonzero(data[low : low + size - 1] == 0) + (low + 1) for low, size in spans]
    return [flat.base[sections], *inner]


def _entry_size(row: Special | None, stated: int, size: int, places: Ints) -> int:
    """The size of the entries of a section of `size` bytes: what the object states, or the first that fits.

    `row` is the table's, `places` are those of the section's relocations.
    """
    if row and not stated and (not row.entries or size < 2 * min(row.entries)):
        return size if row.entries else 0
    for entry in ((stated,) if stated else ()) + (row.entries if row else ()):
        if entry <= size + 8 and (stated == entry or _periodic(places, entry, size)):
            return entry
    return 0


def _periodic(places: Ints, entry: int, size: int) -> bool:
    """Whether every entry has its relocations at the same places; the last one may be short of padding."""
    count = -(-size // entry)
    if size % entry and entry - size % entry >= 8:
        return False
    if not len(places):
        return size % entry == 0
    inside = places % entry
    fields = distinct(inside)
    # Each entry begins with its place in code; a field may be absent where it would be empty.
    heads = distinct(places[inside == fields[0]] // entry)
    most = int(np.bincount(places // entry).max())
    return len(heads) == count and len(fields) == most


def _naming(elf: ElfFile, roles: Ints, symbols: _Symbols, divided: Mask) -> Ints:
    """The rows of symbols that begin an entity, ascending by flat position."""
    table = elf.symbols
    section = np.maximum(table.section, 0)
    wanted = (symbols.flat >= 0) & ~symbols.nameless & (table.type != c.STT_FILE)
    wanted &= among(roles[section], BY_SYMBOL) & ~divided[section]
    rows = np.flatnonzero(wanted)
    rows = rows[np.argsort(symbols.flat[rows], kind="stable")]
    # A label without a size inside a sized function is a place in it.
    sized = table.size[rows].astype(np.int64)
    start = symbols.flat[rows]
    typed = table.type[rows] != c.STT_NOTYPE
    cover = np.maximum.accumulate(np.where(typed, start + sized, 0)) if len(rows) else start
    inner = ~typed & (sized == 0) & (np.append(0, cover[:-1])[: len(rows)] > start)
    found: Ints = rows[~inner]
    return found


def _primary(elf: ElfFile, place: Ints, rows: Ints) -> tuple[tuple[Ints, Ints], dict[int, list[int]]]:
    """`(positions, rows)` of one symbol a position, and position → rows of the others there."""
    position = place[rows]
    first = run_starts(position) if len(rows) else np.empty(0, np.int64)
    counts = np.diff(np.append(first, len(rows)))
    chosen = rows[first]
    aliases: dict[int, list[int]] = {}
    names, table = elf.symbols.names, elf.symbols

    def rank(row: int) -> tuple[bool, bool, int, str]:
        bind = int(table.bind[row])
        return (int(table.type[row]) == 0, declared(names[row]) is not None, (2, 0, 1)[min(bind, 2)], names[row])

    for index in np.flatnonzero(counts > 1).tolist():
        here = sorted(rows[first[index] : first[index] + counts[index]].tolist(), key=rank)
        chosen[index] = here[0]
        aliases[int(position[first[index]])] = here[1:]
    return (position[first], chosen), aliases


def _gaps(
    elf: ElfFile, flat: Flat, roles: Ints, place: Ints, rows: Ints, owner: tuple[Ints, Ints], divided: Mask
) -> Ints:
    """Where the bytes begin that no symbol covers."""
    whole = np.flatnonzero(among(roles, BY_SYMBOL) & ~divided & (flat.base >= 0))
    bases = flat.base[whole]
    positions = owner[0]
    if not len(positions):
        return bases
    size = elf.symbols.size[rows].astype(np.int64)
    limit = flat.section_at(place[rows])
    limit = flat.base[limit] + flat.sizes[limit]
    end = np.where((size < 0) | (size > limit - place[rows]), limit, place[rows] + size)
    index = np.searchsorted(positions, place[rows])
    after = np.append(positions[1:], np.iinfo(np.int64).max)
    end = np.where(size == 0, np.minimum(after[index], limit), end)
    furthest = np.zeros(len(positions), np.int64)
    np.maximum.at(furthest, index, end)
    furthest = np.maximum.accumulate(furthest)
    return distinct(np.concatenate([bases, furthest[furthest < after]]))


def _aimed(roles: Ints, relocations: _Relocations, symbols: _Symbols) -> Ints:
    """The flat positions that references through nameless symbols aim at."""
    place = symbols.flat[relocations.symbol]
    use = symbols.nameless[relocations.symbol] & (place >= 0)
    aim = np.where(use, place + relocations.addend, -1)
    # Relative jump tables count from the table, not from the entry: their sums are no places in code.
    table = among(roles[relocations.section], (Role.RODATA, Role.CONSTANTS))
    return distinct(aim[use & ~table])


def _uncovered(flat: Flat, roles: Ints, aimed: Ints, owner: tuple[Ints, Ints], gaps: Ints, divided: Mask) -> Mask:
    """Which aimed positions lie in bytes without a symbol (or in code pieces, which are cut at every aim)."""
    if not len(aimed):
        return np.zeros(0, dtype=bool)
    section = flat.section_at(aimed)
    valid = (aimed >= flat.base[section]) & (aimed < flat.base[section] + flat.sizes[section]) & ~divided[section]
    named = np.searchsorted(owner[0], aimed, side="right") - 1
    gap = np.searchsorted(gaps, aimed, side="right") - 1
    last_named = np.where(named >= 0, owner[0][np.maximum(named, 0)] if len(owner[0]) else -1, -1)
    last_gap = np.where(gap >= 0, gaps[np.maximum(gap, 0)] if len(gaps) else -1, -1)
    free = (last_gap >= flat.base[section]) & (last_gap > last_named)
    pieces = roles[section] == Role.PIECES
    found: Mask = valid & among(roles[section], BY_SYMBOL) & (free | pieces)
    return found


def _symbol_at(start: Ints, positions: Ints, rows: Ints) -> Ints:
    symbol = np.full(len(start), -1, np.int64)
    if len(positions):
        index = np.clip(np.searchsorted(positions, start), 0, len(positions) - 1)
        hit = positions[index] == start
        symbol[hit] = rows[index[hit]]
    return symbol


def _alias_rows(start: Ints, aliases: dict[int, list[int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for position, rows in aliases.items():
        index = int(np.searchsorted(start, position))
        if index < len(start) and int(start[index]) == position:
            found[index] = rows
    return dict(found)
