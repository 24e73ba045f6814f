"""Effects as columns: who depends on whose body, why, and where that is written.

An *effect* says "the code of `user` depends on the body of `body`", with a cause (`causes.py`).  One kernel's
dumps hold hundreds of thousands, so a table of effects is a few numpy columns over a table of functions, and a
`Function` or `Effect` object is made only for what is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from klpkit.records.causes import CAUSES, cause_code

Ints = npt.NDArray[np.int32]
Codes = npt.NDArray[np.uint8]


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
    """A pool of strings, each held once and known by its index."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: list[str] = []
        self._index: dict[str, int] = {}
        for value in values:
            self.add(value)

    def add(self, value: str) -> int:
        index = self._index.setdefault(value, len(self._values))
        if index == len(self._values):
            self._values.append(value)
        return index

    def find(self, value: str) -> int | None:
        return self._index.get(value)

    def __getitem__(self, index: int) -> str:
        return self._values[index]

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)


@dataclass(slots=True)
class EffectTable:
    """Functions and the effects between them.

    Function columns have one row a function: `unit`, `symbol` and `file` index `strings`; `line`, `column` and
    `order` are numbers (0, 0 and -1 where unknown).  Effect columns have one row an effect: `body` and `user`
    are function rows, `cause` a code of `causes.CAUSES`, `where_file` (index into `strings`, -1 for none) and
    `where_line` the place of the call that was inlined, where a record tells it.
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

    def __len__(self) -> int:
        """The number of effects."""
        return len(self.body)

    @property
    def function_count(self) -> int:
        return len(self.symbol)

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


class EffectBuilder:
    """Collects functions and effects one at a time and makes a table of them; equal functions become one row."""

    def __init__(self) -> None:
        self._strings = Strings([""])
        self._rows: dict[tuple[int, int, int, int, int, int], int] = {}
        self._effects: dict[tuple[int, int, int, int, int], None] = {}
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

    def warn(self, message: str) -> None:
        self._warnings.append(message)

    def table(self) -> EffectTable:
        functions = _columns(list(self._rows), 6)
        effects = _columns(list(self._effects), 5)
        unit, symbol, order, file, line, column = functions
        body, user, cause, where_file, where_line = effects
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
        )


def _columns(rows: Sequence[tuple[int, ...]], width: int) -> list[Ints]:
    array = np.array(rows, dtype=np.int32).reshape(len(rows), width)
    return [np.ascontiguousarray(array[:, i]) for i in range(width)]
