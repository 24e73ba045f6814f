"""The units of `.debug_info`: their headers and what their first DIE says for all of the unit.

DWARF 5, sections 7.5.1 (headers of versions 2 to 5) and 3.1.  Type units hold no code and are passed over.  What
lies in another file (split units, `.dwo`) is refused: it would be missing from the answer.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from klpkit.errors import RefusedError
from klpkit.records._dwarfbytes import Section
from klpkit.records._dwarfforms import Format

Ints = npt.NDArray[np.int64]

DWARF64 = 0xFFFFFFFF
UT_COMPILE, UT_TYPE, UT_PARTIAL, UT_SKELETON, UT_SPLIT_COMPILE, UT_SPLIT_TYPE = 1, 2, 3, 4, 5, 6

# Languages in which nothing below a type is code: C in its versions, and assembler.
C_LANGUAGES = (0x01, 0x02, 0x0C, 0x1D, 0x2C, 0x31, 0x8001)


@dataclass(frozen=True, slots=True)
class Header:
    """A unit's header: `start` and `end` are offsets in the section, `die` is that of its first DIE."""

    start: int
    end: int
    die: int
    abbreviations: int
    format: Format


@dataclass(slots=True)
class Units:
    """All units with DIEs that can describe code, one row a unit, in the order of the section.

    `start`, `end` and `die` are offsets in `.debug_info`; `table` is the base of the abbreviation table in
    `Shapes.tables`.  The other columns come from the unit's first DIE: `values` keeps them by attribute.
    """

    headers: list[Header]
    start: Ints
    end: Ints
    die: Ints
    table: Ints
    values: dict[int, Ints] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.headers)

    def at(self, position: Ints) -> Ints:
        """The rows of the units that hold `position`, -1 for none."""
        row = np.searchsorted(self.start, position, side="right") - 1
        inside = (row >= 0) & (position < self.end.take(row)) & (position >= self.die.take(row))
        return np.where(inside, row, -1)


def read_headers(info: Section) -> list[Header]:
    """The headers of all units but type units; `FormatError` where they do not fill the section."""
    headers = []
    at = 0
    while at < len(info):
        header, at = _header(info, at)
        if header:
            headers.append(header)
    return headers


def _header(info: Section, start: int) -> tuple[Header | None, int]:
    """The header at `start`, None for a type unit, and where the unit ends."""
    at, offset_size, length = start + 4, 4, info.number(start, 4)
    if length == DWARF64:
        at, offset_size, length = start + 12, 8, info.number(start + 4, 8)
    end = at + length
    if end > len(info) or length < 7:
        raise info.error(start, f"a unit of {length} bytes where {len(info) - at} are left")
    version = info.number(at, 2)
    if not 2 <= version <= 5:
        raise RefusedError("dwarf-version", f"{info.path}: DWARF version {version}", hint="compile with -gdwarf-5")
    kind = UT_COMPILE
    fields = struct.Struct(info.order + ("BB" if version == 5 else "") + ("Q" if offset_size == 8 else "I"))
    if version == 5:
        kind, address_size, abbreviations = fields.unpack_from(info.data, at + 2)
        die = at + 2 + fields.size
    else:
        (abbreviations,) = fields.unpack_from(info.data, at + 2)
        address_size = info.number(at + 2 + fields.size, 1)
        die = at + 3 + fields.size
    if kind == UT_TYPE:
        return None, end
    _check_kind(info, start, kind, address_size)
    return Header(start, end, die, abbreviations, Format(version, offset_size, address_size)), end


def _check_kind(info: Section, start: int, kind: int, address_size: int) -> None:
    if kind in (UT_SKELETON, UT_SPLIT_COMPILE, UT_SPLIT_TYPE):
        raise split_refused(info.path)
    if kind not in (UT_COMPILE, UT_PARTIAL):
        raise info.error(start, f"unknown unit type {kind}")
    if address_size not in (4, 8):
        raise info.error(start, f"addresses of {address_size} bytes")


def split_refused(path: object) -> RefusedError:
    """The refusal of DWARF whose better part is in `.dwo` files."""
    return RefusedError(
        "dwarf-split",
        f"{path}: its debug information is split into .dwo files, which klpkit does not read",
        hint="compile without -gsplit-dwarf",
    )


def columns(headers: list[Header], tables: list[int]) -> Units:
    """The units of `headers`, whose abbreviation tables have the bases `tables`."""
    rows = np.array([(h.start, h.end, h.die, t) for h, t in zip(headers, tables, strict=True)], np.int64)
    start, end, die, table = (np.ascontiguousarray(column) for column in rows.reshape(-1, 4).T)
    return Units(headers, start, end, die, table)
