"""Line numbers that objects keep in data of a known shape: bug tables, printk and dynamic-debug records.

They are masked in the compared content and read back for the report, so that a line that only moved is told and
everything else in the record still counts.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from klpkit.diff.graph import Graph
from klpkit.diff.pool import among, distinct
from klpkit.elf.special import PRINTK_ENTRY, Line, Role

LAST_LINE = 0xFFFF
"""No source line has a greater number: `struct bug_entry` (asm-generic/bug.h) has 16 bits for every line that the
kernel may warn in.  A number beyond it is none, whatever record or argument it stands in."""


def mask(graph: Graph, data: bytearray) -> dict[int, tuple[int, int, int]]:
    """Zero the line numbers in `data`; entity → `(offset, size, bits)` of the field."""
    found: dict[int, tuple[int, int, int]] = {}
    entities = graph.entities
    sections = entities.section[: entities.defined]
    for number, row in graph.specials.items():
        if row.lines:
            for entity in np.flatnonzero(sections == number).tolist():
                _note(graph, entity, row.lines, found)
    for entity in _printk_entries(graph):
        _note(graph, entity, PRINTK_ENTRY, found)
    for entity in [entity for entity in found if _number(graph, found[entity], entity) > LAST_LINE]:
        del found[entity]
    for entity, (offset, size, bits) in found.items():
        place = int(entities.start[entity]) + offset
        value = int.from_bytes(data[place : place + size], _order(graph))
        data[place : place + size] = (value & ~_mask(graph, size, bits)).to_bytes(size, _order(graph))
    return found


def line_number(graph: Graph, entity: int) -> int:
    """The line number that the record `entity` keeps."""
    return _number(graph, graph.line_fields[entity], entity)


def _number(graph: Graph, field: tuple[int, int, int], entity: int) -> int:
    offset, size, bits = field
    place = int(graph.entities.start[entity]) + offset
    value = int.from_bytes(graph.flat.data[place : place + size], _order(graph))
    wide = value & _mask(graph, size, bits)
    return wide >> (size * 8 - bits) if _order(graph) == "big" else wide


def _printk_entries(graph: Graph) -> list[int]:
    """The records that the printk index points to."""
    references, entities = graph.references, graph.entities
    sections = [s for s in graph.elf.sections.find(".printk_index") if graph.flat.base[s] >= 0]
    if not sections:
        return []
    own = among(entities.section[references.owner], sections)
    targets: list[int] = distinct(references.target[own]).tolist()
    return [entity for entity in targets if entities.role[entity] in (Role.RODATA, Role.DATA)]


def _note(graph: Graph, entity: int, shapes: tuple[Line, ...], found: dict[int, tuple[int, int, int]]) -> None:
    size = graph.size_of(entity)
    if graph.entities.start[entity] >= graph.flat.stored:
        return
    rows = graph.references_of(entity)
    places = set(graph.references.at[rows].tolist())
    for line in shapes:
        if line.entry == size and places.issuperset(line.strings) and not _overlaps(places, line):
            found[entity] = (line.offset, line.size, line.bits)
            return


def _overlaps(places: set[int], line: Line) -> bool:
    return any(line.offset - 3 <= place < line.offset + line.size for place in places)


def _mask(graph: Graph, size: int, bits: int) -> int:
    low = (1 << bits) - 1
    return low << (size * 8 - bits) if _order(graph) == "big" else low


def _order(graph: Graph) -> Literal["little", "big"]:
    return "little" if graph.elf.byte_order == "<" else "big"
