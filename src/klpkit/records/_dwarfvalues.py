"""Attribute values of many DIEs at once, as columns (DWARF 5, section 7.5.4 to 7.5.6)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from klpkit.errors import FormatError, RefusedError
from klpkit.records import _dwarfforms as d
from klpkit.records._dwarfbytes import Section
from klpkit.records._dwarfforms import Ending, Format
from klpkit.records._dwarfsections import DebugSections
from klpkit.records._dwarfshapes import BAD_SHAPE, NULL_SHAPE, Shapes
from klpkit.records._dwarfunits import Units

Ints = npt.NDArray[np.int64]

ABSENT = -1

# A string is known by its section and its offset there: `pool << POOL_SHIFT | offset`.
POOL_SHIFT = 48
POOLS = (".debug_info", ".debug_str", ".debug_line_str")
_POOL_OF_FORM = {d.FORM_STRING: 0, d.FORM_STRP: 1, d.FORM_LINE_STRP: 2}


class Values:
    """Reads attribute values out of one file's DIEs."""

    def __init__(self, sections: DebugSections, units: Units, shapes: Shapes) -> None:
        self._sections = sections
        self._info = sections[".debug_info"]
        self._units = units
        self._shapes = shapes
        self._texts: dict[int, str] = {}

    def shape(self, position: Ints, unit: Ints) -> tuple[Ints, Ints]:
        """The shapes of the DIEs at `position` and where their values start; `unit` holds rows of `Units`."""
        code, values = self._info.leb(position)
        table = self._units.table.take(unit)
        shape = self._shapes.of(code, table, self._shapes.limit(table)).astype(np.int64)
        bad = (shape == BAD_SHAPE) | (shape == NULL_SHAPE)
        if bad.any():
            raise self._info.error(int(position[np.argmax(bad)]), "a reference to where no entry starts")
        return shape, values

    def read(self, position: Ints, unit: Ints, wanted: Iterable[int]) -> dict[int, Ints]:
        """The values of the attributes `wanted` of the DIEs at `position`, `ABSENT` where they have none.

        References become offsets in `.debug_info`, indexes into other sections what stands there, strings what
        `text` takes, addresses their two's complement.
        """
        shape, at = self.shape(position, unit)
        result = {attribute: self._constants(attribute, shape) for attribute in wanted}
        layout = self._shapes.layout.take(shape)
        order = np.argsort(layout, kind="stable")
        cuts = np.flatnonzero(np.diff(layout.take(order))) + 1
        for rows in np.split(order, cuts):
            if rows.size:
                self._read_layout(int(shape[rows[0]]), rows, at.take(rows), unit.take(rows), result)
        return result

    def _constants(self, attribute: int, shape: Ints) -> Ints:
        """The values that shapes keep themselves."""
        used, which = np.unique(shape, return_inverse=True)
        values = [dict(self._shapes.shapes[row].constants).get(attribute, ABSENT) for row in used.tolist()]
        return np.array(values, np.int64)[which.reshape(-1)]

    def _read_layout(self, shape: int, rows: Ints, at: Ints, unit: Ints, result: dict[int, Ints]) -> None:
        """The values of DIEs that store the same attributes in the same way."""
        sample = self._shapes.shapes[shape]
        attributes = sample.attributes
        last = max((i for i, (attribute, _) in enumerate(attributes) if attribute in result), default=-1)
        ahead = 0
        for attribute, form in attributes[: last + 1]:
            size = sample.format.size(form)
            if attribute in result and form != d.FORM_IMPLICIT_CONST:
                at = at + ahead
                result[attribute][rows] = self._value(attribute, form, sample.format, at, unit)
                ahead = 0
            if size is None:
                at = self._info.past(at + ahead, d.VARIABLE[form])
                ahead = 0
            else:
                ahead += size

    def _value(self, attribute: int, form: int, kind: Format, at: Ints, unit: Ints) -> Ints:
        if form in d.ALTERNATE:
            self._refuse("dwarf-alternate-file", "its debug information shares parts with another file (dwz)")
        if form == d.FORM_REF_SIG8:
            self._refuse("dwarf-type-unit-reference", "a function is described in a type unit")
        if form == d.FORM_STRING:
            return at
        raw = self._raw(form, kind, at)
        if raw is None:
            self._unexpected(attribute, form, at)
        if form in d.LOCAL_REFERENCES:
            return self._units.start.take(unit) + raw
        if form in _POOL_OF_FORM:
            return raw | _POOL_OF_FORM[form] << POOL_SHIFT
        if form in d.STRING_INDEXES:
            offset = self._indexed(".debug_str_offsets", (d.AT_STR_OFFSETS_BASE,), kind.offset_size, raw, unit)
            return offset | _POOL_OF_FORM[d.FORM_STRP] << POOL_SHIFT
        if form in d.ADDRESS_INDEXES:
            bases = (d.AT_ADDR_BASE, d.AT_GNU_ADDR_BASE)
            return self._indexed(".debug_addr", bases, kind.address_size, raw, unit)
        if form == d.FORM_RNGLISTX:
            base = self._base((d.AT_RNGLISTS_BASE,), unit)
            return base + self._indexed(".debug_rnglists", (d.AT_RNGLISTS_BASE,), kind.offset_size, raw, unit)
        if form not in d.NUMBERS and form not in (d.FORM_ADDR, d.FORM_REF_ADDR):
            self._unexpected(attribute, form, at)
        return raw

    def _raw(self, form: int, kind: Format, at: Ints) -> Ints | None:
        """The stored number, None for what is no number."""
        size = kind.size(form)
        if size is None:
            if d.VARIABLE[form] != Ending.LEB:
                return None
            return self._info.leb(at, signed=form == d.FORM_SDATA)[0]
        if not size:
            return np.ones(len(at), np.int64)
        return self._info.unsigned(at, size) if size <= 8 else None

    def _base(self, attributes: tuple[int, ...], unit: Ints) -> Ints:
        """Where the tables of units start, by the first of `attributes` that says so."""
        base = np.full(len(unit), ABSENT, np.int64)
        for attribute in attributes:
            column = self._units.values[attribute].take(unit)
            base = np.where(base == ABSENT, column, base)
        if (base == ABSENT).any():
            raise self._info.error(
                int(self._units.start[unit[np.argmax(base == ABSENT)]]), "an index without a base"
            )
        return base

    def _indexed(self, name: str, bases: tuple[int, ...], size: int, index: Ints, unit: Ints) -> Ints:
        section: Section = self._sections[name]
        place = self._base(bases, unit) + index * size
        if ((place < 0) | (index < 0)).any():
            raise IndexError(name)
        return section.unsigned(place, size)

    def text(self, string: int) -> str:
        """The string that `read` gave as `string`."""
        known = self._texts.get(string)
        if known is None:
            pool, offset = string >> POOL_SHIFT, string & ((1 << POOL_SHIFT) - 1)
            known = self._texts[string] = self._sections[POOLS[pool]].string(offset)
        return known

    def _refuse(self, slug: str, problem: str) -> NoReturn:
        raise RefusedError(slug, f"{self._info.path}: {problem}", hint="name a file that dwz has not treated")

    def _unexpected(self, attribute: int, form: int, at: Ints) -> NoReturn:
        problem = f"attribute {attribute:#x} is stored in form {form:#x}"
        error: FormatError = self._info.error(int(at[0]), problem)
        raise error
