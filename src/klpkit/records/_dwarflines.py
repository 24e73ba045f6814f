"""The file tables of `.debug_line`: which file a unit means by a number (DWARF 4 and 5, section 6.2.4).

Only the header of a line number program is read.  Files are numbered from 0 in version 5, from 1 before.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from klpkit.records import _dwarfforms as d
from klpkit.records._dwarfbytes import Section
from klpkit.records._dwarfforms import Format
from klpkit.records._dwarfsections import DebugSections
from klpkit.records._dwarfshapes import leb

# Content types of an entry (DW_LNCT_…).
PATH, DIRECTORY = 1, 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One directory or file: its name and the directory that it is in."""

    name: str
    directory: int = 0


class FileTables:
    """The file tables of one file's units."""

    def __init__(self, sections: DebugSections) -> None:
        self._sections = sections
        self._line = sections[".debug_line"]
        self._tables: dict[int, _FileTable] = {}
        self._paths: dict[tuple[str, str], str] = {}

    def name(self, table: int, address_size: int, file: int) -> str:
        """The path of file number `file` in the table at offset `table`; empty where it has no such file.

        Directories are as the compiler was given them; those that are not absolute start at the unit's
        compilation directory.
        """
        known = self._tables.get(table)
        if known is None:
            known = self._tables[table] = _FileTable(self._sections, table, address_size)
        entry = known.file(file)
        if entry is None:
            return ""
        key = known.directory(entry.directory), entry.name
        path = self._paths.get(key)
        if path is None:
            path = self._paths[key] = posixpath.join(*key)
        return path


class _FileTable:
    """One line number program's directories and files, read when they are asked for where that is possible."""

    def __init__(self, sections: DebugSections, offset: int, address_size: int) -> None:
        self._sections = sections
        self._line = line = sections[".debug_line"]
        offset_size = 4
        at = offset + 4
        if line.number(offset, 4) == 0xFFFFFFFF:
            offset_size, at = 8, offset + 12
        self.version = line.number(at, 2)
        if not 2 <= self.version <= 5:
            raise line.error(offset, f"a line number table of version {self.version}")
        at += 2
        if self.version == 5:
            address_size = line.number(at, 1)
            at += 2
        self._format = Format(self.version, offset_size, address_size)
        at += offset_size
        # minimum_instruction_length, maximum_operations_per_instruction (from version 4), default_is_stmt,
        # line_base, line_range
        at += 5 if self.version >= 4 else 4
        at += line.number(at, 1)
        if self.version == 5:
            self._directories, at = _entries(sections, line, at, self._format)
            self._files, at = _entries(sections, line, at, self._format)
        else:
            self._directories, self._files = _old_entries(line, at)

    def file(self, number: int) -> Entry | None:
        return self._files[number] if 0 <= number < len(self._files) else None

    def directory(self, number: int) -> str:
        """Directory 0 is the compilation directory, left out."""
        if not number:
            return ""
        if number >= len(self._directories):
            raise self._line.error(0, f"there is no directory {number} in a file table")
        entry = self._directories[number]
        return entry.name if entry else ""


class _Entries:
    """A table of entries of one size: each is decoded when it is asked for."""

    def __init__(self, sections: DebugSections, line: Section, at: int, layout: _Layout, count: int) -> None:
        self._sections = sections
        self._line = line
        self._at = at
        self._layout = layout
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Entry | None:
        return _entry(self._sections, self._line, self._at + number * self._layout.short_size, self._layout)[0]


@dataclass(frozen=True, slots=True)
class _Layout:
    """The values of one entry, as (content type, form).

    `short_size` is the entry's size where each of its numbers at `lebs` has one byte, 0 if it has no such size.
    """

    fields: tuple[tuple[int, int], ...]
    format: Format
    short_size: int
    lebs: tuple[int, ...]


def _entries(
    sections: DebugSections, line: Section, at: int, kind: Format
) -> tuple[_Entries | list[Entry | None], int]:
    """The directory or file entries of version 5 at `at`, and where they end."""
    layout, at = _layout(line, at, kind)
    count, at = leb(line.data, at)
    if count > len(line):
        raise line.error(at, f"a table of {count} files")
    end = at + count * layout.short_size
    if layout.short_size and end <= len(line):
        ends = (line.bytes[at + k : end : layout.short_size] for k in layout.lebs)
        if all(not (bytes_ >= 0x80).any() for bytes_ in ends):
            return _Entries(sections, line, at, layout, count), end
    found: list[Entry | None] = []
    for _ in range(count):
        entry, at = _entry(sections, line, at, layout)
        found.append(entry)
    return found, at


def _layout(line: Section, at: int, kind: Format) -> tuple[_Layout, int]:
    count = line.number(at, 1)
    at += 1
    fields, lebs, size, fixed = [], [], 0, True
    for _ in range(count):
        content, at = leb(line.data, at)
        form, at = leb(line.data, at)
        fields.append((content, form))
        width = kind.size(form)
        if width is None:
            fixed &= d.VARIABLE[form] == d.Ending.LEB
            lebs.append(size)
        size += 1 if width is None else width
    return _Layout(tuple(fields), kind, size if fixed else 0, tuple(lebs)), at


def _entry(sections: DebugSections, line: Section, at: int, layout: _Layout) -> tuple[Entry | None, int]:
    name, directory = "", 0
    for content, form in layout.fields:
        size = layout.format.size(form)
        if content == PATH:
            name = _name(sections, line, at, form, size)
        elif content == DIRECTORY:
            directory = leb(line.data, at)[0] if size is None else line.number(at, size)
        at = line.past_one(at, d.VARIABLE[form]) if size is None else at + size
    return Entry(name, directory), at


def _name(sections: DebugSections, line: Section, at: int, form: int, size: int | None) -> str:
    if form == d.FORM_STRING:
        return line.string(at)
    if form in (d.FORM_STRP, d.FORM_LINE_STRP) and size:
        name = ".debug_str" if form == d.FORM_STRP else ".debug_line_str"
        return sections[name].string(line.number(at, size))
    raise line.error(at, f"a file name in form {form:#x}")


def _old_entries(line: Section, at: int) -> tuple[list[Entry | None], list[Entry | None]]:
    """The directories and files of versions 2 to 4: lists of strings that an empty one ends."""
    directories: list[Entry | None] = [None]
    while line.data[at]:
        end = line.past_one(at, d.Ending.STRING)
        directories.append(Entry(bytes(line.data[at : end - 1]).decode(errors="surrogateescape")))
        at = end
    at += 1
    files: list[Entry | None] = [None]
    while line.data[at]:
        end = line.past_one(at, d.Ending.STRING)
        name = bytes(line.data[at : end - 1]).decode(errors="surrogateescape")
        directory, at = leb(line.data, end)
        _, at = leb(line.data, at)
        _, at = leb(line.data, at)
        files.append(Entry(name, directory))
    return directories, files
