"""What a compiler decided between functions, from its record, and where two builds' decisions differ.

Functions are known by the name that a compiler's suffix was put on: two builds number their clones differently,
and a coarse comparison errs on the safe side (a change that it can't explain counts as impact).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from klpkit.diff.names import declared
from klpkit.errors import FormatError
from klpkit.records.clonelines import cause_of, read_dump
from klpkit.records.remarks import parse_remark

_PREFIX = "__pfx_"


def source_name(symbol: str) -> str:
    """The source's name of a symbol: `f` of `f.isra.0.cold` and of `__pfx_f`."""
    symbol = symbol.removeprefix(_PREFIX)
    while (base := declared(symbol)) is not None and base != symbol:
        symbol = base
    return symbol


@dataclass(frozen=True, slots=True)
class Decisions:
    """`inlined` counts (body, into) pairs, `clones` (function, cause) pairs; `names` are all functions named.

    `held` maps functions to the bodies in them where the record's order tells; a body that went into a function
    after that one was itself inlined elsewhere is in the one place only.  `partitions` maps functions of a linked
    program to all that the same run of the compiler made code of, where there are several.
    """

    inlined: Counter[tuple[str, str]]
    clones: Counter[tuple[str, str]]
    names: frozenset[str]
    held: Mapping[str, frozenset[str]] | None = None
    partitions: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def renamed(self, names: Mapping[str, str]) -> Decisions:
        """The same of functions that are called otherwise."""
        if not names:
            return self

        def new(name: str) -> str:
            return names.get(name, name)

        return Decisions(
            Counter({(new(body), new(user)): count for (body, user), count in self.inlined.items()}),
            Counter({(new(name), cause): count for (name, cause), count in self.clones.items()}),
            frozenset(map(new, self.names)),
            self.held and {new(user): frozenset(map(new, bodies)) for user, bodies in self.held.items()},
        )

    def holders(self, name: str) -> frozenset[str]:
        """The functions that the body of `name` went into, however far; clones count as their function."""
        if self.held is not None:
            return frozenset(user for user, bodies in self.held.items() if name in bodies and user != name)
        into: dict[str, set[str]] = {}
        for body, user in self.inlined:
            into.setdefault(body, set()).add(user)
        found, todo = set(), [name]
        while todo:
            for user in into.get(todo.pop(), ()):
                if user not in found:
                    found.add(user)
                    todo.append(user)
        return frozenset(found - {name})

    def uses_body(self, name: str) -> bool:
        """Whether any record takes the body of `name` elsewhere."""
        return any(body == name for body, _ in self.inlined) or any(body == name for body, _ in self.clones)


def joined(parts: Iterable[Decisions], partitions: Mapping[str, frozenset[str]] | None = None) -> Decisions:
    """The decisions of several runs of the compiler on one program.

    What an early run put into a function goes on with it, so bodies are followed through inlining as a whole.
    """
    inlined: Counter[tuple[str, str]] = Counter()
    clones: Counter[tuple[str, str]] = Counter()
    names: set[str] = set()
    for part in parts:
        inlined += part.inlined
        clones += part.clones
        names |= part.names
    return Decisions(inlined, clones, frozenset(names), None, partitions or {})


def _as_written(name: str, _: str) -> str:
    return name


def read_decisions(path: Path, called: Callable[[str, str], str] = _as_written) -> Decisions:
    """The decisions in the clone dump at `path`; `FormatError` where it is broken.

    `called` tells what a function is called, of its source's name and its file.
    """
    inlined: Counter[tuple[str, str]] = Counter()
    clones: Counter[tuple[str, str]] = Counter()
    names: set[str] = set()
    inside: dict[str, set[str]] = defaultdict(set)
    for body, user, word in read_dump(str(path)).clones:
        cause, _ = cause_of(word, body[0], user[0])
        pair = called(source_name(body[0]), body[2]), called(source_name(user[0]), user[2])
        names.update(pair)
        if cause == "inline":
            inlined[pair] += 1
        elif cause != "same-function":
            clones[pair[0], cause] += 1
        inside[user[0]] |= inside[body[0]] | ({pair[0]} if cause == "inline" else set())
    held: dict[str, frozenset[str]] = {}
    for symbol, bodies in inside.items():
        name = source_name(symbol)
        held[name] = held.get(name, frozenset()) | bodies
    return Decisions(inlined, clones, frozenset(names), held)


def read_inlining(path: Path) -> Decisions:
    """The decisions in Clang's optimisation record at `path`; clones leave nothing there."""
    inlined: Counter[tuple[str, str]] = Counter()
    names: set[str] = set()
    for document in path.read_text(errors="surrogateescape").split("\n...\n"):
        if not document.startswith("--- !Passed"):
            continue
        remark = parse_remark(document)
        body, user = remark.argument("Callee"), remark.argument("Caller")
        if body is None or user is None:
            raise FormatError(path, remark.name, "a remark of inlining without both functions")
        pair = source_name(body.value), source_name(user.value)
        names.update(pair)
        inlined[pair] += 1
    return Decisions(inlined, Counter(), frozenset(names))


@dataclass(frozen=True, slots=True)
class Difference:
    """What a second build decided differently, the hidden function and the bodies that held it left aside.

    `more` and `fewer` are (body, into) pairs that the second build inlined more or less often; `cloned` and
    `uncloned` functions of which it made more or fewer clones; `swallowed` those that went into the hidden one,
    `moved` those that it made code of together with others.
    """

    more: frozenset[tuple[str, str]]
    fewer: frozenset[tuple[str, str]]
    cloned: frozenset[str]
    uncloned: frozenset[str]
    swallowed: frozenset[str]
    moved: frozenset[str] = frozenset()

    @property
    def places(self) -> frozenset[str]:
        """The functions whose own code is made differently."""
        users = {user for _, user in self.more | self.fewer}
        return frozenset(users | self.cloned | self.uncloned | self.moved)


def difference(first: Decisions, second: Decisions, hidden: str) -> Difference:
    """How `second`, in which `hidden` has no visible body, was decided otherwise than `first`."""
    holders = first.holders(hidden)
    more = {pair for pair, count in second.inlined.items() if count > first.inlined[pair]}
    fewer = {pair for pair, count in first.inlined.items() if count > second.inlined[pair]}
    cloned = {name for (name, cause), count in second.clones.items() if count > first.clones[name, cause]}
    uncloned = {name for (name, cause), count in first.clones.items() if count > second.clones[name, cause]}
    return Difference(
        more=frozenset(pair for pair in more if hidden not in pair),
        fewer=frozenset(pair for pair in fewer if hidden not in pair and pair[1] not in holders),
        cloned=frozenset(cloned - {hidden}),
        uncloned=frozenset(uncloned - {hidden}),
        swallowed=frozenset(body for body, user in more if user == hidden and body not in holders),
        moved=_moved(first.partitions, second.partitions, hidden),
    )


def _moved(
    first: Mapping[str, frozenset[str]], second: Mapping[str, frozenset[str]], hidden: str
) -> frozenset[str]:
    """Functions whose code is made with others than before; the hidden one itself may come and go."""
    if not first and not second:
        return frozenset()
    names = first.keys() | second.keys()
    empty: frozenset[str] = frozenset()
    return frozenset(n for n in names if first.get(n, empty) - {hidden} != second.get(n, empty) - {hidden})
