"""Why one function's code relies on another's body: the same comparison with one pass off at a time.

Where both builds are equal once a pass is off in them, that pass carried what one function knew of the other.  The
passes and their switches are those of `klpkit.compilers.passes`; LLVM's have none and are left out of its pipeline
(`pipeline`).  A proof itself never needs a cause.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from klpkit.compilers.flagstate import flag_state, passes_on
from klpkit.compilers.passes import Pass, passes_of
from klpkit.compilers.probe import identify
from klpkit.programs import ProgramFailedError
from klpkit.proof import pipeline
from klpkit.proof.changes import changes
from klpkit.proof.hiding import Pins
from klpkit.proof.refusals import complaint
from klpkit.proof.unit import ProofUnit
from klpkit.records.causes import CAUSES

# In the order in which they are tried: the likely ones first.
FROM_BODY = (
    "ipa-ra", "modref", "pure-const", "nothrow", "isra", "icf", "reference", "range", "bit-cp", "constprop",
    "part", "stack-alignment", "read-only-variable", "profile", "devirtualisation", "pta",
    "attribute-inference", "return-propagation", "argument-removal", "static-variables", "static-aliases",
    "inline",
)  # fmt: skip
FROM_CALLERS = (
    "range", "bit-cp", "constprop", "isra", "part", "profile", "icf", "stack-alignment", "reference",
    "argument-propagation", "argument-removal", "attribute-inference",
)  # fmt: skip

# What a pass without a switch finds, as an attribute: a hidden function that has it tells its callers that alone.
SAYING = {"nothrow": "nothrow"}
# GCC looks for pure functions in a whole program whatever it is told (`in_lto_p` in gcc/ipa-pure-const.cc).
SAYING_IN_LINKS = {"pure-const": "pure"}


def attribute(
    unit: ProofUnit, name: str, symbols: Iterable[str], folder: Path, order: Sequence[str] = FROM_BODY
) -> tuple[dict[str, tuple[str, ...]], int]:
    """`(causes, compilations)`: the passes behind the reliance of each of `symbols` on the body of `name`.

    Causes are slugs of `Pass.slug`, several where a symbol relies on what several passes found; a symbol that no
    pass explains is left out.
    """
    before = unit.compilations.value
    search = _Search(unit, name, folder, _rows(unit, order))
    found = {symbol: search.needed(symbol) for symbol in sorted(set(symbols))}
    return {symbol: slugs for symbol, slugs in found.items() if slugs}, unit.compilations.value - before


def named(kind: str, slugs: Iterable[str]) -> tuple[str, ...]:
    """The causes, slugs of `klpkit.records.causes`, that the passes `slugs` of a compiler's family stand for."""
    rows = {row.slug: row for row in passes_of(kind)}
    known = {cause.slug for cause in CAUSES}
    return tuple(dict.fromkeys(slug if slug in known else rows[slug].cause for slug in slugs))


@dataclass(slots=True)
class _Search:
    """Looks for a smallest set of passes without which a symbol is equal in both builds."""

    unit: ProofUnit
    name: str
    folder: Path
    rows: Sequence[Pass]
    known: dict[tuple[str, ...], set[str]] = field(default_factory=dict)

    def needed(self, symbol: str) -> tuple[str, ...]:
        """The slugs of that set; empty where no set was found."""
        rest = [row for row in self.rows if row.slug != "inline"]
        if not self._first(symbol, [], rest):
            rest = [row for row in rest if row.slug not in self._saying]
        found: list[Pass] = []
        while not found or not self._equal(symbol, found):
            count = self._first(symbol, found, rest)
            if not count:
                alone = (row for row in self.rows if self._equal(symbol, [row]))
                return tuple(row.slug for row in islice(alone, 1))
            found.append(rest[count - 1])
            rest = rest[: count - 1]
        return tuple(row.slug for row in found)

    @property
    def _saying(self) -> dict[str, str]:
        return SAYING | SAYING_IN_LINKS if self.unit.linked else SAYING

    def _first(self, symbol: str, found: Sequence[Pass], rest: Sequence[Pass]) -> int:
        """How many of `rest` must be off beside `found`, from the likely ones on; 0 where all are not enough."""
        if not rest:
            return 0
        low, high = 0, 1
        while high < len(rest) and not self._equal(symbol, [*found, *rest[:high]]):
            low, high = high, 2 * high
        high = min(high, len(rest))
        if not self._equal(symbol, [*found, *rest[:high]]):
            return 0
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._equal(symbol, [*found, *rest[:middle]]) else (middle, high)
        return high

    def _equal(self, symbol: str, rows: Sequence[Pass]) -> bool:
        flags = _off(row for row in self.rows if row in rows)
        says = ", ".join(self._saying[row.slug] for row in rows if row.slug in self._saying)
        key = (*flags, says)
        if key not in self.known:
            pins = {self.name: says} if says else {}
            self.known[key] = _differing(self.unit, self.name, flags, self.folder, pins)
        return symbol not in self.known[key]


def _rows(unit: ProofUnit, order: Sequence[str]) -> list[Pass]:
    """The passes that are on in the unit and can be turned off, in `order`."""
    command = unit.unit
    if unit.linked and command.kind == "clang":  # LLD runs a pipeline of its own
        return []
    state = flag_state(identify(command.compiler), command.arguments, command.language, command.directory)
    rows = [row for row in passes_on(state) if row.switches or row.ir_passes or row.slug in SAYING]
    if any(row.ir_passes for row in rows) and not _has_pipeline(unit):
        rows = [row for row in rows if not row.ir_passes]
    table = {row.slug: row for row in rows}
    return [table[slug] for slug in order if slug in table]


def _has_pipeline(unit: ProofUnit) -> bool:
    """Whether LLVM's pipeline can be had as text and makes the baseline's code when nothing is left out of it."""
    if not pipeline.available(unit.unit):
        return False
    return not changes(unit.baseline.object, unit.plain((pipeline.WITHOUT,)).object).by_symbol


def _off(rows: Iterable[Pass]) -> tuple[str, ...]:
    """The flags that turn the passes off."""
    words: list[str] = []
    for row in rows:
        words += ["-fno-" + switch.removeprefix("-f") for switch in row.switches[:1]]
        words += [pipeline.WITHOUT + name for name in row.ir_passes]
    return tuple(dict.fromkeys(words))


def _differing(unit: ProofUnit, name: str, flags: tuple[str, ...], folder: Path, pins: Pins) -> set[str]:
    """The symbols that differ once `name` is hidden, with `flags` in both builds and `pins` in the second.

    A symbol that the first build lacks can't be compared and counts as differing.
    """
    try:
        first = unit.plain(flags)
        second = unit.hiding(name, Path(tempfile.mkdtemp(dir=folder)), pins=pins, flags=flags)
    except ProgramFailedError as error:
        complaint(error)
        return set(unit.symbols)
    table = first.elf.symbols
    there = {table.names[row] for row in table.defined_functions.tolist()}
    found = changes(first.object, second.object, unit.functions[name].symbol).by_symbol
    return {symbol for symbol, change in found.items() if not change.renamed} | (set(unit.symbols) - there)
