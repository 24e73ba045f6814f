"""Which translation units have to be asked about a function: those that define it, or include its definition.

Found from sources, dependency lists and object symbols.  Without link-time optimisation a function's body can be
used only in a unit that sees it, so a public function concerns the unit that defines it and a header's function
every unit that includes the header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.build.csource import definitions
from klpkit.build.mentions import files_mentioning, spellings
from klpkit.build.tree import BuildTree
from klpkit.errors import UserError

HEADER_SUFFIXES = (".h", ".inc", ".hh", ".hpp")


@dataclass(frozen=True, slots=True)
class Concerned:
    """The units to ask about one function; `warnings` say what can't be known of the tree."""

    units: tuple[TranslationUnit, ...]
    warnings: tuple[str, ...] = ()


def concerned_units(tree: BuildTree, spec: str) -> Concerned:
    """The units of `tree` that `spec`, a function's name or `file:name`, concerns.

    Raises `UserError` where no unit and no source of the tree mentions the function, or no unit sees the file.
    """
    file, _, name = spec.rpartition(":")
    if file:
        return Concerned(tuple(_units_seeing(tree, file)))
    units = _defining(tree.units_mentioning(name), name) if len(tree) else []
    if units:
        return Concerned(tuple(units))
    return _from_sources(tree, name)


def _units_seeing(tree: BuildTree, file: str) -> list[TranslationUnit]:
    if not file.endswith(HEADER_SUFFIXES):
        return [tree.ensure_unit(file)]
    units = tree.units_with_header(file) if len(tree) else []
    if not units:
        raise UserError(
            f"{file}: no unit with a known command includes it",
            hint="name the unit that uses the function (`fs/namei.c:function`), or build the tree first",
        )
    return units


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
        raise UserError(
            f"no source of {tree.source} mentions {name!r}",
            hint="check the spelling, or name it as file.c:function",
        )
    warnings: list[str] = []
    if not defining:
        warnings.append(
            f"{name} is not defined in a .c file, and this tree was never built, so which units include its "
            "definition is unknown: only those that mention it themselves were asked"
        )
    return Concerned(tuple(_with_commands(tree, defining or sources, warnings)), tuple(warnings))


def _with_commands(tree: BuildTree, sources: Iterable[Path], warnings: list[str]) -> list[TranslationUnit]:
    """The units of `sources`; one that the configuration leaves out has no command and is named in a warning."""
    units = []
    for source in sources:
        try:
            units.append(tree.ensure_unit(source))
        except UserError as error:
            warnings.append(f"not asked: {error.message}")
    if not units:
        raise UserError("no unit of this configuration has the function:\n  " + "\n  ".join(warnings))
    return units


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
