"""Effect tables of several sources as one: clone dumps, object files, DWARF.

No two functions are ever merged.  Where two sources speak of the same function, an effect with the cause
`same-function` joins them in both directions, so that a closure that enters one half leaves through the other.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from klpkit.records.model import EffectTable, Ints, Strings, with_joins

_DUMP_TAIL = re.compile(r"(\.[A-Za-z+]+)?\.\d+[itr]\.ipa-clones$")


def unit_stem(unit: str) -> str:
    """What a unit's records are named after: `fs/namei` for `fs/namei.o` and `fs/namei.c.000i.ipa-clones`."""
    return _DUMP_TAIL.sub("", unit).removesuffix(".o").removeprefix("./")


def concat(tables: Sequence[EffectTable], *, unit_key: Callable[[str], str] = unit_stem) -> EffectTable:
    """One table with the functions and effects of all `tables`, in their order.

    Functions of different tables are joined when their symbols are equal, `unit_key` maps their units to the
    same key, and nothing that both know tells them apart: source file (its last component, since records spell
    folders differently) and line, or GCC's order.  A function that knows too little is joined with all that it
    could be, and a warning counts such functions.  Functions of one table are never joined here.
    """
    if len(tables) == 1:
        return tables[0]
    strings = Strings([""])
    numbers = [_renumbered(table, strings) for table in tables]
    starts = np.cumsum([0] + [table.function_count for table in tables]).tolist()
    joined = _stacked(tables, strings, numbers, starts)
    joined.warnings = [text for table in tables for text in table.warnings]
    pairs, ambiguous = _pairs(joined, np.repeat(np.arange(len(tables)), np.diff(starts)), unit_key)
    if ambiguous:
        joined.warnings.append(
            f"{ambiguous} function records could be one of several functions with their symbol; all were joined"
        )
    return with_joins(joined, pairs)


def _renumbered(table: EffectTable, strings: Strings) -> Ints:
    """The indices in `strings` of the table's own strings; behind them -1, so that -1 stays itself."""
    return np.array([*strings.add_all(table.strings), -1], dtype=np.int32)


def _stacked(
    tables: Sequence[EffectTable], strings: Strings, numbers: Sequence[Ints], starts: Sequence[int]
) -> EffectTable:
    """All columns one after another, with strings and rows renumbered."""

    def plain(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(table, name) for table in tables])

    def named(name: str) -> Ints:
        return np.concatenate([own[getattr(table, name)] for table, own in zip(tables, numbers, strict=True)])

    def rows(name: str) -> Ints:
        return np.concatenate(
            [getattr(table, name) + np.int32(start) for table, start in zip(tables, starts, strict=False)]
        )

    removed = [
        table.removed if len(table.removed) else np.zeros(table.function_count, dtype=np.bool_) for table in tables
    ]
    return EffectTable(
        strings=strings,
        unit=named("unit"),
        symbol=named("symbol"),
        order=plain("order"),
        file=named("file"),
        line=plain("line"),
        column=plain("column"),
        body=rows("body"),
        user=rows("user"),
        cause=plain("cause"),
        where_file=named("where_file"),
        where_line=plain("where_line"),
        removed=np.concatenate(removed),
    )


def _pairs(
    table: EffectTable, source: npt.NDArray[np.int64], unit_key: Callable[[str], str]
) -> tuple[list[tuple[int, int]], int]:
    """The rows of different sources that may be one function, and how many rows have several such partners."""
    facts = _Facts(table)
    pairs = []
    ambiguous = 0
    for rows in _shared(table, source, unit_key):
        by_source: dict[int, list[int]] = defaultdict(list)
        for row in rows.tolist():
            by_source[int(source[row])].append(row)
        for own, ours in by_source.items():
            others = [row for other, theirs in by_source.items() if other != own for row in theirs]
            for row in ours:
                partners = [other for other in others if facts.compatible(row, other)]
                ambiguous += len({facts.place(other) for other in partners if facts.file(other)}) > 1
                pairs += [(row, partner) for partner in partners if row < partner]
    return pairs, ambiguous


def _shared(
    table: EffectTable, source: npt.NDArray[np.int64], unit_key: Callable[[str], str]
) -> Iterator[npt.NDArray[np.int64]]:
    """The rows of each unit key and symbol that several sources know, ascending."""
    count = len(table.strings)
    numbers: dict[str, int] = {}
    key_of_unit = np.zeros(count, dtype=np.int64)
    for unit in np.flatnonzero(np.bincount(table.unit, minlength=count)).tolist():
        key_of_unit[unit] = numbers.setdefault(unit_key(table.strings[unit]), len(numbers))
    keys = key_of_unit[table.unit] * count + table.symbol
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    bounds = np.concatenate(([0], np.flatnonzero(keys[1:] != keys[:-1]) + 1, [len(keys)]))
    begins, ends = bounds[:-1], bounds[1:]
    if not len(keys):
        return
    # Rows are ordered by source, and the sort keeps that.
    several = source[order[begins]] != source[order[ends - 1]]
    for begin, end in zip(begins[several].tolist(), ends[several].tolist(), strict=True):
        yield order[begin:end]


class _Facts:
    """What rows know of their functions, looked up one by one."""

    def __init__(self, table: EffectTable) -> None:
        self._table = table
        self._names: dict[int, str] = {}

    def place(self, row: int) -> tuple[int, int]:
        """The index of the source file, and the line."""
        return int(self._table.file[row]), int(self._table.line[row])

    def file(self, row: int) -> str:
        """The last component of the source file, "" where unknown."""
        index = int(self._table.file[row])
        name = self._names.get(index)
        if name is None:
            name = self._names[index] = posixpath.basename(self._table.strings[index])
        return name

    def compatible(self, one: int, other: int) -> bool:
        """Whether nothing that both rows know tells them apart."""
        orders = int(self._table.order[one]), int(self._table.order[other])
        if min(orders) >= 0 and orders[0] != orders[1]:
            return False
        files = self.file(one), self.file(other)
        if not all(files):
            return True
        lines = int(self._table.line[one]), int(self._table.line[other])
        return files[0] == files[1] and (lines[0] == lines[1] or not all(lines))
