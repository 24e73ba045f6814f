"""Whose code differs between two builds of one text, with resolved references."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path

import numpy as np

from klpkit.diff import Cause, Function, Status
from klpkit.diff.answer import answer
from klpkit.diff.compare import Comparison
from klpkit.diff.engine import comparison
from klpkit.diff.graph import Graph
from klpkit.diff.union import CODE
from klpkit.elf import ElfFile
from klpkit.proof.decisions import source_name
from klpkit.proof.unwinding import Unwinding, unwinding

_SILENT = frozenset({Cause.BODY, Cause.SOURCE})


@dataclass(frozen=True, slots=True)
class Change:
    """A function of the first build whose code is another, or gone, in the second.

    `renamed` says that nothing differs but the name of a clone of the hidden function that it refers to.
    `offset` is the first differing byte, -1 where the bytes are equal.
    """

    symbol: str
    how: str
    sizes: tuple[int, int]
    offset: int = -1
    gone: bool = False
    renamed: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """All changes by symbol, and `linked`: which functions' code refers to which others, in either build."""

    by_symbol: dict[str, Change]
    linked: dict[str, set[str]]


def changes(first: Path, second: Path, hidden: str = "", *, frames: bool = True) -> Changes:
    """What differs between the objects `first` and `second`, in the second of which `hidden` is hidden.

    Code with several names is there under each of them.
    Without `frames` it is no difference whether a function without an exception table has an unwind entry: Clang
    makes one wherever it writes records.
    """
    elves = ElfFile.open(first), ElfFile.open(second)
    result = comparison(*elves)
    diff = answer(result)
    found: dict[str, Change] = {}
    rows = _rows_by_name(result)
    for function in diff.functions:
        if function.status in (Status.CHANGED, Status.GONE):
            found[function.name] = _change(result, function, rows.get(function.name, -1), hidden)
    for line in diff.moved:
        # One text has no moved lines: whatever looks like one is a difference.
        how = f"a number in it differs ({line.before} became {line.after})"
        found.setdefault(line.where, Change(line.where, how, (0, 0)))
    for name, how in _regrouped(result):
        found.setdefault(name, Change(name, how, (0, 0)))
    for name in _unwound_differently(*elves, frames):
        found.setdefault(name, Change(name, "its exception table differs", (0, 0)))
    groups = _groups(result.both.original)
    for name, change in list(found.items()):
        for other in sorted(groups.get(name, frozenset()) - found.keys()):
            found[other] = replace(change, symbol=other)
    return Changes(found, _linked(result))


def _rows_by_name(result: Comparison) -> dict[str, int]:
    both = result.both
    code = np.flatnonzero(both.sort[: both.split] == CODE).tolist()
    return {both.name_of(row): row for row in code}


def _change(result: Comparison, function: Function, row: int, hidden: str) -> Change:
    gone = function.status is Status.GONE
    said = [reason.detail for reason in function.reasons if reason.cause not in _SILENT]
    how = "it has no code of its own any more" if gone else "; ".join(said[:3])
    renamed = not gone and bool(hidden) and _only_renamed(result, row, hidden)
    return Change(function.name, how, function.sizes, function.offset, gone, renamed)


def _only_renamed(result: Comparison, row: int, hidden: str) -> bool:
    """Whether the function in `row` differs only in which symbol of the hidden function it refers to."""
    both = result.both
    partner = int(result.found.partner[row])
    if row < 0 or partner < 0 or row in result.bytes_differ or row in result.places_differ:
        return False
    causes = {cause for cause, _ in result.causes[row]}
    if causes != {Cause.REFERENCE}:
        return False
    left, right = both.references_of(row), both.references_of(partner)
    color = result.color
    for a, b in zip(range(left.start, left.stop), range(right.start, right.stop), strict=True):
        x, y = int(both.target[a]), int(both.target[b])
        if color[x] == color[y] and both.offset[a] == both.offset[b]:
            continue
        names = {source_name(both.name_of(x)), source_name(both.name_of(y))}
        if names != {hidden} or both.offset[a] != both.offset[b]:
            return False
    return True


def _regrouped(result: Comparison) -> list[tuple[str, str]]:
    """Functions that share their code with others in one build only."""
    groups = [_groups(result.both.original), _groups(result.both.patched)]
    found = []
    for name in groups[0].keys() & groups[1].keys():
        before, after = groups[0][name], groups[1][name]
        if before != after:
            others = ", ".join(sorted((before ^ after) - {name}))
            found.append((name, f"shares its code with {others}"))
    gone = (name for name in groups[0].keys() - groups[1].keys() if len(groups[0][name]) > 1)
    found += [(name, f"shares its code with {', '.join(sorted(groups[0][name] - {name}))}") for name in gone]
    return found


def _unwound_differently(first: ElfFile, second: ElfFile, frames: bool) -> list[str]:
    """Functions of both builds of which the unwinder is told something else: that a call never throws."""
    before, after = unwinding(first), unwinding(second)
    absent = () if frames else (Unwinding(),)
    rows = {name for name in before.keys() | after.keys() if before.get(name, absent) != after.get(name, absent)}
    return sorted(rows & _defined(first) & _defined(second)) if rows else []


def _defined(elf: ElfFile) -> set[str]:
    return {elf.symbols.names[row] for row in elf.symbols.defined_functions.tolist()}


def _groups(graph: Graph) -> dict[str, frozenset[str]]:
    """Each function's name → all names of its code."""
    symbols = graph.elf.symbols
    at: dict[tuple[int, int], set[str]] = defaultdict(set)
    for row in symbols.defined_functions.tolist():
        at[int(symbols.section[row]), int(symbols.value[row])].add(symbols.names[row])
    return {name: frozenset(names) for names in at.values() for name in names}


def _linked(result: Comparison) -> dict[str, set[str]]:
    """Which functions refer to which in either build, or share code, by source name and in both directions."""
    both = result.both
    found: dict[str, set[str]] = defaultdict(set)
    rows = np.flatnonzero((both.sort[both.owner] == CODE) & (both.sort[both.target] == CODE))
    pairs = np.unique(np.stack([both.owner[rows], both.target[rows]], axis=1), axis=0)
    for owner, target in pairs.tolist():
        a, b = source_name(both.name_of(owner)), source_name(both.name_of(target))
        if a != b:
            found[a].add(b)
            found[b].add(a)
    for names in _groups(both.original).values():
        for a, b in permutations(sorted(names), 2):
            found[source_name(a)].add(source_name(b))
    return found
