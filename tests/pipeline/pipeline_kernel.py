"""Patches for the stock kernel's sources, and sources and build trees that are not quite the stock kernel's."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from click.testing import Result

Build = Callable[..., Result]

MEMINFO = ("fs/proc/meminfo.c", '\tshow_val_kb(m, "MemFree:        ", i.freeram);\n')


def patch(path: Path, source: Path, name: str, old: str, new: str) -> Path:
    """A patch that replaces text which occurs once in the file `name`; appended where `path` is there already."""
    before = (source / name).read_text()
    assert before.count(old) == 1
    lines = (text.splitlines(keepends=True) for text in (before, before.replace(old, new)))
    with path.open("a") as stream:
        stream.writelines(difflib.unified_diff(*lines, f"a/{name}", f"b/{name}"))
    return path


def meminfo_patch(path: Path, source: Path) -> Path:
    """A patch of one function of a small unit."""
    name, line = MEMINFO
    return patch(path, source, name, line, line + '\tseq_puts(m, "Fixed: yes\\n");\n')


def copy_source(source: Path, place: Path, name: str) -> Path:
    """The source tree as a folder of links at `place`, in which the file `name` is a copy."""
    folders = ["", *(str(folder) for folder in reversed(Path(name).parents) if folder.name)]
    for folder, inside in zip(folders, [*folders[1:], name], strict=True):
        (place / folder).mkdir()
        for entry in (source / folder).iterdir():
            if entry != source / inside:
                (place / folder / entry.name).symlink_to(entry)
    shutil.copyfile(source / name, place / name)
    return place


def other_headers(headers: Path, place: Path, words: Mapping[str, str]) -> Path:
    """A header package with another configuration: links, but for what the configuration is in."""
    place.mkdir()
    for entry in headers.iterdir():
        if entry.name not in ("include", ".config"):
            (place / entry.name).symlink_to(entry.resolve())
    shutil.copytree(headers / "include", place / "include", symlinks=True)
    shutil.copyfile(headers / ".config", place / ".config")
    _replace(place, (".config", "include/config/auto.conf", "include/generated/autoconf.h"), words)
    return place


def other_build(build: Path, place: Path, words: Mapping[str, str]) -> Path:
    """A copy of a prepared build tree in whose configuration and commands `words` are others."""
    shutil.copytree(build, place, symlinks=True)
    files = (".config", "include/config/auto.conf", "include/generated/autoconf.h", "scripts/mod/.empty.o.cmd")
    _replace(place, files, words)
    return place


def _replace(place: Path, files: Iterable[str], words: Mapping[str, str]) -> None:
    for file in files:
        text = (place / file).read_text()
        for old, new in words.items():
            text = text.replace(old, new)
        (place / file).write_text(text)
