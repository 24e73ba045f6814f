"""Which functions a patch touches: those whose code it changes, and the users of the macros that it changes.

Two versions of a definition are the same when their tokens and the `#if` lines around them are; comments and
layout do not count.  A change to a type, a variable, a prototype or anything that is not recognised is reported as
such, because its users can't be listed.
"""

from __future__ import annotations

import difflib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from klpkit.build.csource import Definition, Token, definitions, tokenize

if TYPE_CHECKING:
    from klpkit.build.patch import FilePatch, Patch
    from klpkit.build.tree import BuildTree

Change = Literal["changed", "added", "removed", "uses"]
# Definitions whose users can't be listed.
FILE_SCOPE = "file-scope"


@dataclass(frozen=True, slots=True)
class Touched:
    """One thing that a patch touches.

    `file` is relative to the source tree.  `kind` is `function`, `macro`, `type`, `variable` or `file-scope`
    (prototypes, macros at the top level, includes, conditionals).  `lines` are the first and last line, in the
    patched file, or for what was removed in the original.  `change` is `changed`, `added`, `removed`, or `uses`
    for what uses the changed macro `via`.
    """

    file: str
    name: str
    kind: str
    lines: tuple[int, int]
    change: Change = "changed"
    via: str = ""


def touched_functions(patch: Patch, tree: BuildTree | None = None) -> list[Touched]:
    """What `patch` touches, in the order of its files; with `tree`, the users of changed macros too."""
    direct = [touched for file in _followed(patch) for touched in touched_in(file)]
    if tree is None:
        return direct
    found = list(direct)
    patched = {file.path: file.patched for file in patch.files if file.patched is not None}
    macros = dict.fromkeys((t.file, t.name) for t in direct if t.kind == "macro")
    for file, name in macros:
        found += macro_users(file, name, patch.source, tree, patched)
    return list(dict.fromkeys(found))


def _followed(patch: Patch) -> Iterator[FilePatch]:
    """The patch's files, each renamed one compared with what it was under its old name."""
    originals = {file.path: file.original for file in patch.files}
    gone = {file.renamed_from for file in patch.files}
    for file in patch.files:
        if file.renamed_from:
            yield replace(file, original=originals.get(file.renamed_from))
        elif file.path not in gone or file.patched is not None:
            yield file


def touched_in(file: FilePatch) -> list[Touched]:
    """What one file's patch touches by itself."""
    if not file.path.endswith((".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".S", ".inc", ".def")):
        return [Touched(file.path, file.path, FILE_SCOPE, (0, 0), _presence(file))]
    old, new = file.original or "", file.patched or ""
    before, after = _keyed(definitions(old)), _keyed(definitions(new))
    found = []
    for key in dict.fromkeys([*after, *before]):
        touched = _compare(file.path, before.get(key), after.get(key))
        if touched:
            found.append(touched)
    found += _outside(file.path, old, new, before.values(), after.values())
    return sorted(found, key=lambda t: t.lines)


def _presence(file: FilePatch) -> Change:
    return "added" if file.original is None else "removed" if file.patched is None else "changed"


def _keyed(found: Iterable[Definition]) -> dict[tuple[str, str, int], Definition]:
    """Definitions by kind, name and their number among namesakes."""
    count: dict[tuple[str, str], int] = defaultdict(int)
    keyed: dict[tuple[str, str, int], Definition] = {}
    for definition in found:
        key = definition.kind, definition.name
        keyed[*key, count[key]] = definition
        count[key] += 1
    return keyed


def _compare(file: str, old: Definition | None, new: Definition | None) -> Touched | None:
    if old is None and new is not None:
        return _touched(file, new, "added")
    if new is None and old is not None:
        return _touched(file, old, "removed")
    if old is None or new is None or (old.tokens == new.tokens and old.conditions == new.conditions):
        return None
    return _touched(file, new, "changed")


def _touched(file: str, definition: Definition, change: Change, via: str = "") -> Touched:
    kind = FILE_SCOPE if definition.kind in ("declaration", "invocation") else definition.kind
    return Touched(file, definition.name, kind, (definition.first, definition.last), change, via)


def _outside(
    file: str, old: str, new: str, before: Iterable[Definition], after: Iterable[Definition]
) -> Iterator[Touched]:
    """Changed code that belongs to no definition: includes, `#undef`, what was not understood."""
    old_tokens, new_tokens = _loose(old, before), _loose(new, after)
    matcher = difflib.SequenceMatcher(
        None, [token.text for token in old_tokens], [token.text for token in new_tokens], autojunk=False
    )
    for operation, old_first, old_last, new_first, new_last in matcher.get_opcodes():
        if operation == "equal":
            continue
        tokens = new_tokens[new_first:new_last] or old_tokens[old_first:old_last]
        change: Change = "removed" if new_first == new_last else "added" if old_first == old_last else "changed"
        name = " ".join(" ".join(token.text for token in tokens).split())[:80]
        yield Touched(file, name, FILE_SCOPE, (tokens[0].line, tokens[-1].last_line), change)


def _loose(text: str, found: Iterable[Definition]) -> list[Token]:
    """The tokens of `text` outside every definition."""
    inside: set[int] = set()
    for definition in found:
        inside.update(range(definition.first, definition.last + 1))
    return [token for token in tokenize(text) if token.line not in inside]


def macro_users(file: str, name: str, source: Path, tree: BuildTree, patched: dict[str, str]) -> list[Touched]:
    """The definitions that use the macro `name` of `file`, directly or through other macros.

    They are looked for in the units that include `file`, or, where the tree does not tell, in every source and
    header.  `patched` holds the new text of changed files.
    """

    changed = {source / inside: os.fsencode(text) for inside, text in patched.items()}

    def read(path: Path) -> bytes:
        try:
            return changed[path] if path in changed else path.read_bytes()
        except OSError:
            return b""  # a dependency that was generated and is gone: it holds no function of the source tree

    paths = _files_that_see(source / file, source, tree)
    users = _closure(name, paths, read)
    found = []
    for path, definition in users:
        if definition.kind != "macro" or definition.name != name:
            found.append(_touched(os.path.relpath(path, source), definition, "uses", via=name))
    return sorted(found, key=lambda t: (t.file, t.lines))


def _closure(name: str, paths: Iterable[Path], read: Callable[[Path], bytes]) -> list[tuple[Path, Definition]]:
    """Every definition that mentions `name` or a macro that leads to it."""
    paths = list(paths)
    names, fresh = {name}, {name}
    users: dict[tuple[Path, int, str, str], tuple[Path, Definition]] = {}
    while fresh:
        found: set[str] = set()
        for path in paths:
            text = read(path)
            if not any(os.fsencode(word) in text for word in fresh):
                continue
            for definition in _definitions(os.fsdecode(text)):
                if definition.mentions(fresh):
                    users[path, definition.first, definition.kind, definition.name] = path, definition
                    if definition.kind == "macro":
                        found.add(definition.name)
        fresh = found - names
        names |= found
    return list(users.values())


@cache
def _definitions(text: str) -> tuple[Definition, ...]:
    return tuple(definitions(text))


def _files_that_see(file: Path, source: Path, tree: BuildTree) -> list[Path]:
    """The sources and headers in which a macro of `file` can be used."""
    if file.suffix != ".h":
        seen = {file}
        for unit in tree.units_for_source(file):
            seen.update(unit.headers)
        return sorted(seen)
    units = tree.units_with_header(file)
    if not units:
        return sorted(tree.source_files((".c", ".h")))
    found = {file}
    for unit in units:
        found.add(unit.source)
        found.update(unit.headers)
    return sorted(path for path in found if path.is_relative_to(source))
