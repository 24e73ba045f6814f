"""Effects as columns: who depends on whose body, why, and where that is written.

An *effect* says "the code of `user` depends on the body of `body`", with a cause (`causes.py`).  One kernel's
dumps hold hundreds of thousands, so a table of effects is a few numpy columns over a table of functions, and a
`Function` or `Effect` object is made only for what is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import numpy.typing as npt

from klpkit.records.causes import CAUSES, cause_code

Ints = npt.NDArray[np.int32]
Codes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a source file; `line` and `column` count from 1, 0 where unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Function:
    """One function: a bare name is never an identity, static names repeat.

    `unit` is what the function is local to: the object, dump or linked image that holds it.  `symbol` is the
    assembler name with its suffixes.  `order` is GCC's number of the call graph node, which tells functions of
    one symbol apart within one LTO dump; -1 where the record has none.
    """

    unit: str
    symbol: str
    location: Location | None = None
    order: int = -1


@dataclass(frozen=True, slots=True)
class Effect:
    """`user`'s code depends on `body`'s body; `cause` is a slug of `causes.CAUSES`."""

    body: Function
    user: Function
    cause: str
    where: Location | None = None


class Strings:
    """A pool of strings, each held once and known by its index.

    A bulk reader hands over the bytes of all its strings at once (`from_bytes`); they become `str` one by one,
    where they are looked at.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._blob = b"\n"
        self._starts: npt.NDArray[np.int64] | None = None
        self._values: list[str] = []
        self._index: dict[str, int] = {}
        for value in values:
            self.add(value)

    @classmethod
    def from_bytes(cls, blob: bytes, starts: npt.NDArray[np.int64]) -> Strings:
        """The strings in `blob`: each between two line feeds, string i from `starts[i]` on, no two equal."""
        pool = cls()
        pool._blob, pool._starts = blob, starts
        return pool

    def to_bytes(self) -> tuple[bytes, npt.NDArray[np.int64]]:
        """The pool in the form that `from_bytes` takes; ValueError for a string that holds a line feed."""
        if self._starts is not None:
            return self._blob, self._starts
        raw = [value.encode(errors="surrogateescape") for value in self._values]
        if any(b"\n" in value for value in raw):
            raise ValueError("a string holds a line feed")
        lengths = np.fromiter((len(value) + 1 for value in raw), dtype=np.int64, count=len(raw))
        return b"\n" + b"".join(value + b"\n" for value in raw), 1 + np.cumsum(lengths) - lengths

    def add(self, value: str) -> int:
        """The index of `value`, new or known."""
        self._thaw()
        index = self._index.setdefault(value, len(self._values))
        if index == len(self._values):
            self._values.append(value)
        return index

    def add_all(self, values: Iterable[str]) -> list[int]:
        """The index of each of `values`, new or known."""
        self._thaw()
        number = self._index.setdefault
        # A new string's index is how many there were before it.
        indices = [number(value, len(self._index)) for value in values]
        self._values += islice(self._index, len(self._values), None)
        return indices

    def find(self, value: str) -> int | None:
        """The index of `value`, None where the pool lacks it."""
        if self._starts is None:
            return self._index.get(value)
        raw = value.encode(errors="surrogateescape")
        place = -1 if b"\n" in raw else self._blob.find(b"\n" + raw + b"\n")
        return int(np.searchsorted(self._starts, place + 1)) if place >= 0 else None

    def _thaw(self) -> None:
        """Turn bytes that were handed over into `str`, all at once."""
        if self._starts is not None:
            self._values = list(self)
            self._index = {value: index for index, value in enumerate(self._values)}
            self._blob, self._starts = b"\n", None

    def __getitem__(self, index: int) -> str:
        if self._starts is None:
            return self._values[index]
        start = int(self._starts[index])
        return self._blob[start : self._blob.index(b"\n", start)].decode(errors="surrogateescape")

    def __len__(self) -> int:
        return len(self._values) if self._starts is None else len(self._starts)

    def __iter__(self) -> Iterator[str]:
        if self._starts is None:
            return iter(self._values)
        # Split as bytes: `str` knows more line ends than the one that separates here.
        raw = self._blob[1:-1].split(b"\n") if len(self._starts) else []
        return (value.decode(errors="surrogateescape") for value in raw)


@dataclass(slots=True)
class EffectTable:
    """Functions and the effects between them.

    Function columns have one row a function: `unit`, `symbol` and `file` index `strings`; `line`, `column` and
    `order` are numbers (0, 0 and -1 where unknown).  Effect columns have one row an effect: `body` and `user`
    are function rows, `cause` a code of `causes.CAUSES`, `where_file` (index into `strings`, -1 for none) and
    `where_line` the place of the call that was inlined, where a record tells it.

    `removed` has one row a function, or none where the records say nothing of the kind: the compiler dropped
    this node before its end.  The symbol may still have code under another node.
    """

    strings: Strings
    unit: Ints
    symbol: Ints
    order: Ints
    file: Ints
    line: Ints
    column: Ints
    body: Ints
    user: Ints
    cause: Codes
    where_file: Ints
    where_line: Ints
    warnings: list[str] = field(default_factory=list)
    removed: Flags = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))

    def __len__(self) -> int:
        """The number of effects."""
        return len(self.body)

    @property
    def function_count(self) -> int:
        return len(self.symbol)

    def rows_of(self, symbol: str) -> Ints:
        """The rows of all functions with `symbol`, in every unit."""
        index = self.strings.find(symbol)
        if index is None:
            return np.zeros(0, dtype=np.int32)
        return np.flatnonzero(self.symbol == index).astype(np.int32)

    def function(self, row: int) -> Function:
        """The function in `row`, as an object."""
        file = self.strings[int(self.file[row])]
        location = Location(file, int(self.line[row]), int(self.column[row])) if file else None
        return Function(
            self.strings[int(self.unit[row])],
            self.strings[int(self.symbol[row])],
            location,
            int(self.order[row]),
        )

    def effect(self, row: int) -> Effect:
        """The effect in `row`, as an object."""
        place = int(self.where_file[row])
        where = Location(self.strings[place], int(self.where_line[row])) if place >= 0 else None
        cause = CAUSES[int(self.cause[row])].slug
        return Effect(self.function(int(self.body[row])), self.function(int(self.user[row])), cause, where)

    def effects(self) -> Iterator[Effect]:
        """Every effect as an object: for small tables and tests."""
        return (self.effect(row) for row in range(len(self)))


def with_joins(table: EffectTable, pairs: Iterable[tuple[int, int]]) -> EffectTable:
    """`table` with `same-function` effects in both directions for every pair of rows."""
    both = sorted({(a, b) for one, other in pairs for a, b in ((one, other), (other, one))})
    columns = np.array(both, dtype=np.int32).reshape(len(both), 2)
    count = len(both)
    return replace(
        table,
        body=np.concatenate((table.body, columns[:, 0])),
        user=np.concatenate((table.user, columns[:, 1])),
        cause=np.concatenate((table.cause, np.full(count, cause_code("same-function"), dtype=np.uint8))),
        where_file=np.concatenate((table.where_file, np.full(count, -1, dtype=np.int32))),
        where_line=np.concatenate((table.where_line, np.zeros(count, dtype=np.int32))),
    )


def with_effects_only(table: EffectTable) -> EffectTable:
    """`table` without the functions that have no part in any effect."""
    kept = np.union1d(table.body, table.user).astype(np.int32)
    renumbered = np.zeros(table.function_count, dtype=np.int32)
    renumbered[kept] = np.arange(len(kept), dtype=np.int32)
    return replace(
        table,
        unit=table.unit[kept],
        symbol=table.symbol[kept],
        order=table.order[kept],
        file=table.file[kept],
        line=table.line[kept],
        column=table.column[kept],
        removed=table.removed[kept] if len(table.removed) else table.removed,
        body=renumbered[table.body],
        user=renumbered[table.user],
    )


class EffectBuilder:
    """Collects functions and effects one at a time and makes a table of them; equal functions become one row."""

    def __init__(self) -> None:
        self._strings = Strings([""])
        self._rows: dict[tuple[int, int, int, int, int, int], int] = {}
        self._effects: dict[tuple[int, int, int, int, int], None] = {}
        self._removed: set[int] = set()
        self._warnings: list[str] = []

    def add_function(self, function: Function) -> int:
        """The row of `function`, new or known."""
        add = self._strings.add
        place = function.location or Location("")
        key = (
            add(function.unit),
            add(function.symbol),
            function.order,
            add(place.file),
            place.line,
            place.column,
        )
        return self._rows.setdefault(key, len(self._rows))

    def add(self, effect: Effect) -> None:
        """Take in `effect` and its two functions; the same effect twice is one."""
        where_file = self._strings.add(effect.where.file) if effect.where else -1
        where_line = effect.where.line if effect.where else 0
        body, user = self.add_function(effect.body), self.add_function(effect.user)
        self._effects[body, user, cause_code(effect.cause), where_file, where_line] = None

    def add_removed(self, function: Function) -> None:
        """Take in that the compiler dropped the node `function` before its end."""
        self._removed.add(self.add_function(function))

    def warn(self, message: str) -> None:
        self._warnings.append(message)

    def table(self) -> EffectTable:
        functions = _columns(list(self._rows), 6)
        effects = _columns(list(self._effects), 5)
        unit, symbol, order, file, line, column = functions
        body, user, cause, where_file, where_line = effects
        removed = np.zeros(len(self._rows) if self._removed else 0, dtype=np.bool_)
        removed[list(self._removed)] = True
        return EffectTable(
            strings=self._strings,
            unit=unit,
            symbol=symbol,
            order=order,
            file=file,
            line=line,
            column=column,
            body=body,
            user=user,
            cause=cause.astype(np.uint8),
            where_file=where_file,
            where_line=where_line,
            warnings=self._warnings,
            removed=removed,
        )


def _columns(rows: Sequence[tuple[int, ...]], width: int) -> list[Ints]:
    array = np.array(rows, dtype=np.int32).reshape(len(rows), width)
    return [np.ascontiguousarray(array[:, i]) for i in range(width)]
