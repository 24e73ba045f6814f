"""Reads one object into a `Graph`: entities, and references with their targets made plain.

A reference through a section symbol is turned into one to the entity that lies there; where the addend depends on
what follows the field in its instruction, `klpkit.diff.trailing` tells.  Branches that the assembler resolved by
itself, between functions of one section, become references too (`klpkit.diff.branches`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from klpkit.diff import branches, lines_fields
from klpkit.diff.comparable import comparable
from klpkit.diff.graph import LEAD, Entities, Flat, Graph, Kind, Names, References
from klpkit.diff.pieces import Starts, entity_starts
from klpkit.diff.pool import Ints, Pool, among, distinct, run_starts
from klpkit.diff.trailing import trailing_bytes
from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.elf.arch import Architecture
from klpkit.elf.special import Role, role, special
from klpkit.errors import FormatError, RefusedError

GAP = 16

VIA_TABLE = 1 << 16
"""Added to the type of a reference that goes by way of a table of contents."""


@dataclass(slots=True)
class Relocations:
    """All relocations of the kept sections as columns; `at` is the flat position of the field."""

    at: Ints
    section: Ints
    type: Ints
    symbol: Ints
    addend: Ints

    def __len__(self) -> int:
        return len(self.at)

    def pick(self, rows: npt.NDArray[Any]) -> Relocations:
        return Relocations(
            self.at[rows], self.section[rows], self.type[rows], self.symbol[rows], self.addend[rows]
        )


def load(elf: ElfFile, names: Pool, contents: Pool) -> Graph:
    """The graph of one relocatable object; `names` and `contents` are shared with the other side.

    `RefusedError` for objects that hold no comparable code: linked images, LTO bytecode, unknown machines.
    """
    facts = comparable(elf)
    roles = _roles(elf)
    flat = _flat(elf, roles)
    relocations = _relocations(elf, flat, facts)
    symbols = _symbol_columns(elf, flat)
    _bias(elf, flat, relocations, facts)
    starts = entity_starts(elf, flat, roles, relocations, symbols)
    graph = _graph(elf, flat, roles, starts, names, facts)
    _set_pieces_apart(graph)
    graph.references = _references(graph, relocations, symbols)
    data = bytearray(flat.data)
    branches.add(graph, data, relocations.at)
    graph.line_fields = lines_fields.mask(graph, data)
    _check_partners(graph)
    _drop_padding(graph)
    graph.compared = bytes(data)
    graph.entities.content[:] = _contents(graph, graph.compared, contents)
    return graph


def _roles(elf: ElfFile) -> Ints:
    sections = elf.sections
    kinds, flags = sections.type.tolist(), sections.flags.tolist()
    dropped = {c.SHT_NULL, c.SHT_SYMTAB, c.SHT_STRTAB, c.SHT_RELA, c.SHT_REL, c.SHT_GROUP, c.SHT_SYMTAB_SHNDX}
    found = [
        int(Role.DROPPED) if kind in dropped else int(role(name, kind, flag))
        for name, kind, flag in zip(sections.names, kinds, flags, strict=True)
    ]
    return np.array(found, dtype=np.int64)


def _flat(elf: ElfFile, roles: Ints) -> Flat:
    sections = elf.sections
    sizes = sections.size.astype(np.int64)
    kept = roles != Role.DROPPED
    empty = sections.type == c.SHT_NOBITS
    if (kept & (sections.size >= np.uint64(1 << 40))).any():
        raise FormatError(elf.path, "section header table", "a section of more than a terabyte")
    order = np.concatenate([np.flatnonzero(kept & ~empty), np.flatnonzero(kept & empty)])
    filler = bytes(GAP)
    parts: list[bytes | memoryview] = []
    for index in np.flatnonzero(kept & ~empty).tolist():
        parts += (elf.content(index), filler)
    data = filler + b"".join(parts)
    base = np.full(len(sections), -1, dtype=np.int64)
    lengths = sizes[order] + GAP
    base[order] = GAP + np.cumsum(lengths) - lengths
    return Flat(base, order, data, len(data), sizes)


def _relocations(elf: ElfFile, flat: Flat, facts: Architecture) -> Relocations:
    chosen = _relocation_sections(elf, flat)
    rows = np.frombuffer(b"".join([elf.stored(index) for index in chosen.tolist()]), elf.layout.rela)
    counts = elf.sections.size[chosen].astype(np.int64) // elf.layout.rela.itemsize
    target = np.repeat(elf.sections.info[chosen], counts)
    info = rows["info"].astype(np.uint64)
    offset = rows["offset"].astype(np.uint64)
    symbol = (info >> np.uint64(32)).astype(np.int64)
    _check(elf, target, offset, symbol)
    kind = (info & np.uint64(0xFFFFFFFF)).astype(np.int64)
    at = flat.base[target] + offset.astype(np.int64)
    keep = np.flatnonzero(~among(kind, facts.idle))
    keep = keep[np.argsort(at[keep], kind="stable")]
    return Relocations(at, target, kind, symbol, rows["addend"].astype(np.int64)).pick(keep)


def _relocation_sections(elf: ElfFile, flat: Flat) -> Ints:
    """The numbers of the sections with relocations of kept sections, in file order."""
    sections = elf.sections
    rows = np.array(elf.relocation_sections, dtype=np.int64)
    number, size = sections.info[rows], sections.size[rows]

    def refuse(bad: npt.NDArray[np.bool_], problem: str) -> None:
        if bad.any():
            raise FormatError(elf.path, elf.place(int(rows[int(np.argmax(bad))])), problem)

    refuse(number >= len(sections), "there is no such section to relocate")
    rows = rows[(flat.base[number] >= 0) & (size > 0)]
    implicit = rows[sections.type[rows] == c.SHT_REL]
    if len(implicit):
        problem = f"{elf.path}: {elf.place(int(implicit[0]))} keeps addends in the code"
        hint = "no compiler for this architecture writes such objects: give those that it wrote"
        raise RefusedError("implicit-addends", problem, hint=hint)
    width = np.uint64(elf.layout.rela.itemsize)
    refuse(sections.entry_size[rows] != width, "relocations of an unknown size")
    refuse(sections.size[rows] % width != 0, "the last relocation is cut")
    return rows


def _check(elf: ElfFile, target: Ints, offset: npt.NDArray[np.uint64], symbol: Ints) -> None:
    bad = (offset >= elf.sections.size[target]) | (symbol >= len(elf.symbols))
    if bad.any():
        row = int(np.argmax(bad))
        problem = f"a relocation at {int(offset[row]):#x} against symbol {int(symbol[row])} can't be right"
        raise FormatError(elf.path, elf.place(int(target[row])), problem)


@dataclass(slots=True)
class SymbolColumns:
    """Symbols as a diff sees them: `flat` is -1 for symbols that are not in a kept section.

    `nameless` symbols stand for a place, not for an entity: sections and the compiler's own labels.
    """

    flat: Ints
    nameless: npt.NDArray[np.bool_]
    file: Ints


def _symbol_columns(elf: ElfFile, flat: Flat) -> SymbolColumns:
    symbols = elf.symbols
    section = symbols.section
    inside = (section > 0) & (flat.base[np.maximum(section, 0)] >= 0)
    sizes = elf.sections.size[np.maximum(section, 0)]
    beyond = inside & (symbols.value > sizes)
    if beyond.any():
        row = int(np.argmax(beyond))
        raise FormatError(elf.path, f"symbol {row} ({symbols.names[row]})", "lies outside its section")
    value = np.where(inside, symbols.value, np.uint64(0)).astype(np.int64)
    position = np.where(inside, flat.base[np.maximum(section, 0)] + value, -1)
    nameless = symbols.type == c.STT_SECTION
    untyped = np.flatnonzero((symbols.type == c.STT_NOTYPE) & inside & (symbols.bind == c.STB_LOCAL))
    names = symbols.names
    label = [row for row in untyped.tolist() if not names[row] or names[row][0] == "$" or names[row][:2] == ".L"]
    nameless[label] = True
    files = np.where(symbols.type == c.STT_FILE, np.arange(len(symbols)), 0)
    file = np.where(symbols.bind == c.STB_LOCAL, np.maximum.accumulate(files), 0)
    return SymbolColumns(position, nameless, file)


def _bias(elf: ElfFile, flat: Flat, relocations: Relocations, facts: Architecture) -> None:
    """Make `addend` of references in code count from the place that the instruction means."""
    biases = {kind: row.bias for kind, row in facts.relocations.items() if row.bias}
    if not biases:
        return
    code = (elf.sections.flags[relocations.section] & np.uint64(c.SHF_EXECINSTR)) != 0
    size = max(biases) + 2
    bias = np.zeros(size, np.int64)
    bias[list(biases)] = list(biases.values())
    kinds = np.clip(relocations.type, 0, size - 1)
    relocations.addend += np.where(code, bias[kinds], 0)
    if facts.trailing:
        rows = np.flatnonzero(code & among(relocations.type, facts.trailing))
        relocations.addend[rows] += trailing_bytes(elf, flat, relocations.at[rows], relocations.section[rows])


def _graph(elf: ElfFile, flat: Flat, roles: Ints, starts: Starts, names: Pool, facts: Architecture) -> Graph:
    symbols = elf.symbols
    outside = np.flatnonzero((starts.flat_of_symbol < 0) & (symbols.type != c.STT_FILE))
    defined = len(starts.start)
    row = np.concatenate([starts.symbol, outside])
    named = row >= 0
    safe = np.maximum(row, 0)
    all_names = symbols.names
    numbers = np.full(len(row), names.number(""), np.int64)
    numbers[named] = names.numbers([all_names[r] for r in row[named].tolist()])
    kind = np.full(len(row), int(Kind.ANONYMOUS), np.int64)
    of_type = np.full(16, int(Kind.LABEL), np.int64)
    of_type[[c.STT_FUNC, c.STT_GNU_IFUNC]] = Kind.FUNCTION
    of_type[[c.STT_OBJECT, 6, 5]] = Kind.OBJECT
    kind[named] = of_type[symbols.type[safe[named]]]
    section = symbols.section[outside]
    special = {c.SHN_ABS - 0x10000: Kind.ABSOLUTE, c.SHN_COMMON - 0x10000: Kind.COMMON}
    kind[defined:] = [int(special.get(s, Kind.EXTERNAL)) for s in section.tolist()]
    blank = np.zeros(len(outside), np.int64)
    entities = Entities(
        start=np.concatenate([starts.start, blank]),
        end=np.concatenate([starts.end, blank]),
        section=np.concatenate([starts.section, blank]),
        role=np.concatenate([roles[starts.section], np.full(len(outside), int(Role.UNKNOWN))]),
        kind=kind,
        symbol=row,
        name=numbers,
        content=np.full(len(row), -1, np.int64),
        local=named & (symbols.bind[safe] == c.STB_LOCAL),
        file=np.where(named, starts.file_of_symbol[safe], 0),
        defined=defined,
    )
    none = np.empty(0, np.int64)
    empty = References(none, none, none, none, none)
    text = Names(names.things, numbers)
    return Graph(elf, str(elf.path), flat, entities, empty, text, roles, starts.aliases, {}, facts)


def _set_pieces_apart(graph: Graph) -> None:
    """Code without a symbol is a piece of others (arm64 keeps alternatives behind functions), unless it leads
    into a function."""
    entities = graph.entities
    bare = np.flatnonzero((entities.kind == Kind.ANONYMOUS) & (entities.role == Role.TEXT))
    after = np.minimum(bare + 1, len(entities) - 1)
    leads = (entities.kind[after] == Kind.FUNCTION) & (entities.start[after] == entities.end[bare])
    leads &= (after < entities.defined) & (entities.end[bare] - entities.start[bare] <= LEAD)
    entities.role[bare[~leads]] = Role.PIECES


def _references(graph: Graph, relocations: Relocations, symbols: SymbolColumns) -> References:
    """The references behind all relocations."""
    entities = graph.entities
    starts = entities.start[: entities.defined]
    owner = np.searchsorted(starts, relocations.at, side="right") - 1
    target, offset = _targets(graph, relocations, symbols, owner)
    at = relocations.at - starts[owner] if len(owner) else relocations.at
    return _through_tables(graph, References(owner, at, relocations.type, target, offset))


def _through_tables(graph: Graph, references: References) -> References:
    """References by way of an address in a table of contents, as references to what lies there."""
    entities = graph.entities
    tables = [s for name in (".toc", ".got") for s in graph.elf.sections.find(name) if graph.flat.base[s] >= 0]
    if not tables:
        return references
    entry = among(entities.section, tables) & (entities.role == Role.CONSTANTS)
    held = np.bincount(references.owner, minlength=len(entities))
    row_of = np.full(len(entities), -1, np.int64)
    rows = np.flatnonzero(entry[references.owner] & (held[references.owner] == 1) & (references.at == 0))
    row_of[references.owner[rows]] = rows
    through = row_of[references.target]
    use = (through >= 0) & (references.offset == 0) & ~entry[references.owner]
    hop = through[use]
    target, offset, kind = references.target.copy(), references.offset.copy(), references.type.copy()
    target[use], offset[use] = references.target[hop], references.offset[hop]
    kind[use] += VIA_TABLE
    return References(references.owner, references.at, kind, target, offset)


def _targets(graph: Graph, relocations: Relocations, symbols: SymbolColumns, owner: Ints) -> tuple[Ints, Ints]:
    entities, flat = graph.entities, graph.flat
    defined = entities.defined
    starts = entities.start[:defined]
    place = symbols.flat[relocations.symbol]
    nameless = symbols.nameless[relocations.symbol]
    inside = place >= 0
    aim = place + relocations.addend
    aim -= np.where(nameless & inside, _table_skew(graph, relocations, owner), 0)
    section = np.maximum(graph.elf.symbols.section[relocations.symbol], 0)
    low = flat.base[section]
    # A place before the section or past its end belongs to its nearest entity.
    lookup = np.where(nameless, np.clip(aim, low, np.maximum(low, low + flat.sizes[section] - 1)), place)
    lookup -= nameless & _ends(graph, relocations, owner)
    entity = np.searchsorted(starts, lookup, side="right") - 1
    row_of_symbol = np.full(len(graph.elf.symbols), 0, np.int64)
    row_of_symbol[entities.symbol[defined:]] = np.arange(defined, len(entities))
    target = np.where(inside, entity, row_of_symbol[relocations.symbol])
    offset = np.where(inside, aim - (starts[np.maximum(entity, 0)] if defined else 0), relocations.addend)
    return target, offset


def _ends(graph: Graph, relocations: Relocations, owner: Ints) -> npt.NDArray[np.bool_]:
    """Which references mean the last byte before their place."""
    found = np.zeros(len(owner), dtype=bool)
    for number, row in graph.specials.items():
        if row.ends:
            here = np.flatnonzero(relocations.section == number)
            at = relocations.at[here] - graph.entities.start[owner[here]]
            found[here[np.isin(at, row.ends)]] = True
    return found


def _table_skew(graph: Graph, relocations: Relocations, owner: Ints) -> Ints:
    """What to take off the addends in relative jump tables: entries count from the table, not from themselves."""
    entities = graph.entities
    if not len(owner):
        return np.zeros(0, np.int64)
    table = (entities.role[owner] == Role.RODATA) & (entities.kind[owner] == Kind.ANONYMOUS)
    relative = relocations.type == graph.facts.relative32
    return np.where(table & relative, relocations.at - entities.start[owner], 0)


def _drop_padding(graph: Graph) -> None:
    """Take bytes that only fill space between entities out of the comparison.

    Special sections may mark them (ORC: nothing can be unwound here); marks then count from the entity before.
    """
    entities, references = graph.entities, graph.references
    used = np.zeros(len(entities), dtype=bool)
    used[references.owner] = True
    # Fillers of an alternative are what the alternative is.
    pieces = graph.roles[entities.section[references.target]] == Role.PIECES
    leads = (entities.role[references.target] == Role.TEXT) | pieces
    used[references.target[leads | (entities.role[references.owner] != Role.SITES)]] = True
    blank = (entities.kind == Kind.ANONYMOUS) & ~used
    blank &= among(entities.role, (Role.TEXT, Role.DATA, Role.RODATA, Role.PIECES))
    padding = re.compile(graph.facts.padding)
    verdicts: dict[tuple[bool, bytes], bool] = {}
    code = (entities.role == Role.TEXT) | (entities.role == Role.PIECES)
    fillers = []
    for entity in np.flatnonzero(blank).tolist():
        content = bool(code[entity]), graph.bytes_of(entity)
        if content not in verdicts:
            verdicts[content] = bool(padding.fullmatch(content[1])) if content[0] else not content[1].strip(b"\0")
        if verdicts[content]:
            fillers.append(entity)
    entities.role[fillers] = Role.DROPPED
    aimed = entities.role[references.target] == Role.DROPPED
    aimed &= references.target < entities.defined
    for row in np.flatnonzero(aimed).tolist():
        entity = int(references.target[row])
        while entity and entities.role[entity] == Role.DROPPED and _same_section(entities, entity, entity - 1):
            references.offset[row] += int(entities.start[entity] - entities.start[entity - 1])
            entity -= 1
        references.target[row] = entity


def _same_section(entities: Entities, left: int, right: int) -> bool:
    return bool(entities.section[left] == entities.section[right])


def _contents(graph: Graph, data: bytes, contents: Pool) -> Ints:
    """The content number of every entity; equal numbers mean equal bytes and sort of thing."""
    entities = graph.entities
    defined = entities.defined
    starts, ends = entities.start[:defined].tolist(), entities.end[:defined].tolist()
    stored = graph.flat.stored
    found = np.full(len(entities), -1, np.int64)
    for members, rows in _tables(graph, data):
        found[members] = _row_numbers(rows, contents)
    rest = np.flatnonzero(found[:defined] < 0).tolist()
    things: list[Any] = [data[starts[i] : ends[i]] if starts[i] < stored else ends[i] - starts[i] for i in rest]
    found[rest] = contents.numbers(things)
    symbols = graph.elf.symbols
    row = entities.symbol[defined:]
    columns = (symbols.section[row].tolist(), symbols.value[row].tolist(), symbols.size[row].tolist())
    outside = zip(*columns, strict=True)
    found[defined:] = contents.numbers(
        ("value", v, size) if section else "outside" for section, v, size in outside
    )
    return found


def _row_numbers(rows: npt.NDArray[np.uint8], contents: Pool) -> Ints:
    """The content numbers of equal-sized records."""
    packed = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1]))).ravel()
    kinds, inverse = np.unique(packed, return_inverse=True)
    numbers = contents.numbers(record.tobytes() for record in kinds)
    return numbers[inverse]


def _tables(graph: Graph, data: bytes) -> Iterator[tuple[Ints, npt.NDArray[np.uint8]]]:
    """Sections of equal entries: their entities, and the entries' bytes with what goes with them (ORC data)."""
    entities, names = graph.entities, graph.elf.sections.names
    raw = np.frombuffer(data, np.uint8)
    of_section = entities.section[: entities.defined]
    divided = among(entities.role[: entities.defined], (Role.SITES, Role.CONSTANTS, Role.REGISTRY))
    first = run_starts(of_section)
    sections, counts = of_section[first], np.diff(np.append(first, len(of_section)))
    for section, start, count in zip(sections.tolist(), first.tolist(), counts.tolist(), strict=True):
        if not divided[start] or count < 2:
            continue
        members = np.arange(start, start + count)
        if (entities.section[members] != section).any() or not divided[members].all():
            continue
        size = int(entities.end[start] - entities.start[start])
        row = special(names[section])
        partner = _partner(graph, row.partner, count) if row and row.partner else np.zeros((count, 0), np.uint8)
        low, high = int(entities.start[start]), int(entities.end[members[-1]])
        if partner is None or not size or high - low != size * count or high > graph.flat.stored:
            continue
        yield members, np.concatenate([raw[low:high].reshape(count, size), partner], axis=1)


def _partner(graph: Graph, name: str, count: int) -> npt.NDArray[np.uint8] | None:
    """The entries of the section called `name`, one a row, where there are `count` of them."""
    sections = graph.elf.sections.find(name)
    blob = bytes(graph.elf.content(sections[0])) if len(sections) == 1 else b""
    if not blob or len(blob) % count:
        return None
    return np.frombuffer(blob, np.uint8).reshape(count, -1)


def _check_partners(graph: Graph) -> None:
    """Sections whose entries should go with another section's and do not are not understood."""
    entities, names = graph.entities, graph.elf.sections.names
    of_section = np.where(entities.role == Role.SITES, entities.section, -1)
    for section in distinct(of_section[of_section >= 0]).tolist():
        row, members = special(names[section]), np.flatnonzero(of_section == section)
        if row and row.partner and _partner(graph, row.partner, len(members)) is None:
            entities.role[members] = Role.UNKNOWN
