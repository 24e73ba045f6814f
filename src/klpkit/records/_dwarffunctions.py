"""Which function a DIE means: the source function behind clones, copies and inlined calls, and its names.

DWARF 5, sections 3.3.8 (inlining, abstract and concrete instances) and 2.13.2 (declarations completed elsewhere).
A concrete subprogram and an inlined call refer to the abstract instance with `DW_AT_abstract_origin`, a definition
to its declaration with `DW_AT_specification`; what a DIE does not say itself is said by the one that it refers to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from klpkit.records import _dwarfforms as d
from klpkit.records._dwarfbytes import Section, members, sorted_once
from klpkit.records._dwarfshapes import Shapes
from klpkit.records._dwarfunits import Units
from klpkit.records._dwarfvalues import ABSENT, Values

Ints = npt.NDArray[np.int64]

FILE_SHIFT = 32

# No compiler chains more references than clone, abstract instance, declaration.
MAX_CHAIN = 16

_READ = (
    d.AT_LINKAGE_NAME, d.AT_MIPS_LINKAGE_NAME, d.AT_NAME, d.AT_DECL_FILE, d.AT_DECL_LINE, d.AT_DECL_COLUMN,
    d.AT_CALLING_CONVENTION, d.AT_INLINE, d.AT_ABSTRACT_ORIGIN, d.AT_SPECIFICATION,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Functions:
    """Subprograms, one row each, sorted by `position`; other columns are resolved through references.

    `root` is the row of the source function that each is an instance of, itself where it is none.  `name` and
    `linkage` are strings as `Values.text` takes them, `file` is `unit << FILE_SHIFT | number`; `ABSENT` where
    unknown.  `convention` and `inline` are `DW_AT_calling_convention` and `DW_AT_inline`.
    """

    position: Ints
    unit: Ints
    root: Ints
    name: Ints
    linkage: Ints
    file: Ints
    line: Ints
    column: Ints
    convention: Ints
    inline: Ints

    def rows(self, position: Ints) -> Ints:
        """The rows of the subprograms at `position`, all of which are there."""
        return np.searchsorted(self.position, position)


def read_functions(info: Section, units: Units, shapes: Shapes, values: Values, positions: Ints) -> Functions:
    """The subprograms at `positions` and all that they refer to.

    `FormatError` where a reference leads nowhere, to something else or in a circle.
    """
    columns = _closure(info, units, shapes, values, positions)
    position = columns.pop("position")
    origin, specification = columns.pop("origin"), columns.pop("specification")
    link = _rows(position, np.where(origin == ABSENT, specification, origin))
    pointer = link
    for _ in range(MAX_CHAIN):
        if (pointer == ABSENT).all():
            break
        for name in ("name", "linkage", "file", "line", "column", "convention", "inline"):
            inherited = np.where(pointer == ABSENT, ABSENT, columns[name].take(pointer))
            columns[name] = np.where(columns[name] == ABSENT, inherited, columns[name])
        pointer = np.where(pointer == ABSENT, ABSENT, link.take(pointer))
    if (pointer != ABSENT).any():
        raise info.error(
            int(position[np.argmax(pointer != ABSENT)]), "references between functions go in a circle"
        )
    return Functions(position=position, root=_roots(_rows(position, origin)), **columns)


def _closure(info: Section, units: Units, shapes: Shapes, values: Values, positions: Ints) -> dict[str, Ints]:
    """The attributes of the DIEs at `positions` and of all that they refer to, sorted by position."""
    parts: list[dict[str, Ints]] = []
    todo = known = sorted_once(positions)
    while todo.size:
        unit = _unit_of(info, units, todo)
        shape, _ = values.shape(todo, unit)
        wrong = shapes.tag.take(shape) != d.TAG_SUBPROGRAM
        if wrong.any():
            raise info.error(int(todo[np.argmax(wrong)]), "not the subprogram that a reference says it is")
        parts.append(_attributes(values, todo, unit))
        links = np.concatenate([parts[-1]["origin"], parts[-1]["specification"]])
        links = sorted_once(links[links != ABSENT])
        todo = links[~members(links, known)]
        known = np.sort(np.concatenate([known, todo]))
    if not parts:
        parts.append(_attributes(values, known, known))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(joined["position"], kind="stable")
    return {name: column.take(order) for name, column in joined.items()}


def _attributes(values: Values, position: Ints, unit: Ints) -> dict[str, Ints]:
    read = values.read(position, unit, _READ)
    linkage, file = read[d.AT_LINKAGE_NAME], read[d.AT_DECL_FILE]
    return {
        "position": position,
        "unit": unit,
        "name": read[d.AT_NAME],
        "linkage": np.where(linkage == ABSENT, read[d.AT_MIPS_LINKAGE_NAME], linkage),
        "file": np.where(file == ABSENT, ABSENT, unit << FILE_SHIFT | file),
        "line": read[d.AT_DECL_LINE],
        "column": read[d.AT_DECL_COLUMN],
        "convention": read[d.AT_CALLING_CONVENTION],
        "inline": read[d.AT_INLINE],
        "origin": read[d.AT_ABSTRACT_ORIGIN],
        "specification": read[d.AT_SPECIFICATION],
    }


def _unit_of(info: Section, units: Units, position: Ints) -> Ints:
    unit = units.at(position)
    if (unit == ABSENT).any():
        raise info.error(int(position[np.argmax(unit == ABSENT)]), "a reference to outside of all units with code")
    return unit


def _rows(position: Ints, wanted: Ints) -> Ints:
    return np.where(wanted == ABSENT, ABSENT, np.searchsorted(position, wanted))


def _roots(origin: Ints) -> Ints:
    """The end of each chain of abstract origins; they are known to end."""
    root = np.arange(len(origin))
    while True:
        further = origin.take(root)
        if (further == ABSENT).all():
            return root
        root = np.where(further == ABSENT, root, further)
