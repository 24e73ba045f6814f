"""Which translation units have to be asked about a function: those that define it, or include its definition.

Found from sources, dependency lists and object symbols.  Without link-time optimisation a function's body can be
used only in a unit that sees it, so a public function concerns the unit that defines it and a header's function
every unit that includes the header.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.build.csource import definitions
from klpkit.build.mentions import files_mentioning, similar_words, spellings
from klpkit.build.tree import BuildTree
from klpkit.errors import UserError

HEADER_SUFFIXES = (".h", ".inc", ".hh", ".hpp")
# What every kernel's source tree has and Kbuild is asked with.
KBUILD = "scripts/Makefile.build"
SUGGESTIONS = 5


@dataclass(frozen=True, slots=True)
class Concerned:
    """The units to ask about one function or several; `warnings` say what can't be known of the tree."""

    units: tuple[TranslationUnit, ...]
    warnings: tuple[str, ...] = ()


def concerned_units(tree: BuildTree, spec: str) -> Concerned:
    """The units of `tree` that `spec`, a function's name or `file:name`, concerns.

    Raises `UserError` where no unit and no source of the tree mentions the function, or no unit sees the file.
    """
    file, _, name = spec.rpartition(":")
    if not name:
        raise UserError(f"{spec!r} names no function", hint="name it as function or file.c:function")
    _check_tree(tree)
    if file:
        return Concerned(tuple(_units_seeing(tree, file)), tuple(_unread(tree)))
    units = _defining(tree.units_mentioning(name), name) if len(tree) else []
    if units:
        return Concerned(tuple(units), tuple(_unread(tree)))
    return _from_sources(tree, name)


def concerned_by(tree: BuildTree, specs: Iterable[str]) -> Concerned:
    """The units that any of `specs` concerns, as `concerned_units` finds them for one."""
    units: dict[Path, TranslationUnit] = {}
    said: dict[str, None] = {}
    for spec in specs:
        found = concerned_units(tree, spec)
        units.update((unit.object, unit) for unit in found.units)
        said.update(dict.fromkeys(found.warnings))
    return Concerned(tuple(units.values()), tuple(said))


def _check_tree(tree: BuildTree) -> None:
    """Raise `UserError` where nothing tells how anything is compiled here."""
    if len(tree) or (tree.source and (tree.source / KBUILD).is_file()) or any(tree.units(everything=True)):
        return
    raise UserError(
        f"{tree.root} is no build tree: no readable .cmd files, no compile_commands.json, no kernel source",
        hint="\n  ".join(["name the build tree with --build, the kernel source with --source", *_unread(tree)]),
    )


def _unread(tree: BuildTree) -> list[str]:
    """A sentence on the units whose commands can't be read, where there are any."""
    if not tree.broken:
        return []
    file, why = next(iter(sorted(tree.broken.items())))
    more = f", and {len(tree.broken) - 1} more like it" if len(tree.broken) > 1 else ""
    return [f"not asked: {file}: {why}{more}"]


def _units_seeing(tree: BuildTree, file: str) -> list[TranslationUnit]:
    """The units that compile `file` or include it."""
    if not file.endswith(HEADER_SUFFIXES):
        return _units_of_source(tree, file)
    units = tree.units_with_header(file) if len(tree) else []
    if not units:
        raise UserError(
            f"{file}: no unit with a known command includes it",
            hint="name the functions that use it (`fs/namei.c:function`), or build the tree first",
        )
    return units


def _units_of_source(tree: BuildTree, source: str | Path) -> list[TranslationUnit]:
    """The units that compile `source`, and those that include it as `kernel/sched/rt.c` is included."""
    # A unit whose headers are unknown would count as including everything.
    including = [unit for unit in tree.units_with_header(source) if unit.headers] if len(tree) else []
    try:
        own = tree.units_for_source(source) or [tree.ensure_unit(source)]
    except UserError:
        including = including or [tree.ensure_unit(path) for path in _including(tree, Path(source))]
        if not including:
            raise
        return including
    own = [unit for unit in own if unit.owner] or own
    objects = {unit.object for unit in own}
    return own + [unit for unit in including if unit.object not in objects]


def _including(tree: BuildTree, source: Path) -> list[Path]:
    """The sources beside `source` that include it."""
    folder = (tree.source or tree.root) / source.parent
    line = re.compile(rf'^\s*#\s*include\s*"(?:\./)?{re.escape(source.name)}"', re.MULTILINE)
    return [path for path in sorted(folder.glob("*.c")) if line.search(path.read_text(errors="surrogateescape"))]


def _defining(units: list[TranslationUnit], name: str) -> list[TranslationUnit]:
    """Those of `units` whose source or headers define `name`; all, where no definition can be made out."""
    names = spellings(name)
    files = {path for unit in units for path in (unit.source, *unit.headers)}
    defining = {path for path in files_mentioning(files, names) if _defines(path, names)}
    found = [unit for unit in units if not defining.isdisjoint((unit.source, *unit.headers))]
    return found or units


def _from_sources(tree: BuildTree, name: str) -> Concerned:
    """Units whose commands the tree does not have: found from the text of the source tree."""
    sources = tree.sources_mentioning(name)
    names = spellings(name)
    defining = [path for path in sources if _defines(path, names)]
    if not sources:
        raise UserError(f"no source of {tree.source} mentions {name!r}", hint=_closest(tree, name))
    warnings = _unread(tree)
    if not defining:
        warnings.append(
            f"{name} is not defined in a .c file, and this tree was never built, so which units include its "
            "definition is unknown: only those that mention it themselves were asked"
        )
    units = _with_commands(tree, defining or sources, warnings)
    return Concerned(tuple(units), tuple(warnings))


def _closest(tree: BuildTree, name: str) -> str:
    """A hint with the names of functions and macros in the sources that are spelled nearly like `name`."""
    words = similar_words(tree.source_files((".c", ".h")), name)
    close = difflib.get_close_matches(name, sorted(words), SUGGESTIONS, 0.75)
    if close:
        return f"did you mean {', '.join(close)}?"
    return "check the spelling, or name it as file.c:function"


def _with_commands(tree: BuildTree, sources: Iterable[Path], warnings: list[str]) -> list[TranslationUnit]:
    """The units of `sources`; one that the configuration leaves out has no command and is named in a warning."""
    units: dict[Path, TranslationUnit] = {}
    left_out: dict[str, None] = {}
    for source in sources:
        try:
            units.update((unit.object, unit) for unit in _units_of_source(tree, source))
        except UserError as error:
            left_out[f"not asked: {error.message}"] = None
    warnings += left_out
    if not units:
        raise UserError("no unit of this configuration has the function", hint="\n  ".join(warnings))
    return list(units.values())


def _defines(path: Path, names: Iterable[str]) -> bool:
    """Whether `path` has a definition of a function, or of a macro that makes one, under one of `names`."""
    try:
        text = path.read_text(errors="surrogateescape")
    except OSError:
        # A file that can't be read may define it.
        return True
    wanted = set(names)
    if not _may_define(wanted).search(text):
        return False
    found = (d for d in definitions(text) if d.kind in ("function", "macro"))
    return any(not wanted.isdisjoint(spellings(d.name)) for d in found)


def _may_define(names: Iterable[str]) -> re.Pattern[str]:
    """A quick filter before the scanner: a name with a body or a macro's text behind it, old style included."""
    name = "|".join(map(re.escape, names))
    return re.compile(
        rf"\b(?:{name})\b(?:[^;{{}}]*\{{|\s*\([\w\s,]*\)\s*\w[^(){{}}]*;\s*\{{)|#\s*define\s+(?:{name})\b"
    )
