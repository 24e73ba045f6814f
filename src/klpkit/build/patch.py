"""Source patches: reading a unified diff against a source tree, and what the patched files look like.

Accepts what `diff -u` and `git diff` write.  The prefix to strip (`patch -p`) is found from the tree.  Hunks are
applied exactly, in memory: context that does not match refuses the patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from klpkit.build.touched import Touched, touched_functions
from klpkit.errors import FormatError, UserError

if TYPE_CHECKING:
    from unidiff.patch import Line, PatchedFile, PatchSet

__all__ = ["FilePatch", "Patch", "Touched", "read_patch", "touched_functions"]

_NOTHING = "/dev/null"
# How far a hunk may lie from where it says, as `patch` allows.
_SEARCH_LINES = 1000


@dataclass(frozen=True, slots=True)
class FilePatch:
    """One file: `path` relative to the source tree, its text before and after (None where it does not exist)."""

    path: str
    original: str | None
    patched: str | None
    renamed_from: str = ""


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch that fits the source tree `source`; `strip` is the number of leading folders taken off its paths."""

    files: tuple[FilePatch, ...]
    source: Path
    strip: int


def read_patch(path: Path, source: Path) -> Patch:
    """The patch in the file `path` as it applies to the source tree `source`, which stays as it is.

    Raises `FormatError` for what is no unified diff, and `UserError` where a path leaves the tree, a file is
    missing or a hunk does not apply.
    """
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="name a readable patch file") from error
    parsed = _parse(text, path)
    strip = _find_strip(parsed, source, path)
    files = tuple(_file_patch(entry, source, strip, path) for entry in parsed)
    return Patch(files, source, strip)


def _parse(text: str, path: Path) -> PatchSet:
    from unidiff.errors import UnidiffParseError
    from unidiff.patch import PatchSet

    try:
        parsed = PatchSet(text)
    except UnidiffParseError as error:
        raise FormatError(
            path, "", f"not a unified diff: {error}", hint="make it with diff -u or git diff"
        ) from error
    if not parsed:
        raise FormatError(path, "", "holds no change to any file", hint="make it with diff -u or git diff")
    if binary := next((entry.path for entry in parsed if entry.is_binary_file), ""):
        raise UserError(
            f"{path}: changes the binary file {binary}", hint="leave it out; only sources can be patched"
        )
    return parsed


def _names(entry: PatchedFile) -> tuple[str, str]:
    """The two names of a patched file, "" for one that does not exist on its side."""
    old, new = (name.split("\t")[0] for name in (entry.source_file, entry.target_file))
    return ("" if old == _NOTHING else old, "" if new == _NOTHING else new)


def _find_strip(parsed: PatchSet, source: Path, path: Path) -> int:
    """The number of leading folders that makes every changed file exist below `source`."""
    names = [_names(entry) for entry in parsed]
    for name in (name for pair in names for name in pair if name):
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise UserError(
                f"{path}: the path {name} leaves the source tree", hint="make the patch inside the tree"
            )
    deepest = min(len(PurePosixPath(name).parts) for pair in names for name in pair if name)
    # Git's a/ and b/ first, so that a folder named `a` in the tree does not confuse.
    git = all(old.startswith("a/") or not old for old, _ in names)
    git = git and all(new.startswith("b/") or not new for _, new in names)
    for strip in sorted(range(deepest), key=lambda n: (n != 1, n) if git else (n, n)):
        if _fits(names, source, strip):
            return strip
    missing = next((old for old, _ in names if old and not (source / _stripped(old, 1)).exists()), names[0][1])
    raise UserError(f"{path}: {missing} is not in {source}", hint="name the source tree that the patch is for")


def _fits(names: Sequence[tuple[str, str]], source: Path, strip: int) -> bool:
    """Whether every file to be changed exists with `strip` folders taken off; for new files their folder."""
    changed = [source / _stripped(old, strip) for old, _ in names if old]
    if changed:
        return all(place.is_file() for place in changed)
    return all((source / _stripped(new, strip)).parent.is_dir() for _, new in names)


def _stripped(name: str, strip: int) -> str:
    return str(PurePosixPath(*PurePosixPath(name).parts[strip:]))


def _file_patch(entry: PatchedFile, source: Path, strip: int, path: Path) -> FilePatch:
    old, new = (_stripped(name, strip) if name else "" for name in _names(entry))
    original = _read_inside(source, old, path) if old else None
    _inside(source, new or old, path)
    patched = _apply(original or "", entry, path) if new else None
    if not new and _apply(original or "", entry, path):
        raise UserError(f"{path}: deletes {old}, which holds more than it says", hint="make the patch anew")
    return FilePatch(new or old, original, patched, old if old and new and old != new else "")


def _inside(source: Path, name: str, path: Path) -> Path:
    """The file `name` of the tree; refused where a symbolic link leads out of it."""
    place = source / name
    if not place.resolve().is_relative_to(source.resolve()):
        raise UserError(f"{path}: {name} leads out of the source tree", hint="replace the symbolic link")
    return place


def _read_inside(source: Path, name: str, path: Path) -> str:
    try:
        return _inside(source, name, path).read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{path}: can't read {name}: {error.strerror}", hint="check the source tree") from error


def _apply(text: str, entry: PatchedFile, path: Path) -> str:
    """`text` with the hunks of `entry`; every line of context and every removed line must match."""
    # Not splitlines(): form feeds and kin stand inside lines of C.
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    result: list[str] = []
    done, shift = 0, 0
    for hunk in entry:
        before = [_line(line) for line in hunk if not line.is_added and line.line_type != "\\"]
        after = [_line(line) for line in hunk if not line.is_removed and line.line_type != "\\"]
        expected = max(hunk.source_start - 1, 0) + shift if hunk.source_length else hunk.source_start + shift
        start = _find(lines, before, expected, done)
        if start is None:
            which = f"hunk {list(entry).index(hunk) + 1} of {entry.path}, line {hunk.source_start}"
            hint = "check that the source is the version that the patch is for and is not patched yet"
            raise UserError(f"{path}: {which} does not apply", hint=hint)
        shift += start - expected
        result += lines[done:start] + after
        done = start + len(before)
    result += lines[done:]
    return "\n".join(result) + "\n" if result else ""


def _line(line: Line) -> str:
    return str(line.value).removesuffix("\n")


def _find(lines: Sequence[str], before: Sequence[str], expected: int, first: int) -> int | None:
    """Where `before` stands in `lines`, nearest to `expected` and not above `first`."""
    for distance in range(_SEARCH_LINES):
        for start in {expected - distance, expected + distance}:
            if first <= start <= len(lines) and list(lines[start : start + len(before)]) == list(before):
                return start
        if not before:
            return None
    return None
