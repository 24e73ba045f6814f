"""Structures that a source patch changes, and the texts that tell which code depends on how they are laid out.

Objects that running code made have the old layout, and new code would read them wrongly.  Whether it would is
measured: compiled with the old definitions in place of the new ones, code that does not depend on the change is
the same.  Where that does not compile, something that is new is used somewhere; then a definition whose members
all lie further on tells which code uses the structure at all.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from klpkit.build.csource import Definition, definitions, lexemes
from klpkit.livepatch.interfaces import Source

# Larger than what an alignment could swallow.
_SHIFT = " char klpkit_shift[512]; "
# Where a structure opens, and an attribute that forbids initialisers by position (GCC's "Common Type Attributes").
_STRUCTURE = re.compile(r"\bstruct(?=\s+(?:\w+\s*)?\{)")
_MARKED = "struct __attribute__((designated_init))"
_LENGTH = re.compile(r"#\s*define\s+\w+\s+\S")


@dataclass(frozen=True, slots=True)
class ChangedType:
    """A structure or union that differs in the file `path`; `at` are the lines of its definitions, old and new.

    A constant that its definition uses, and that differs, is reverted along with it (`constants`).  `only_adds`:
    the new definitions are the old ones with further members, and no layout that user space knows.
    """

    name: str
    path: str
    at: tuple[tuple[tuple[int, int], tuple[int, int]], ...]
    is_union: bool = False
    only_adds: bool = False


def changed_types(sources: Iterable[Source]) -> list[ChangedType]:
    """The structures and unions that are defined on both sides and differ, or whose constants do.

    One that moves to another file and differs is known by its new place alone.
    """
    found: list[ChangedType] = []
    files = [source for source in sources if source.path.endswith((".c", ".h"))]
    both = [(source, definitions(source.before), definitions(source.after)) for source in files]
    constants = {name for _, before, after in both for name in _changed_constants(before, after)}
    for source, before, after in both:
        found += _changed(source.path, before, after, constants)
    return found + _moved(both)


def _moved(both: Sequence[tuple[Source, list[Definition], list[Definition]]]) -> list[ChangedType]:
    gone: dict[str, list[tuple[str, ...]]] = {}
    for _, before, after in both:
        old, new = _by_name(before, "type"), _by_name(after, "type")
        gone |= {name: [d.tokens for d in old[name]] for name in old.keys() - new.keys()}
    found: list[ChangedType] = []
    for source, before, after in both:
        old, new = _by_name(before, "type"), _by_name(after, "type")
        here = sorted((new.keys() - old.keys()) & gone.keys())
        differing = [name for name in here if [d.tokens for d in new[name]] != gone[name]]
        found += [ChangedType(name, source.path, (), _is_union(new[name])) for name in differing]
    return found


def _is_union(found: Iterable[Definition]) -> bool:
    return any("union" in each.tokens[:2] for each in found)


def _changed(
    path: str, before: list[Definition], after: list[Definition], constants: set[str]
) -> Iterable[ChangedType]:
    old, new = _by_name(before, "type"), _by_name(after, "type")
    lengths = _constant_lines(before, after, constants)
    for name in sorted(old.keys() & new.keys()):
        mentioned = {each for d in new[name] for each in d.identifiers()} & constants
        if [d.tokens for d in old[name]] == [d.tokens for d in new[name]] and not mentioned:
            continue
        pairs = tuple(((a.first, a.last), (b.first, b.last)) for a, b in zip(old[name], new[name], strict=False))
        complete = len(old[name]) == len(new[name])
        places = pairs + tuple(lengths[each] for each in sorted(mentioned & lengths.keys()))
        adds = "uapi" not in path.split("/") and not mentioned and not _is_union(new[name])
        adds = adds and all(_only_adds(a.tokens, b.tokens) for a, b in zip(old[name], new[name], strict=False))
        yield ChangedType(name, path, places if complete else (), _is_union(new[name]), adds)


def _only_adds(old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether `new` is `old` with further whole members: none in a union, where each has the place of the others.

    Inner structures that are new must be complete and around none of the old members.
    """
    left = _members(old)[::-1]
    around: list[bool] = []  # of each open brace whether it is a union's
    depth = 0
    for member in _members(new):
        if left and member == left[-1]:
            if depth:
                return False
            left.pop()
            if "}" in member:
                around = around[:-1]
            if "{" in member:
                around.append("union" in member)
        elif any(around):
            return False
        else:
            depth += member.count("{") - member.count("}")
    return not left and not depth


def _members(tokens: Iterable[str]) -> list[tuple[str, ...]]:
    """The declarations of a definition; an inner structure opens with one and ends with another."""
    members: list[tuple[str, ...]] = []
    member: list[str] = []
    for token in tokens:
        member.append(token)
        if token in (";", "{"):
            members.append(tuple(member))
            member = []
    return [*members, tuple(member)]


def _by_name(found: Sequence[Definition], kind: str) -> dict[str, list[Definition]]:
    """Definitions with a body by their names; enumerations have no layout."""
    named: dict[str, list[Definition]] = defaultdict(list)
    for each in found:
        body = kind != "type" or ("{" in each.tokens and "enum" not in each.tokens[:3])
        if each.kind == kind and each.name and body:
            named[each.name].append(each)
    return named


def _changed_constants(before: list[Definition], after: list[Definition]) -> set[str]:
    """Macros without arguments whose values differ: a structure may have an array of that length."""
    old, new = _by_name(before, "macro"), _by_name(after, "macro")
    differing = {n for n in old.keys() & new.keys() if [d.tokens for d in old[n]] != [d.tokens for d in new[n]]}
    return {name for name in differing if all(_LENGTH.match(d.tokens[0]) for d in new[name])}


def _constant_lines(
    before: list[Definition], after: list[Definition], names: set[str]
) -> Mapping[str, tuple[tuple[int, int], tuple[int, int]]]:
    old, new = _by_name(before, "macro"), _by_name(after, "macro")
    return {
        name: ((old[name][0].first, old[name][0].last), (new[name][0].first, new[name][0].last))
        for name in names
        if len(old.get(name, ())) == len(new.get(name, ())) == 1
    }


def reverted(
    sources: Iterable[Source], types: Sequence[ChangedType], *, marked: bool = False
) -> dict[str, str] | None:
    """The files of `types` with their old definitions; None where it can't be told which is which.

    With `marked` GCC tells (`-Wdesignated-init`) where their members are initialised by position.
    """
    if not all(each.at for each in types):
        return None
    texts = {}
    for source in sources:
        places = {place for each in types if each.path == source.path for place in each.at}
        if places:
            texts[source.path] = _with_old(source, sorted(places, key=lambda p: p[1], reverse=True), marked)
    return texts


def _with_old(source: Source, places: Sequence[tuple[tuple[int, int], tuple[int, int]]], marked: bool) -> str:
    old, new = source.before.split("\n"), source.after.split("\n")
    for (first, last), (start, end) in places:
        lines = old[first - 1 : last]
        new[start - 1 : end] = _STRUCTURE.sub(_MARKED, "\n".join(lines)).split("\n") if marked else lines
    return "\n".join(new)


def shifted(sources: Iterable[Source], types: Sequence[ChangedType]) -> dict[str, str] | None:
    """The files of `types` with all members further on; None where a union is among them: its members stay."""
    if any(each.is_union for each in types):
        return None
    texts = {}
    for source in sources:
        names = {each.name for each in types if each.path == source.path}
        if names:
            starts = {d.first for name in names for d in _by_name(definitions(source.after), "type")[name]}
            texts[source.path] = _with_shift(source.after, starts)
    return texts


def _with_shift(text: str, starts: set[int]) -> str:
    """`text` with a member before all others in the definitions that start on these lines."""
    parts, wanting = [], False
    for kind, token, line in lexemes(text):
        if line in starts and kind == "word" and token in ("struct", "typedef"):
            wanting, starts = True, starts - {line}
        parts.append(token)
        if wanting and kind == "mark" and token == "{":
            parts.append(_SHIFT)
            wanting = False
    return "".join(parts)
