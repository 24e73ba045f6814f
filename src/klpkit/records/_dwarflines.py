"""The file tables of `.debug_line`: which file a unit means by a number (DWARF 4 and 5, section 6.2.4).

Only the header of a line number program is read.  Files are numbered from 0 in version 5, from 1 before.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from klpkit.records import _dwarfforms as d
from klpkit.records._dwarfbytes import Section
from klpkit.records._dwarfforms import Ending, Format
from klpkit.records._dwarfsections import DebugSections
from klpkit.records._dwarfshapes import leb

Ints = npt.NDArray[np.int64]

# Content types of an entry (DW_LNCT_…).
PATH, DIRECTORY = 1, 2

# A name is known by its section and its offset there: `pool << POOL_SHIFT | offset`; `NOTHING` has none.
POOL_SHIFT = 48
POOLS = (".debug_line", ".debug_str", ".debug_line_str")
_POOL_OF_FORM = {d.FORM_STRING: 0, d.FORM_STRP: 1, d.FORM_LINE_STRP: 2}
NOTHING = -1


@dataclass(frozen=True, slots=True)
class _Entries:
    """Directories or files by number: the name of each, and the number of the directory that it is in."""

    names: Ints
    directories: Ints


class FileTables:
    """The file tables of one file's units."""

    def __init__(self, sections: DebugSections) -> None:
        self._sections = sections
        self._line = sections[".debug_line"]
        self._tables: dict[int, tuple[_Entries, _Entries]] = {}
        self._paths: dict[tuple[int, int], str] = {}

    def paths(self, table: Ints, number: Ints) -> list[str]:
        """The paths of files by number in the tables at offset `table` (in order); empty where there is none.

        Directories are as the compiler was given them; those that are not absolute start at the unit's
        compilation directory.
        """
        found: list[str] = []
        cuts = np.flatnonzero(np.diff(table)) + 1
        for start, numbers in zip([0, *cuts.tolist()], np.split(number, cuts), strict=True):
            if numbers.size:
                found += self._paths_of(int(table[start]), numbers)
        return found

    def _paths_of(self, table: int, number: Ints) -> list[str]:
        if table not in self._tables:
            self._tables[table] = _read_table(self._line, table)
        directories, files = self._tables[table]
        inside = number < len(files.names)
        row = np.where(inside, number, 0)
        if not len(files.names):
            return [""] * len(number)
        directory = files.directories.take(row)
        if (directory >= max(1, len(directories.names))).any():
            raise self._line.error(table, "a file in a directory that is not in the table")
        # Directory 0 is the compilation directory, left out.
        folder = np.where(directory > 0, directories.names.take(directory), NOTHING) if directory.any() else None
        folders = [NOTHING] * len(row) if folder is None else folder.tolist()
        names = np.where(inside, files.names.take(row), NOTHING).tolist()
        return [self._path(key) for key in zip(folders, names, strict=True)]

    def _path(self, key: tuple[int, int]) -> str:
        known = self._paths.get(key)
        if known is None:
            folder, name = (self._text(string) for string in key)
            known = self._paths[key] = posixpath.join(folder, name) if name else ""
        return known

    def _text(self, string: int) -> str:
        if string == NOTHING:
            return ""
        return self._sections[POOLS[string >> POOL_SHIFT]].string(string & ((1 << POOL_SHIFT) - 1))


def _read_table(line: Section, offset: int) -> tuple[_Entries, _Entries]:
    """The directories and the files of the line number program at `offset`."""
    offset_size, at = 4, offset + 4
    if line.number(offset, 4) == 0xFFFFFFFF:
        offset_size, at = 8, offset + 12
    version = line.number(at, 2)
    if not 2 <= version <= 5:
        raise line.error(offset, f"a line number table of version {version}")
    # Version 5: address_size and segment_selector_size; then header_length.
    at += 2 + (2 if version == 5 else 0) + offset_size
    # minimum_instruction_length, maximum_operations_per_instruction (from version 4), default_is_stmt, line_base,
    # line_range; then opcode_base and the lengths of that many opcodes less one.
    at += 5 if version >= 4 else 4
    at += line.number(at, 1)
    if version < 5:
        return _old_entries(line, at)
    kind = Format(version, offset_size, address_size=8)
    directories, at = _entries(line, at, kind)
    return directories, _entries(line, at, kind)[0]


@dataclass(frozen=True, slots=True)
class _Field:
    """One value of every entry: what it is, its form, its size (None where it varies)."""

    content: int
    form: int
    size: int | None


def _entries(line: Section, at: int, kind: Format) -> tuple[_Entries, int]:
    """The directory or file entries of version 5 at `at`, and where they end."""
    count = line.number(at, 1)
    at += 1
    fields = []
    for _ in range(count):
        content, at = leb(line.data, at)
        form, at = leb(line.data, at)
        fields.append(_Field(content, form, kind.size(form)))
    count, at = leb(line.data, at)
    if count > len(line):
        raise line.error(at, f"a table of {count} files")
    return _uniform(line, at, fields, count) or _one_by_one(line, at, fields, count)


def _uniform(line: Section, at: int, fields: list[_Field], count: int) -> tuple[_Entries, int] | None:
    """The entries at once, where all have the same size because every LEB128 number has one byte."""
    size = sum(1 if field.size is None else field.size for field in fields)
    if not size or at + size * count > len(line):
        return None
    starts = at + size * np.arange(count)
    names = np.full(count, NOTHING, np.int64)
    directories = np.zeros(count, np.int64)
    offset = 0
    for field in fields:
        width = 1 if field.size is None else field.size
        place = starts + offset
        if field.size is None and d.VARIABLE[field.form] != Ending.LEB:
            return None
        if field.size is None and (line.bytes.take(place) >= 0x80).any():
            return None
        if field.content == PATH:
            if field.form not in (d.FORM_STRP, d.FORM_LINE_STRP):
                return None
            names = line.unsigned(place, width) | _POOL_OF_FORM[field.form] << POOL_SHIFT
        elif field.content == DIRECTORY:
            directories = line.unsigned(place, width)
        offset += width
    return _Entries(names, directories), at + size * count


def _one_by_one(line: Section, at: int, fields: list[_Field], count: int) -> tuple[_Entries, int]:
    names, directories = [NOTHING] * count, [0] * count
    for row in range(count):
        for field in fields:
            if field.content == PATH:
                names[row] = _name(line, at, field)
            elif field.content == DIRECTORY:
                directories[row] = leb(line.data, at)[0] if field.size is None else line.number(at, field.size)
            at = line.past_one(at, d.VARIABLE[field.form]) if field.size is None else at + field.size
    return _as_entries(names, directories), at


def _name(line: Section, at: int, field: _Field) -> int:
    if field.form == d.FORM_STRING:
        return at
    if field.form not in _POOL_OF_FORM or field.size is None:
        raise line.error(at, f"a file name in form {field.form:#x}")
    return line.number(at, field.size) | _POOL_OF_FORM[field.form] << POOL_SHIFT


def _old_entries(line: Section, at: int) -> tuple[_Entries, _Entries]:
    """The directories and files of versions 2 to 4: lists of strings that an empty one ends; number 0 is none."""
    folders = [NOTHING]
    while line.data[at]:
        folders.append(at)
        at = line.past_one(at, Ending.STRING)
    at += 1
    names, directories = [NOTHING], [0]
    while line.data[at]:
        names.append(at)
        directory, at = leb(line.data, line.past_one(at, Ending.STRING))
        directories.append(directory)
        _, at = leb(line.data, at)
        _, at = leb(line.data, at)
    return _as_entries(folders, [0] * len(folders)), _as_entries(names, directories)


def _as_entries(names: list[int], directories: list[int]) -> _Entries:
    if any(number >= 1 << 62 for number in (*names, *directories)):
        raise IndexError("a number of a directory or name that no table has")
    return _Entries(np.array(names, np.int64), np.array(directories, np.int64))
