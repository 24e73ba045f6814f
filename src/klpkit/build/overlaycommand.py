"""A compile command that reads a mirror of the source tree in place of the tree.

Paths into the tree are found in the arguments that name files to read (GCC manual, "Directory Options" and
"Preprocessor Options").  A command that runs inside the tree runs inside the mirror and keeps its relative paths.
`__FILE__` stays what it was: prefix maps are rewritten, and one is added where the command has none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from klpkit.build.command import VALUE_OPTIONS, TranslationUnit, source_word

# Options whose value, the next word or joined, names a file or folder that the compiler reads.
_READS = (
    *("-include", "-imacros", "-isystem", "-iquote", "-idirafter", "-isysroot", "-iprefix", "--include"),
    *("-I", "-Wa,-I", "-Wp,-I", "--sysroot", "--include="),
)
_MAPS = ("-fmacro-prefix-map=", "-ffile-prefix-map=", "-fdebug-prefix-map=", "-fprofile-prefix-map=")
_MACRO_MAPS = _MAPS[:2]
# Options about lists of dependencies: those with a value, and all that begin so.
_DEPENDENCY_VALUES = frozenset({"-MF", "-MT", "-MQ", "-MJ"})
_DEPENDENCY_PREFIXES = ("-MD", "-MM", "-MP", "-MG", "-MF", "-MT", "-MQ", "-Wp,-M")


@dataclass(frozen=True)
class Place:
    """A source tree as commands in the folder `directory` spell it."""

    source: Path
    directory: Path

    def inside(self, name: str) -> str | None:
        """The path `name` relative to the source tree, None where it leads elsewhere; `..` stays in the rest."""
        path = self.directory / name
        for parent in (path, *path.parents):
            if _identity(parent) == self._top:
                return str(path.relative_to(parent))
        return None

    def left(self, name: str) -> Iterator[str]:
        """The folders of the source tree, relative to it, that a `..` in the path `name` leaves."""
        if ".." not in name:
            return
        top = os.path.realpath(self.source)
        parts = (self.directory / name).parts
        for index, part in enumerate(parts):
            real = os.path.realpath(Path(*parts[:index])) if part == ".." else ""
            if real.startswith(f"{top}/"):
                yield os.path.relpath(real, top)

    @cached_property
    def own(self) -> str | None:
        """The folder of the command relative to the source tree, None where it lies elsewhere."""
        real = Path(os.path.realpath(self.directory))
        top = Path(os.path.realpath(self.source))
        return str(real.relative_to(top)) if real.is_relative_to(top) else None

    @cached_property
    def _top(self) -> tuple[int, int] | None:
        return _identity(self.source)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def through_mirror(unit: TranslationUnit, source: Path, mirror: Path) -> TranslationUnit:
    """`unit` reading `mirror` in place of `source`, and writing a list of all that it read beside its object."""
    place = Place(source, unit.directory)
    rewriter = _Rewriter(place, mirror)
    arguments = list(rewriter.arguments(_without_dependencies(unit.arguments)))
    if rewriter.spelled and not rewriter.mapped:
        spelled = rewriter.spelled[-1]  # the source comes last
        arguments.append(f"-fmacro-prefix-map={mirror}/={spelled}")
    inside = place.inside(str(unit.source))
    return replace(
        unit,
        arguments=(*arguments, "-MD", "-MF", f"{unit.object.name}.d"),
        directory=unit.directory if place.own is None else mirror / place.own,
        source=unit.source if inside is None else mirror / inside,
    )


def paths_read(unit: TranslationUnit, source: Path) -> list[str]:
    """The paths into `source` that the command names for reading, as it spells them."""
    rewriter = _Rewriter(Place(source, unit.directory), Path("/"))
    for _ in rewriter.arguments(unit.arguments):
        pass
    return rewriter.found


class _Rewriter:
    """Goes through the words of a command.

    `found` collects the paths into the tree as they are spelled, `spelled` how the command spelled the tree where
    it was rewritten; `mapped` says that a map of `__FILE__` was.
    """

    def __init__(self, place: Place, mirror: Path) -> None:
        self._place = place
        self._mirror = mirror
        self.found: list[str] = []
        self.spelled: list[str] = []
        self.mapped = False

    def arguments(self, words: Iterable[str]) -> Iterator[str]:
        words = list(words)
        source = source_word(words)
        rest = iter(words)
        for word in rest:
            if word in VALUE_OPTIONS:
                value = next(rest, None)
                yield word
                if value is not None:
                    yield self._path(value) if word in _READS else value
            elif word == source:
                yield self._path(word)
            else:
                yield self._joined(word)

    def _joined(self, word: str) -> str:
        for option in _MAPS:
            if word.startswith(option):
                old, equals, new = word.removeprefix(option).partition("=")
                changed = self._path(old, remember=False)
                self.mapped |= changed != old and option in _MACRO_MAPS
                return f"{option}{changed}{equals}{new}"
        for option in _READS:
            if word.startswith(option) and len(word) > len(option):
                equals = "=" if word[len(option)] == "=" else ""
                return f"{option}{equals}{self._path(word[len(option) + len(equals) :])}"
        return word

    def _path(self, word: str, *, remember: bool = True) -> str:
        inside = self._place.inside(word) if word else None
        if inside is None:
            return word
        self.found.append(word)
        if self._place.own is not None and not word.startswith("/"):
            return word  # the command runs in the mirror
        slash = "/" if word.endswith("/") else ""
        if remember:
            self.spelled.append(_prefix(word.rstrip("/"), inside))
        return f"{self._mirror}/{inside}{slash}" if inside != "." else f"{self._mirror}{slash}"


def _prefix(word: str, inside: str) -> str:
    """How `word` spells the source tree, up to and with the slash."""
    return f"{word}/" if inside == "." else word.removesuffix(inside)


def _without_dependencies(words: Iterable[str]) -> Iterator[str]:
    rest = iter(words)
    for word in rest:
        if word in _DEPENDENCY_VALUES:
            next(rest, None)
        elif word in VALUE_OPTIONS:
            yield word
            yield from (value for value in [next(rest, None)] if value is not None)
        elif not word.startswith(_DEPENDENCY_PREFIXES):
            yield word
