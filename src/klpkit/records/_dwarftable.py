"""Making an effect table of DWARF's functions: names of units and files, equal functions as one row."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from klpkit.records import _dwarfforms as d
from klpkit.records._dwarffunctions import FILE_SHIFT, Functions
from klpkit.records._dwarflines import FileTables
from klpkit.records._dwarfsections import DebugSections
from klpkit.records._dwarfunits import Units
from klpkit.records._dwarfvalues import ABSENT, Values
from klpkit.records.causes import cause_code
from klpkit.records.model import Strings
from klpkit.records.suffixes import ancestry

Ints = npt.NDArray[np.int64]


class Names:
    """Units, symbols and files as indexes of one pool of strings."""

    def __init__(self, sections: DebugSections, units: Units, values: Values) -> None:
        self.strings = Strings([""])
        self._units = units
        self._values = values
        self._files = FileTables(sections)

    def text(self, string: int) -> str:
        return "" if string == ABSENT else self._values.text(string)

    def symbols(self, functions: Functions, rows: Ints) -> Ints:
        """The indexes of the assembler names that DIEs give themselves, a place where one has no name."""
        linkage = functions.linkage.take(rows)
        string = np.where(linkage == ABSENT, functions.name.take(rows), linkage)
        used, which = np.unique(string, return_inverse=True)
        index = self.add([self.text(name) for name in used.tolist()])[which.reshape(-1)]
        for row in np.flatnonzero(index == 0).tolist():
            index[row] = self.strings.add(f"<unnamed at {int(functions.position[rows[row]]):#x}>")
        return index

    def add(self, texts: Sequence[str]) -> Ints:
        """The indexes of `texts`."""
        add = self.strings.add
        return np.array([add(text) for text in texts], np.int64)

    def units(self, rows: Ints) -> Ints:
        """The indexes of the names of the units in `rows`."""
        used, which = np.unique(rows, return_inverse=True)
        return self.add([self._unit_names[row] for row in used.tolist()])[which.reshape(-1)]

    @cached_property
    def _unit_names(self) -> list[str]:
        """The source file of each unit, as short as keeps units apart."""
        columns = self._units.values
        names = [self.text(name) or "<unnamed unit>" for name in columns[d.AT_NAME].tolist()]
        folders = [self.text(folder) for folder in columns[d.AT_COMP_DIR].tolist()]
        twice = Counter(names)
        pairs = zip(folders, names, strict=True)
        names = [posixpath.join(folder, name) if twice[name] > 1 else name for folder, name in pairs]
        twice, seen = Counter(names), Counter[str]()
        for row, name in enumerate(names):
            seen[name] += 1
            if twice[name] > 1:
                names[row] = f"{name} #{seen[name]}"
        return names

    def files(self, keys: Ints) -> Ints:
        """The indexes of the paths of files known as `unit << FILE_SHIFT | number`, of "" where not known."""
        used, which = np.unique(keys, return_inverse=True)
        unit, number = used >> FILE_SHIFT, used & ((1 << FILE_SHIFT) - 1)
        index = np.zeros(len(used), np.int64)
        table = np.where(used == ABSENT, ABSENT, self._units.values[d.AT_STMT_LIST].take(unit))
        known = np.flatnonzero(table != ABSENT)
        index[known] = self.add(self._files.paths(table[known], number[known]))
        return index[which.reshape(-1)]


def clone_causes(symbol: str, source: str) -> list[int]:
    """The codes of the causes that made `symbol` out of the function `source`, as its suffixes tell."""
    causes: dict[int, None] = {}
    for name, cause in ancestry(symbol):
        causes[cause_code(cause)] = None
        if name == source:
            return list(causes)
    return [cause_code("clone")]


def distinct(columns: Sequence[Ints]) -> tuple[Ints, Ints]:
    """Rows of `columns` as one each: where each distinct row first is, and which of these each row is."""
    key = np.zeros(len(columns[0]), np.int64)
    span = 1
    for column in columns:
        low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
        if span * (high - low + 1) >= 1 << 62:
            key = np.unique(key, return_inverse=True)[1].reshape(-1)
            span = len(key) + 1
        key = key * (high - low + 1) + (column - low)
        span *= high - low + 1
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    return first, which.reshape(-1)
