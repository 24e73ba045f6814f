"""Why one function's code relies on another's body: the same comparison with one pass off at a time.

Where both builds are equal once a pass is off in them, that pass carried what one function knew of the other.  The
passes and their switches are those of `klpkit.compilers.passes`; a proof itself never needs a cause.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from klpkit.compilers.flagstate import flag_state, passes_on
from klpkit.compilers.passes import Pass
from klpkit.compilers.probe import identify
from klpkit.programs import ProgramFailedError
from klpkit.proof.changes import changes
from klpkit.proof.unit import ProofUnit

# In the order in which they are tried: the likely ones first.
FROM_BODY = (
    "ipa-ra", "modref", "pure-const", "isra", "icf", "reference", "range", "bit-cp", "constprop", "part",
    "stack-alignment", "read-only-variable", "profile", "devirtualisation", "pta", "inline",
)  # fmt: skip
FROM_CALLERS = ("range", "bit-cp", "constprop", "isra", "part", "profile", "icf", "stack-alignment", "reference")


def attribute(
    unit: ProofUnit, name: str, symbols: Iterable[str], folder: Path, order: Sequence[str] = FROM_BODY
) -> tuple[dict[str, tuple[str, ...]], int]:
    """`(causes, compilations)`: the passes behind the reliance of each of `symbols` on the body of `name`.

    Causes are slugs of `Pass.slug`; a symbol that no pass explains is left out.
    """
    todo, found = set(symbols), dict[str, tuple[str, ...]]()
    before = unit.compilations.value
    rows = _rows(unit, order)
    for row in rows:
        if not todo:
            break
        for symbol in todo - _differing(unit, name, _off([row]), folder):
            found[symbol] = (row.slug,)
        todo -= found.keys()
    if todo:
        found.update(_together(unit, name, todo, rows, folder))
    return found, unit.compilations.value - before


def _together(
    unit: ProofUnit, name: str, todo: set[str], rows: Sequence[Pass], folder: Path
) -> dict[str, tuple[str, ...]]:
    """Symbols that only several passes together explain: each with a smallest set of passes that does."""
    rows = [row for row in rows if row.slug != "inline"]
    if len(rows) < 2:
        return {}
    explained = todo - _differing(unit, name, _off(rows), folder)
    return {symbol: _smallest(unit, name, symbol, rows, folder) for symbol in sorted(explained)}


def _smallest(unit: ProofUnit, name: str, symbol: str, rows: Sequence[Pass], folder: Path) -> tuple[str, ...]:
    needed = list(rows)
    for row in rows:
        fewer = [other for other in needed if other is not row]
        if fewer and symbol not in _differing(unit, name, _off(fewer), folder):
            needed = fewer
    return tuple(row.slug for row in needed)


def _rows(unit: ProofUnit, order: Sequence[str]) -> list[Pass]:
    """The passes that are on in the unit and have a switch, in `order`."""
    command = unit.unit
    state = flag_state(identify(command.compiler), command.arguments, command.language, command.directory)
    table = {row.slug: row for row in passes_on(state) if row.switches}
    return [table[slug] for slug in order if slug in table]


def _off(rows: Iterable[Pass]) -> tuple[str, ...]:
    """The flags that turn the passes off."""
    return tuple(dict.fromkeys("-fno-" + s.removeprefix("-f") for row in rows for s in row.switches[:1]))


def _differing(unit: ProofUnit, name: str, flags: tuple[str, ...], folder: Path) -> set[str]:
    """The symbols that differ once `name` is hidden, with `flags` in both builds.

    A symbol that the first build lacks can't be compared and counts as differing.
    """
    try:
        first = unit.plain(flags)
        second = unit.hiding(name, Path(tempfile.mkdtemp(dir=folder)), flags=flags)
    except ProgramFailedError:
        return set(unit.symbols)
    table = first.elf.symbols
    there = {table.names[row] for row in table.defined_functions.tolist()}
    found = changes(first.object, second.object, unit.functions[name].symbol).by_symbol
    return {symbol for symbol, change in found.items() if not change.renamed} | (set(unit.symbols) - there)
