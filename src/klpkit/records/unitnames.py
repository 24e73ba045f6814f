"""Which source file's unit holds an address, without reading the units: `.debug_aranges` and first DIEs only.

DWARF 5, sections 6.1.2 (the table of address ranges) and 3.1.1 (what a unit says of itself).  Compilers list code
there, and rarely data.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from klpkit.elf import ElfFile
from klpkit.records import _dwarfforms as d
from klpkit.records._dwarfbytes import Section
from klpkit.records._dwarfsections import DebugSections
from klpkit.records._dwarfshapes import BAD_SHAPE, Shape, ShapeBuilder, leb
from klpkit.records._dwarfunits import DWARF64, Header, read_headers

_STRINGS = {d.FORM_STRP: ".debug_str", d.FORM_LINE_STRP: ".debug_line_str"}


def unit_names(elf: ElfFile, addresses: Sequence[int]) -> list[str | None]:
    """The source file, as its compiler was told it, of the unit that holds each address; None where not told.

    `FormatError` for broken tables, and `RefusedError` for debug information that is in other files.
    """
    sections = DebugSections(elf)
    aranges = sections[".debug_aranges"]
    try:
        rows = sorted(_ranges(aranges))
        if not rows:
            return [None] * len(addresses)
        headers = {header.start: header for header in read_headers(sections[".debug_info"])}
        units = [_unit_at(rows, address) for address in addresses]
        names = {unit: _name(sections, headers, unit) for unit in {*units}}
    except IndexError as error:
        raise aranges.error(0, "leads past the end of debug information") from error
    return [names[unit] for unit in units]


def _ranges(aranges: Section) -> Iterator[tuple[int, int, int]]:
    """Start, end and unit (its offset in `.debug_info`) of every range."""
    at = 0
    while at < len(aranges):
        start, size, length = at, 4, aranges.number(at, 4)
        at += 4
        if length == DWARF64:
            size, length = 8, aranges.number(at, 8)
            at += 8
        end = at + length
        unit, width = aranges.number(at + 2, size), aranges.number(at + 2 + size, 1)
        if width not in (4, 8) or end > len(aranges):
            raise aranges.error(start, "not a table of address ranges")
        at += 4 + size
        at += -(at - start) % (2 * width)
        for place in range(at, end - 2 * width + 1, 2 * width):
            first, extent = aranges.number(place, width), aranges.number(place + width, width)
            yield first, first + extent, unit
        at = end


def _unit_at(rows: Sequence[tuple[int, int, int]], address: int) -> int:
    """The unit of the last range that begins at or before `address`, -1 if it ends before."""
    row = bisect_right(rows, address, key=lambda each: each[0]) - 1
    return rows[row][2] if row >= 0 and address < rows[row][1] else -1


def _name(sections: DebugSections, headers: Mapping[int, Header], unit: int) -> str | None:
    """What the first DIE of `unit` has as its name."""
    header, info = headers.get(unit), sections[".debug_info"]
    if header is None:
        return None
    code, at = leb(info.data, header.die)
    for attribute, form in _shape(sections, header, code).attributes:
        if attribute == d.AT_NAME:
            return _string(sections, header, form, at)
        at = info.past_one(at, d.VARIABLE[form]) if form in d.VARIABLE else at + (header.format.size(form) or 0)
    return None


def _shape(sections: DebugSections, header: Header, code: int) -> Shape:
    section = sections[".debug_abbrev"]
    builder = ShapeBuilder(bytes(section.data), section.path)
    base = np.array([builder.table(header.abbreviations, header.format, True)])
    shapes = builder.finished()
    row = int(shapes.of(np.array([code]), base, shapes.limit(base))[0])
    if row <= BAD_SHAPE:
        raise section.error(header.abbreviations, f"does not define the code {code}")
    return shapes.shapes[row]


def _string(sections: DebugSections, header: Header, form: int, at: int) -> str | None:
    info = sections[".debug_info"]
    if form == d.FORM_STRING:
        return info.string(at)
    if form in _STRINGS:
        return sections[_STRINGS[form]].string(info.number(at, header.format.offset_size))
    return None
