"""Source patches: reading unified diffs against a source tree, and what the patched files look like.

Accepts what `diff -u` and `git diff` write (git-diff manual, "Generating patch text"), new, deleted, renamed and
copied files included.  The prefix to strip (`patch -p`) is found from the tree.  Everything happens in memory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from klpkit.build.hunks import HunkError, apply_hunks
from klpkit.build.touched import Touched, touched_functions
from klpkit.errors import FormatError, UserError

if TYPE_CHECKING:
    from unidiff.patch import PatchedFile, PatchSet

__all__ = ["FilePatch", "Patch", "Touched", "read_patch", "read_patches", "touched_functions"]

_NOTHING = "/dev/null"
# In any time zone.
_EPOCH = ("1970-01-01", "1969-12-31")
_ESCAPE = re.compile(r"\\([0-7]{3}|.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


@dataclass(frozen=True, slots=True)
class FilePatch:
    """One file: `path` relative to the source tree, its text before and after (None where it does not exist).

    Bytes that are no UTF-8 are surrogates in the texts.
    """

    path: str
    original: str | None
    patched: str | None
    renamed_from: str = ""


@dataclass(frozen=True, slots=True)
class Patch:
    """Patches that fit the source tree `source`, taken together.

    `strip` is the number of leading folders taken off the paths of the first.  `notes` are sentences about hunks
    that were applied elsewhere than they say.
    """

    files: tuple[FilePatch, ...]
    source: Path
    strip: int
    notes: tuple[str, ...] = ()


def read_patch(path: Path, source: Path, *, fuzz: int = 0) -> Patch:
    """The patch in the file `path` as it applies to the source tree `source`, which stays as it is.

    Raises `FormatError` for what is no unified diff, and `UserError` where a path leaves the tree, a file is
    missing or a hunk does not apply.
    """
    return read_patches([path], source, fuzz=fuzz)


def read_patches(paths: Sequence[Path], source: Path, *, fuzz: int = 0) -> Patch:
    """As `read_patch` for several patches, each applied to what the ones before it left.

    `fuzz` lines of context at either end of a hunk may differ.
    """
    tree = _Tree(source)
    strips = [_apply_patch(path, tree, fuzz) for path in paths]
    return Patch(tuple(tree.files()), source, strips[0] if strips else 0, tuple(tree.notes))


class _Tree:
    """The source tree with what has been applied so far on top."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.notes: list[str] = []
        self._original: dict[str, str | None] = {}
        self._now: dict[str, str | None] = {}
        self._renamed: dict[str, str] = {}

    def exists(self, name: str) -> bool:
        name = self._canonical(name)
        return self._now[name] is not None if name in self._now else (self.source / name).is_file()

    def has_folder(self, name: str) -> bool:
        return (self.source / name).parent.is_dir()

    def read(self, name: str, path: Path) -> str:
        """The text of the file `name` as it is now; `path` is the patch that asks."""
        name = self._load(name, path)
        text = self._now[name]
        if text is None:
            raise UserError(f"{path}: {name} is not in {self.source}", hint="check the order of the patches")
        return text

    def write(self, name: str, text: str | None, path: Path) -> None:
        self._now[self._load(name, path)] = text

    def state(self) -> dict[str, str | None]:
        return dict(self._now)

    def restore(self, state: dict[str, str | None]) -> None:
        self._now = {**self._original, **state}

    def rename(self, old: str, new: str) -> None:
        self._renamed[new] = self._renamed.pop(old, old)

    def files(self) -> Iterable[FilePatch]:
        for name, original in self._original.items():
            now = self._now[name]
            if now != original:
                yield FilePatch(name, original, now, self._renamed.get(name, "") if now is not None else "")

    def _canonical(self, name: str) -> str:
        """`name` without the symbolic links on its way, so that a file has one name."""
        place, top = os.path.realpath(self.source / name), os.path.realpath(self.source)
        return os.path.relpath(place, top) if place.startswith(top + "/") else name

    def _load(self, name: str, path: Path) -> str:
        if not (self.source / name).resolve().is_relative_to(self.source.resolve()):
            raise UserError(f"{path}: {name} leads out of the source tree", hint="replace the symbolic link")
        name = self._canonical(name)
        if name in self._now:
            return name
        try:
            text = (self.source / name).read_bytes().decode(errors="surrogateescape")
        except FileNotFoundError:
            text = None
        except OSError as error:
            raise UserError(
                f"{path}: can't read {name}: {error.strerror}", hint="check the source tree"
            ) from error
        self._original[name] = self._now[name] = text
        return name


def _apply_patch(path: Path, tree: _Tree, fuzz: int) -> int:
    """Apply the patch in the file `path` to `tree`; the number of folders that were stripped."""
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="name a readable patch file") from error
    parsed = _parse(text, path)
    entries = [(entry, *_names(entry)) for entry in parsed]
    _refuse_outside(entries, path)
    try:
        strip = _find_strip([(old, new) for _, old, new in entries], tree, path)
        stripped = [(entry, _stripped(old, strip), _stripped(new, strip)) for entry, old, new in entries]
    except UserError:
        _refuse_applied(entries, tree, path)
        raise
    state = tree.state()
    for entry, old, new in stripped:
        try:
            _apply_file(entry, old, new, tree, path, fuzz)
        except HunkError as error:
            tree.restore(state)
            _refuse_applied(entries, tree, path)
            hint = "check that the source is the version that the patch is for"
            where = f"hunk {error.number} of {new or old}, line {error.line}"
            raise UserError(f"{path}: {where} {error}", hint=hint) from error
    return strip


def _parse(text: str, path: Path) -> PatchSet:
    from unidiff.errors import UnidiffParseError
    from unidiff.patch import PatchSet

    if "\nGIT binary patch" in text:
        raise UserError(f"{path}: holds a binary patch", hint="leave it out; only sources can be patched")
    try:
        parsed = PatchSet(text)
    except UnidiffParseError as error:
        hint = "make it with diff -u or git diff"
        raise FormatError(path, "", f"not a unified diff: {error}", hint=hint) from error
    if not parsed:
        raise FormatError(path, "", "holds no change to any file", hint="make it with diff -u or git diff")
    if binary := next((entry.path for entry in parsed if entry.is_binary_file), ""):
        raise UserError(
            f"{path}: changes the binary file {binary}", hint="leave it out; only sources can be patched"
        )
    return parsed


_Named = tuple["PatchedFile", str, str]


def _names(entry: PatchedFile) -> tuple[str, str]:
    """The two names of a patched file, "" for one that does not exist on its side."""
    old, new = (_unquoted(name.split("\t")[0]) for name in (entry.source_file, entry.target_file))
    # `diff -N` names both sides and gives the absent one no lines and the time 0.
    no_old = old == _NOTHING or (entry.is_added_file and _is_epoch(entry.source_timestamp))
    no_new = new == _NOTHING or (entry.is_removed_file and _is_epoch(entry.target_timestamp))
    return "" if no_old else old, "" if no_new else new


def _is_epoch(timestamp: str | None) -> bool:
    return (timestamp or "").startswith(_EPOCH)


def _unquoted(name: str) -> str:
    """A name as git writes it where it holds unusual bytes: in quotes, with escapes as in C."""
    if not (name.startswith('"') and name.endswith('"') and len(name) > 1):
        return name
    raw = _ESCAPE.sub(lambda m: chr(int(m[1], 8)) if m[1].isdigit() else _ESCAPED.get(m[1], m[1]), name[1:-1])
    return os.fsdecode(raw.encode("latin-1", errors="replace"))


def _refuse_outside(entries: Sequence[_Named], path: Path) -> None:
    for name in (name for _, *pair in entries for name in pair if name):
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise UserError(
                f"{path}: the path {name} leaves the source tree", hint="make the patch inside the tree"
            )


def _find_strip(names: Sequence[tuple[str, str]], tree: _Tree, path: Path) -> int:
    """The number of leading folders that makes every changed file exist in `tree`."""
    strip = _fitting(names, tree)
    if strip is not None:
        return strip
    missing = next((old for old, _ in names if old and not tree.exists(_stripped(old, 1))), names[0][1])
    raise UserError(
        f"{path}: {missing} is not in {tree.source}", hint="name the source tree that the patch is for"
    )


def _fitting(names: Sequence[tuple[str, str]], tree: _Tree) -> int | None:
    deepest = min(len(PurePosixPath(name).parts) for pair in names for name in pair if name)
    # Git's a/ and b/ first, so that a folder named `a` in the tree does not confuse.
    git = all(old.startswith("a/") or not old for old, _ in names)
    git = git and all(new.startswith("b/") or not new for _, new in names)
    order = sorted(range(deepest), key=lambda n: (n != 1, n) if git else (n, n))
    return next((strip for strip in order if _fits(names, tree, strip)), None)


def _fits(names: Sequence[tuple[str, str]], tree: _Tree, strip: int) -> bool:
    """Whether every file to be changed exists with `strip` folders taken off; for new files their folder."""
    made = {new for _, new in names}
    changed = [old for old, _ in names if old and old not in made] or [old for old, _ in names if old]
    if changed:
        return all(tree.exists(_stripped(old, strip)) for old in changed)
    return all(tree.has_folder(_stripped(new, strip)) for _, new in names)


def _stripped(name: str, strip: int) -> str:
    return str(PurePosixPath(*PurePosixPath(name).parts[strip:])) if name else ""


def _apply_file(entry: PatchedFile, old: str, new: str, tree: _Tree, path: Path, fuzz: int) -> None:
    if not old and tree.exists(new) and tree.read(new, path):
        raise HunkError(1, 1, "makes a file that is there already")
    original = tree.read(old, path) if old else ""
    patched, moved = apply_hunks(original, entry, fuzz=fuzz)
    tree.notes += [f"{path.name}: {new or old}: {note}" for note in moved]
    if not new:
        if patched:
            raise UserError(f"{path}: deletes {old}, which holds more than it says", hint="make the patch anew")
        tree.write(old, None, path)
        return
    if old and old != new and not any(line.startswith("copy from ") for line in entry.patch_info or ()):
        tree.write(old, None, path)
        tree.rename(old, new)
    tree.write(new, patched if len(entry) else original, path)


def _refuse_applied(entries: Sequence[_Named], tree: _Tree, path: Path) -> None:
    """Say so where the source already is what the patch makes of it."""
    strip = _fitting([(new, old) for _, old, new in entries], tree)
    if strip is None:
        return
    try:
        for entry, old, new in entries:
            if new:
                apply_hunks(tree.read(_stripped(new, strip), path), entry, reverse=True)
            elif tree.exists(_stripped(old, strip)):
                return
    except (HunkError, UserError):
        return
    raise UserError(
        f"{path}: the source has this change already, or the patch was made the wrong way round",
        hint="name the source as it was built, or take the change out of it with patch -R; old comes before new",
    )
