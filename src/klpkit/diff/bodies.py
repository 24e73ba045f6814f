"""Why a function changed, from clone dumps: whose bodies went into it on either side, and whose source differs.

A dump of GCC's (`X.c.000i.ipa-clones`, see `klpkit.records.clonelines`) that lies beside an object, or that the
caller names, tells which bodies each function was made from.  This only adds reasons to functions that the bytes
say are changed: no dump makes a function changed or unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from klpkit.diff.model import Cause, Function, ObjectDiff, Reason, Status
from klpkit.diff.names import declared
from klpkit.diff.sourcetext import both_places, same_source
from klpkit.errors import FormatError, UserError
from klpkit.impact.graph import Graph
from klpkit.records import read_clone_dumps
from klpkit.records.clonelines import is_lto_dump
from klpkit.records.model import Location

SHOWN = 4
"""How many names a reason spells out."""

_TAIL = r"(\.[A-Za-z+]+)?\.\d+[itr]\.ipa-clones"

DumpPaths = tuple[Path | None, Path | None]
"""Where each side's dumps are: a dump, the folder with an object's dump, None for beside the object."""


@dataclass(frozen=True, slots=True)
class Body:
    """A function whose body went into another; `way` are the functions in between, the nearest to it first."""

    name: str
    way: tuple[str, ...]
    location: Location | None


class Bodies:
    """What one dump says: for each function the bodies that it was made from."""

    def __init__(self, dump: Path) -> None:
        self.dump = dump
        self._table = read_clone_dumps(dump, cache=False)
        self._graph = Graph(self._table)
        self._names: list[set[str]] = [set() for _ in range(self._graph.node_count)]
        self._places: list[Location | None] = [None] * self._graph.node_count
        self._nodes: dict[str, list[int]] = {}
        for row, node in enumerate(self._graph.node_of.tolist()):
            function = self._table.function(row)
            self._names[node].add(function.symbol)
            self._places[node] = self._places[node] or function.location
            self._nodes.setdefault(function.symbol, []).append(node)
        self._made_from: dict[int, list[int]] = {}
        for body, user in zip(self._graph.bodies.tolist(), self._graph.targets.tolist(), strict=True):
            self._made_from.setdefault(user, []).append(body)

    def location(self, name: str) -> Location | None:
        """Where the function `name` begins in the source, as far as the dump tells."""
        return next((self._places[node] for node in self._nodes.get(name, ())), None)

    def of(self, name: str) -> dict[str, Body]:
        """All bodies that `name` was made from, directly or not, by symbol; nearest ways first."""
        ways: dict[int, tuple[str, ...]] = dict.fromkeys(self._nodes.get(name, ()), ())
        queue, found = list(ways), dict[str, Body]()
        for node in queue:
            for body in self._made_from.get(node, ()):
                if body in ways:
                    continue
                between = () if not ways[node] and name in self._names[node] else (min(self._names[node]),)
                ways[body] = between + ways[node]
                queue.append(body)
                for symbol in sorted(self._names[body] - {name}):
                    found.setdefault(symbol, Body(symbol, ways[body], self._places[body]))
        return found


def dump_of(path: Path, given: Path | None) -> Path | None:
    """The clone dump of the object at `path`: `given`, the one in the folder `given`, or the one beside it.

    None where there is no dump or more than one; `UserError` if one was asked for.
    """
    if given is not None and not given.is_dir():
        if not given.exists():
            raise UserError(f"{given}: no such file or folder", hint="name a clone dump or its folder")
        return given
    shape = re.compile(re.escape(path.name.removesuffix(".o")) + _TAIL)
    folder = given or path.parent
    names = [entry.name for entry in folder.iterdir() if shape.fullmatch(entry.name)]
    found = [name for name in names if not is_lto_dump(name)]
    if given is not None and len(found) != 1:
        problem = f"{len(found)} clone dumps of {path.name} in {given}, one is wanted"
        raise UserError(problem, hint="compile with -fdump-ipa-clones, or name the dump itself")
    return folder / found[0] if len(found) == 1 else None


def with_bodies(diff: ObjectDiff, original: Path, patched: Path, given: DumpPaths = (None, None)) -> ObjectDiff:
    """`diff` with what the clone dumps of both sides say of its changed functions, where both are there."""
    if not diff.changed:
        return diff
    dumps = dump_of(original, given[0]), dump_of(patched, given[1])
    if dumps[0] is None or dumps[1] is None:
        return diff
    try:
        told = _Told(diff, Bodies(dumps[0]), Bodies(dumps[1]))
    except FormatError as error:
        if given != (None, None):
            raise
        return replace(diff, notes=(*diff.notes, f"a clone dump is of no use: {error}"))
    return replace(diff, functions=tuple(told.explained(function) for function in diff.functions))


class _Told:
    """What both dumps say of one diff."""

    def __init__(self, diff: ObjectDiff, original: Bodies, patched: Bodies) -> None:
        self._original, self._patched = original, patched
        changed = [function for function in diff.functions if function.status is Status.CHANGED]
        # Static functions of several files may share a name in a linked object; a dump speaks about one file.
        names = [function.name for function in changed]
        self._changed = {function.name: function for function in changed if names.count(function.name) == 1}

    def explained(self, function: Function) -> Function:
        """The function with more reasons, in front of those that the bytes give."""
        if self._changed.get(function.name) is not function:
            return function
        return replace(function, reasons=(*self._reasons(function), *function.reasons))

    def _reasons(self, function: Function) -> list[Reason]:
        before = self._original.of(function.name)
        after = self._patched.of(function.patched_name or function.name)
        found = self._own_source(function)
        both = {name: body for name, body in before.items() if _plain(name) in {_plain(n) for n in after}}
        told = self._changed_bodies(function, both)
        found += told or self._silent_bodies(function, both)
        found += _one_sided(before, after, "no longer inlines {}", function)
        return found + _one_sided(after, before, "now inlines {}", function)

    def _own_source(self, function: Function) -> list[Reason]:
        before, after = self._original.location(function.name), self._patched.location(function.patched_name)
        if before is None or after is None or self._same(before, after) is not False:
            return []
        return [Reason(Cause.SOURCE, f"its source differs ({both_places(before, after)})")]

    def _same(self, before: Location | None, after: Location | None) -> bool | None:
        if before is None or after is None:
            return None
        return same_source(self._original.dump, before, self._patched.dump, after)

    def _changed_bodies(self, function: Function, both: dict[str, Body]) -> list[Reason]:
        """The bodies whose own code or source differs, without those that differ only because of another one."""
        known = {
            name: body
            for name, body in both.items()
            if name in self._changed or self._same(body.location, self._patched.location(name)) is False
        }
        inner = {name: self._original.of(name).keys() & known.keys() - {name} for name in known}
        roots = [name for name in known if all(name in inner[other] for other in inner[name])]
        return [Reason(Cause.BODY, f"{_how(function, known[name])}, which changed") for name in sorted(roots)]

    def _silent_bodies(self, function: Function, both: dict[str, Body]) -> list[Reason]:
        """Bodies of which neither bytes nor source can be compared: the change may come from them."""
        unknown = [
            name
            for name, body in both.items()
            if not body.way and self._same(body.location, self._patched.location(name)) is None
        ]
        if not unknown or function.name in unknown:
            return []
        return [Reason(Cause.BODY, f"made from {_brief(unknown)} too, whose source is not at hand to compare")]


def _one_sided(here: dict[str, Body], there: dict[str, Body], words: str, function: Function) -> list[Reason]:
    other = {_plain(name) for name in there} | {_plain(function.name)}
    names = sorted({_plain(name) for name in here} - other)
    return [Reason(Cause.BODY, words.format(_brief(names)))] if names else []


def _plain(name: str) -> str:
    return declared(name) or name


def _how(function: Function, body: Body) -> str:
    way = f" by way of {', '.join(body.way)}" if body.way else ""
    return f"{'is a copy of' if _plain(function.name) == body.name else 'inlines'} {body.name}{way}"


def _brief(names: Sequence[str]) -> str:
    names = sorted(names)
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
