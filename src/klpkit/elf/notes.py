"""Notes and section groups: small tables inside sections."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from klpkit.elf.constants import GRP_COMDAT
from klpkit.elf.layout import Buffer, Layout, table
from klpkit.errors import FormatError


@dataclass(frozen=True, slots=True)
class Note:
    """One note: `name` of its owner (`GNU`, `Linux`), `type` as the owner defines it, `content`."""

    name: str
    type: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Group:
    """A section group: its own section number, its signature symbol's row and its member sections."""

    section: int
    symbol: int
    comdat: bool
    members: tuple[int, ...]


def notes(data: Buffer, align: int, order: str, *, path: object, place: str) -> Iterator[Note]:
    """The notes in the section content `data`; entries are padded to 4 bytes, or to 8 where `align` is 8."""
    pad = 8 if align == 8 else 4
    at = 0
    while at < len(data):
        if at + 12 > len(data):
            raise FormatError(path, f"{place}+{at:#x}", "a note is cut short")
        name_size, size, kind = struct.unpack_from(f"{order}III", data, at)
        start = _padded(at + 12 + name_size, pad)
        if start + size > len(data):
            raise FormatError(path, f"{place}+{at:#x}", "a note reaches past the end of its section")
        name = bytes(data[at + 12 : at + 12 + name_size]).rstrip(b"\0").decode("ascii", "backslashreplace")
        yield Note(name, kind, bytes(data[start : start + size]))
        at = _padded(start + size, pad)


def _padded(value: int, align: int) -> int:
    return -(-value // align) * align


def group(data: Buffer, section: int, symbol: int, sections: int, layout: Layout, *, path: object) -> Group:
    """The group in section number `section`, whose content is `data`."""
    place = f"section {section} (group)"
    words = table(data, layout.word, 4, path=path, place=place).astype(np.int64)
    if not len(words):
        raise FormatError(path, place, "has no flag word")
    members = tuple(words[1:].tolist())
    if any(not 0 < member < sections for member in members):
        raise FormatError(path, place, "names a section that is not there")
    return Group(section, symbol, bool(words[0] & GRP_COMDAT), members)
