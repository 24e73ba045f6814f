"""Which translation units a source patch affects, and what of it can't become part of a live patch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from klpkit.build.command import TranslationUnit
from klpkit.build.includers import includers
from klpkit.build.kbuild import NotBuiltError
from klpkit.build.owners import is_other_program
from klpkit.build.patch import FilePatch, Patch
from klpkit.build.tree import BuildTree
from klpkit.errors import RefusedError, UserError

_BUILD_RULES = ("Makefile", "Kbuild", "Kconfig")
_COMPILED = (".c", ".cc", ".cpp", ".cxx", ".C")
_INCLUDED = (*_COMPILED, ".h", ".hpp", ".inc", ".def", ".S", ".hh")
# Parts of a kernel tree that are no kernel code.
_BESIDE = ("Documentation", "tools", "scripts", "samples", "usr", "rust")
# Asking Kbuild for a unit takes a quarter of a second, compiling it twice ten.
MANY_CANDIDATES = 1500


@dataclass(frozen=True, slots=True)
class Affected:
    """The units to compile.

    `others` see the change too, and a live patch can't change them: assembler sources, programs beside the kernel.
    `notes` are sentences about files that no unit sees.
    """

    units: tuple[TranslationUnit, ...]
    others: tuple[TranslationUnit, ...]
    notes: tuple[str, ...]


def affected_units(tree: BuildTree, patch: Patch, named: Sequence[str] = ()) -> Affected:
    """The units of `tree` whose source or headers `patch` changes; `named` sources alone where there are any.

    Raises `RefusedError` where the patch changes what is no C code of the kernel and matters, or nothing that
    is built, and `UserError` where the tree can't tell which units include a header.
    """
    _refuse_rules(patch)
    if named:
        units = tree.ensure_units(named)
        return _split(units, tree, ["only the units that were named are patched"])
    finder = _Finder(tree, patch)
    units = finder.units()
    if not units:
        hint = "check the patch, the configuration and --build; " + "; ".join(finder.notes)
        raise RefusedError("nothing-built", "no unit that this build compiles sees the changed files", hint=hint)
    return _split(units, tree, finder.notes)


def _refuse_rules(patch: Patch) -> None:
    for file in patch.files:
        name = PurePosixPath(file.path).name
        if name.split(".")[0] in _BUILD_RULES and not file.path.startswith(_BESIDE):
            hint = "units are compiled as they were: leave it out of the patch if the fix does not need it"
            raise RefusedError("build-rules", f"the patch changes {file.path}, a rule of the build", hint=hint)


class _Finder:
    """Looks for the units of each file of a patch; `notes` tells what came of files without any."""

    def __init__(self, tree: BuildTree, patch: Patch) -> None:
        self._tree = tree
        self._patch = patch
        self.notes: list[str] = []

    def units(self) -> list[TranslationUnit]:
        found: dict[Path, TranslationUnit] = {}
        for file in self._patch.files:
            if file.original is None:
                continue  # new: seen through the files that include it, or under the name that it had
            units = self._units_of(file)
            found |= {unit.object: unit for unit in units}
            if not units:
                self.notes.append(f"no unit of this build sees {file.path}")
        missing = self._not_listed()
        for unit in self._from_text(missing) if missing else ():
            found[unit.object] = unit
        return list(found.values())

    def _units_of(self, file: FilePatch) -> list[TranslationUnit]:
        path = self._patch.source / file.path
        if not file.path.endswith(_INCLUDED) or file.path.split("/")[0] in _BESIDE:
            return []
        units = self._tree.units_for_source(path)
        if not units and path.suffix in _COMPILED and not self._tree.is_complete and file.original is not None:
            units = self._asked(file)
        if units and file.patched is None and not self._is_renamed(file):
            hint = "keep the file and empty the functions in it"
            raise RefusedError("deleted-source", f"the patch deletes {file.path}, which is built", hint=hint)
        return [*units, *self._tree.units_with_header(path, everything=True)]

    def _asked(self, file: FilePatch) -> list[TranslationUnit]:
        try:
            return [self._tree.ensure_unit(self._patch.source / file.path)]
        except NotBuiltError:
            return []

    def _is_renamed(self, file: FilePatch) -> bool:
        return any(other.renamed_from == file.path for other in self._patch.files)

    def _not_listed(self) -> list[Path]:
        """Changed files that units without a dependency list may include."""
        if self._tree.is_complete:
            return []
        files = [file.path for file in self._patch.files if file.original is not None]
        files = [name for name in files if name.split("/")[0] not in _BESIDE]
        return [self._patch.source / name for name in files if name.endswith((".h", ".inc", ".def", ".hpp"))]

    def _from_text(self, headers: Sequence[Path]) -> list[TranslationUnit]:
        """The units that the configuration builds and whose text leads to `headers`."""
        seen = includers(self._tree.source_files((".c", ".h", ".inc")), headers)
        sources = sorted(path for path in seen if path.suffix == ".c")
        names = ", ".join(path.name for path in headers)
        if len(sources) > MANY_CANDIDATES:
            hint = "build the tree, so that dependency lists exist, or name the units to patch with --unit"
            raise UserError(
                f"{len(sources)} sources may include {names}, and this tree was never built", hint=hint
            )
        units = [u for u in self._tree.built_units(sources) if not set(u.headers).isdisjoint(headers)]
        self.notes.append(f"{len(units)} of {len(sources)} sources that may include {names} are built and do")
        return units


def _split(units: Sequence[TranslationUnit], tree: BuildTree, notes: Sequence[str]) -> Affected:
    """`units` apart: what a live patch can change, and what only must not differ."""
    kept: list[TranslationUnit] = []
    others: list[TranslationUnit] = []
    for unit in units:
        name = os.path.relpath(unit.object, tree.root)
        if _has_lto(unit):
            hint = "its functions come into being at link time; build the tree without LTO"
            raise RefusedError("lto-tree", f"{name} is compiled with link-time optimisation", hint=hint)
        # Some of the kernel's own code lies among the sources of the vDSO.
        beside = (is_other_program(name) and not unit.owner) or unit.language == "assembler"
        (others if beside else kept).append(unit)
    return Affected(tuple(kept), tuple(others), tuple(notes))


def _has_lto(unit: TranslationUnit) -> bool:
    """Whether the last word about link-time optimisation turns it on."""
    words = [word for word in unit.arguments if word == "-fno-lto" or word.startswith("-flto")]
    return bool(words) and words[-1] != "-fno-lto"
