"""Abbreviations compiled for walking: what a DIE (debugging information entry) looks like, as rows of arrays.

An abbreviation declaration (DWARF 5, section 7.5.3) gives the tag, whether children follow, and the attributes
with their forms.  Compilers write a table of declarations for each unit, but the same few thousand declarations
come back in all of them: a *shape* is one distinct declaration, and a table maps a unit's abbreviation codes to
shapes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from klpkit.errors import FormatError, RefusedError
from klpkit.records import _dwarfforms as d
from klpkit.records._dwarfforms import Ending, Format

Ints = npt.NDArray[np.int64]

# Codes below 128 index their table directly, a longer code `c` is at `c + LONG_CODES`; 128 to 255 say so.
LONG_CODES = 128
MAX_CODE = 1 << 20
SIBLING_SIZE = 4

# A DIE of these tags holds no code, nor does anything below it in a language without member functions.
_NEVER_CODE = frozenset(
    {d.TAG_ARRAY_TYPE, d.TAG_ENUMERATION_TYPE, d.TAG_SUBROUTINE_TYPE, d.TAG_CALL_SITE, d.TAG_GNU_CALL_SITE}
)
_C_NEVER_CODE = _NEVER_CODE | {d.TAG_STRUCTURE_TYPE, d.TAG_UNION_TYPE, d.TAG_CLASS_TYPE}


class Flag:
    """What walking past a DIE takes besides adding its size; 0 for most.  Plain integers, for speed."""

    RECORD = 1
    """A subprogram or an inlined call."""
    DEPTH = 2
    """The depth changes: children follow, or the list of siblings ends."""
    JUMP = 4
    """What is below is skipped: the offset of the next sibling is stored at `sibling`."""
    PROGRAM = 8
    """Some value has no fixed size: run the shape's program."""
    LONG = 16
    """No shape but a note that the code has more than one byte."""
    BAD = 32
    """No shape but a code that the unit's table does not define."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One abbreviation declaration; `constants` are the values that it keeps itself (`DW_FORM_implicit_const`)."""

    tag: int
    children: bool
    attributes: tuple[tuple[int, int], ...]
    constants: tuple[tuple[int, int], ...]
    format: Format

    @property
    def names(self) -> frozenset[int]:
        return frozenset(attribute for attribute, _ in self.attributes)


@dataclass(slots=True)
class _Columns:
    """One value a shape; see `Shapes`."""

    flags: list[int] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    sibling: list[int] = field(default_factory=list)
    depth: list[int] = field(default_factory=list)
    program: list[int] = field(default_factory=list)
    tag: list[int] = field(default_factory=list)
    layout: list[int] = field(default_factory=list)

    def add(self, flags: int, size: int, sibling: int, depth: int, program: int, tag: int, layout: int) -> None:
        self.flags.append(flags)
        self.size.append(size)
        self.sibling.append(sibling)
        self.depth.append(depth)
        self.program.append(program)
        self.tag.append(tag)
        self.layout.append(layout)


# The first three rows of every column are no declarations.
NULL_SHAPE, LONG_SHAPE, BAD_SHAPE = 0, 1, 2


class ShapeBuilder:
    """Reads abbreviation tables of the section `.debug_abbrev` and collects their shapes."""

    def __init__(self, data: bytes, path: object) -> None:
        self._data = data
        self._path = path
        self._known: dict[tuple[Format, bool], dict[bytes, int]] = {}
        self._tables: dict[tuple[int, Format, bool], int] = {}
        self._codes: list[npt.NDArray[np.int32]] = []
        self._next_base = 0
        self._layouts: dict[tuple[int, tuple[tuple[int, int], ...], Format], int] = {}
        self.shapes: list[Shape] = []
        self.columns = _Columns()
        self.skips: list[int] = [0]
        self.endings: list[int] = [Ending.DONE]
        self.columns.add(Flag.DEPTH, 1, 0, -1, 0, 0, -1)
        self.columns.add(Flag.LONG, 1, 0, 0, 0, 0, -1)
        self.columns.add(Flag.BAD, 1, 0, 0, 0, 0, -1)
        self.shapes += [Shape(0, False, (), (), Format(0, 0, 0))] * 3

    def table(self, offset: int, kind: Format, c_like: bool) -> int:
        """The base of the abbreviation table at `offset`, as units of format `kind` use it.

        `c_like` says that nothing below a type can be code: types are then skipped where they tell their end.
        """
        key = offset, kind, c_like
        base = self._tables.get(key)
        if base is None:
            base = self._tables[key] = self._next_base
            self._read_table(offset, kind, c_like)
        return base

    def _read_table(self, offset: int, kind: Format, c_like: bool) -> None:
        try:
            codes, shapes = self._declarations(offset, kind, c_like)
        except IndexError:
            self._fail(offset, "the table reaches past the end of the section")
        length = 2 * LONG_CODES + max(0, max(codes, default=0) - LONG_CODES + 1)
        table = np.full(length, BAD_SHAPE, np.int32)
        table[LONG_CODES : 2 * LONG_CODES] = LONG_SHAPE
        table[0] = NULL_SHAPE
        where = np.array(codes, np.int64)
        table[np.where(where < LONG_CODES, where, where + LONG_CODES)] = shapes
        self._codes.append(table)
        self._next_base += length

    def _declarations(self, offset: int, kind: Format, c_like: bool) -> tuple[list[int], list[int]]:
        """The codes of one table and the shape of each.

        A declaration ends with two zero bytes, so its bytes up to the first two zeros mostly are all of it and
        serve as the key under which it is known.  Where two zeros come earlier (an implicit constant of 0), it
        is read each time.
        """
        data, known = self._data, self._known.setdefault((kind, c_like), {})
        find = data.find
        codes: list[int] = []
        shapes: list[int] = []
        at = offset
        while code := data[at]:
            at += 1
            if code > 127:
                code, at = self._code(at - 1)
            end = find(b"\0\0", at + 2) + 2
            row = known.get(data[at:end])
            if row is None:
                end, row = self._add(at, kind, c_like)
            at = end
            codes.append(code)
            shapes.append(row)
        return codes, shapes

    def _code(self, at: int) -> tuple[int, int]:
        code, at = leb(self._data, at)
        if code > MAX_CODE:
            problem = f"{self._path}: .debug_abbrev uses the code {code}"
            raise RefusedError("dwarf-abbreviation-code", problem, hint="no known compiler writes such codes")
        return code, at

    def _add(self, start: int, kind: Format, c_like: bool) -> tuple[int, int]:
        """Read the declaration at `start`: where it ends, and its shape."""
        data = self._data
        tag, at = leb(data, start)
        children = data[at]
        at += 1
        attributes: list[tuple[int, int]] = []
        constants: list[tuple[int, int]] = []
        while True:
            attribute, at = leb(data, at)
            form, at = leb(data, at)
            if form == d.FORM_IMPLICIT_CONST:
                value, at = signed_leb(data, at)
                constants.append((attribute, value))
            elif not attribute and not form:
                break
            attributes.append((attribute, form))
        if children > 1 or any(not attribute or not form for attribute, form in attributes):
            self._fail(start, "not an abbreviation declaration")
        known, key = self._known[kind, c_like], data[start:at]
        row = known.get(key)
        if row is None:
            shape = Shape(tag, bool(children), tuple(attributes), tuple(constants), kind)
            row = known[key] = self._add_shape(shape, c_like, start)
        return at, row

    def _add_shape(self, shape: Shape, c_like: bool, place: int) -> int:
        jump = self._jumps(shape, c_like)
        skips, endings = self._program(shape, jump, place)
        flags = 0
        if shape.tag in (d.TAG_SUBPROGRAM, d.TAG_INLINED_SUBROUTINE):
            flags |= Flag.RECORD
        if shape.children and not jump:
            flags |= Flag.DEPTH
        size, sibling = 1, 0
        if set(endings) - {Ending.DONE, Ending.SIBLING}:
            flags |= Flag.PROGRAM
        else:
            size += sum(skips) + (SIBLING_SIZE if jump else 0)
            sibling = 1 + skips[0]
            flags |= Flag.JUMP if jump else 0
        key = shape.tag, shape.attributes, shape.format
        layout = self._layouts.setdefault(key, len(self._layouts))
        depth = int(shape.children and not jump)
        self.columns.add(flags, size, sibling, depth, len(self.skips), shape.tag, layout)
        self.skips += skips
        self.endings += endings
        self.shapes.append(shape)
        return len(self.shapes) - 1

    def _program(self, shape: Shape, jump: bool, place: int) -> tuple[list[int], list[int]]:
        """How to walk over the values: skip so many bytes, then one value of variable size, and so on."""
        skips, endings = [0], []
        for attribute, form in shape.attributes:
            size = self._size(shape.format, form, place)
            if jump and attribute == d.AT_SIBLING:
                endings.append(Ending.SIBLING)
                skips.append(0)
            elif size is None:
                endings.append(d.VARIABLE[form])
                skips.append(0)
            else:
                skips[-1] += size
        return skips, [*endings, Ending.DONE]

    def _size(self, kind: Format, form: int, place: int) -> int | None:
        if form == d.FORM_INDIRECT:
            problem = f"{self._path}: DWARF with DW_FORM_indirect"
            raise RefusedError("dwarf-indirect-form", problem, hint="no known compiler writes this form")
        try:
            return kind.size(form)
        except KeyError:
            self._fail(place, f"unknown form {form:#x}")

    def _jumps(self, shape: Shape, c_like: bool) -> bool:
        tags = _C_NEVER_CODE if c_like else _NEVER_CODE
        return (
            shape.children
            and (d.AT_SIBLING, d.FORM_REF4) in shape.attributes
            and (shape.tag in tags or shape.tag == d.TAG_SUBPROGRAM)
        )

    def _fail(self, offset: int, problem: str) -> NoReturn:
        raise FormatError(self._path, f".debug_abbrev+{offset:#x}", problem, hint="the file is cut or broken")

    def _glide(self, flags: int, size: int, sibling: int) -> int:
        return size if not flags else sibling if flags == Flag.JUMP else 0

    def finished(self) -> Shapes:
        columns = self.columns
        tables = np.concatenate(self._codes) if self._codes else np.zeros(0, np.int32)
        return Shapes(
            shapes=self.shapes,
            tables=tables,
            bounds=np.array([*self._tables.values(), self._next_base], np.int64),
            flags=np.array(columns.flags, np.uint8),
            size=np.array(columns.size, np.int64),
            sibling=np.array(columns.sibling, np.int64),
            back=np.array(columns.size, np.int64) - np.array(columns.sibling, np.int64),
            glide=np.array(
                [self._glide(*row) for row in zip(columns.flags, columns.size, columns.sibling, strict=True)]
            ),
            jumps=np.array(columns.flags, np.uint8) == Flag.JUMP,
            depth=np.array(columns.depth, np.int64),
            program=np.array(columns.program, np.int64),
            tag=np.array(columns.tag, np.int64),
            layout=np.array(columns.layout, np.int64),
            skips=np.array(self.skips, np.int64),
            endings=np.array(self.endings, np.int64),
        )


@dataclass(frozen=True, slots=True)
class Shapes:
    """All shapes as columns, one row a shape.

    `tables[base + code]` is the shape of an abbreviation code (`LONG_CODES`); `bounds` are the bases of all tables
    and the end of the last.  `size` includes one byte of code.  `sibling` is the distance from the DIE to its
    `DW_AT_sibling` value, `back` that from its end back to the value.  `depth` is what the DIE adds to the depth.
    `jumps` says where walking past the DIE takes no more than a jump; `glide` is the distance to the value there,
    the size where that is all that it takes, else 0.
    `program` is the first step of the shape's program: skip `skips[step]` bytes, then one value that ends as
    `endings[step]` says.  Shapes of one `layout` store the same attributes in the same way.
    """

    shapes: list[Shape]
    tables: npt.NDArray[np.int32]
    bounds: Ints
    flags: npt.NDArray[np.uint8]
    size: Ints
    sibling: Ints
    back: Ints
    glide: Ints
    jumps: npt.NDArray[np.bool_]
    depth: Ints
    program: Ints
    tag: Ints
    layout: Ints
    skips: Ints
    endings: Ints

    def limit(self, table: Ints) -> Ints:
        """Where the tables with these bases end."""
        return self.bounds.take(np.searchsorted(self.bounds, table, side="right"))

    def of(self, code: Ints, table: Ints, limit: Ints) -> npt.NDArray[np.int32]:
        """The shapes of codes in abbreviation tables from `table` to `limit`, `BAD_SHAPE` where not defined."""
        slot = table + code + LONG_CODES * (code >= LONG_CODES)
        inside = (slot >= table) & (slot < limit)
        return np.where(inside, self.tables.take(np.where(inside, slot, table)), np.int32(BAD_SHAPE))

    def having(self, attributes: frozenset[int]) -> npt.NDArray[np.bool_]:
        """Of each shape, whether it has one of `attributes`."""
        return np.array([not attributes.isdisjoint(shape.names) for shape in self.shapes])


def leb(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """The unsigned LEB128 number at `at`, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError("a number of more than 64 bits")


def signed_leb(data: bytes, at: int) -> tuple[int, int]:
    """The signed LEB128 number at `at`, and where it ends."""
    value, end = leb(data, at)
    bits = 7 * (end - at)
    return value - (1 << bits) if value >> (bits - 1) else value, end
