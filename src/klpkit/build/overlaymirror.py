"""A mirror of a source tree in which some files have another content, are new or are gone.

GCC knows no overlay of files, and a mount needs rights, so a mirror is a folder of links: real folders on the way
to every file that differs, links for all else.  A kernel of 86,000 files costs a few thousand links.  `..` after
a linked folder leads back into the original tree: folders that are left that way can be made real as well, and
`original_reads` finds what a compiler read past the mirror all the same.

Links lead through one link to the tree beside the mirrors, `ANCHOR`: a target below 60 bytes lies in the link's
inode on ext4, and a longer one takes a block, of which thousands are slow to give back.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from klpkit.errors import EnvironmentLackError

ANCHOR = ".tree"


def make_mirror(source: Path, place: Path, files: Mapping[str, str | None], folders: Iterable[str] = ()) -> None:
    """Make `place` a mirror of `source` in which `files` have these texts; None hides a file.

    Names are relative to the tree; bytes that are no UTF-8 are surrogates in the texts.  `folders` become real
    folders though nothing in them differs.  Raises `EnvironmentLackError` where `place` can't be written.
    """
    real = _with_parents([*map(_parent, files), *folders])
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _anchor(place.parent / ANCHOR, source.absolute())
        for folder in sorted(real):
            _make_folder(source / folder, place / folder, folder, real, files)
        for name, text in files.items():
            if text is not None:
                (place / name).write_bytes(text.encode(errors="surrogateescape"))
    except OSError as error:
        raise EnvironmentLackError(
            f"can't write {place}: {error.strerror}", hint="free some space or set TMPDIR to another place"
        ) from error


def _anchor(link: Path, source: Path) -> None:
    """Make `link` lead to `source`; mirrors of another tree beside this one would read the wrong files."""
    if not link.is_symlink():
        link.symlink_to(source)
    elif link.readlink() != source:
        raise ValueError(f"{link.parent} has mirrors of {link.readlink()}, and {source} is another tree")


def _with_parents(folders: Iterable[str]) -> set[str]:
    """`folders` and every folder above them; "" is the top."""
    real = {""}
    for folder in folders:
        while folder not in real:
            real.add(folder)
            folder = _parent(folder)
    return real


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _make_folder(original: Path, folder: Path, name: str, real: Collection[str], files: Collection[str]) -> None:
    """Make `folder` with links to what `original` holds, but for real folders and files that differ."""
    folder.mkdir(parents=True)
    if not original.is_dir():
        return  # new in the patch
    prefix = f"{name}/" if name else ""
    up = "../" * (prefix.count("/") + 1)
    with os.scandir(original) as entries:
        for entry in entries:
            inside = prefix + entry.name
            if inside not in real and inside not in files:
                (folder / entry.name).symlink_to(_own_target(entry) or f"{up}{ANCHOR}/{inside}")


def _own_target(entry: os.DirEntry[str]) -> str:
    """What `entry` points to where it is a relative link of the tree: it stays one, and leads to the mirror."""
    target = Path(entry.path).readlink() if entry.is_symlink() else None
    return "" if target is None or target.is_absolute() else str(target)


def original_reads(read: Iterable[str], changed: Collection[Path]) -> list[Path]:
    """Those of the files `changed` (real paths in the original tree) that are among the absolute paths `read`."""
    names = tuple({f"/{path.name}" for path in changed})
    candidates = (os.path.realpath(path) for path in read if path.endswith(names))
    return sorted({Path(path) for path in candidates} & set(changed))
