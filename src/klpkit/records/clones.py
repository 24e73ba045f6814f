"""GCC's clone dumps (`-fdump-ipa-clones`): finding them, and reading them as one table of effects."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from klpkit.errors import UserError
from klpkit.records.model import EffectTable

DUMP_SUFFIX = ".ipa-clones"

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def find_dumps(paths: Paths) -> list[str]:
    """The clone dumps that `paths` name, sorted: a file is itself, a folder every dump below it.

    Symbolic links to folders are not followed (an `O=` build tree links to the source).  UserError for a path
    that does not exist and for a folder without any dump.
    """
    found: set[str] = set()
    for path in _each(paths):
        if Path(path).is_dir():
            below = list(_walk(path))
            if not below:
                raise UserError(
                    f"no clone dumps (*{DUMP_SUFFIX}) below {path}",
                    hint="build with -fdump-ipa-clones in the compiler flags (KCFLAGS for a kernel)",
                )
            found.update(below)
        elif Path(path).exists():
            found.add(path)
        else:
            raise UserError(f"{path}: no such file or folder")
    return sorted(found)


def _each(paths: Paths) -> Iterator[str]:
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    return (os.fspath(path) for path in paths)


def _walk(folder: str) -> Iterator[str]:
    """Every dump below `folder`; plain strings and no `stat`, because a kernel tree has 100,000 entries."""
    todo = [folder]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    if entry.name.endswith(DUMP_SUFFIX):
                        yield entry.path
                    elif entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        except OSError as error:
            raise UserError(f"can't read the folder {error.filename}: {error.strerror}") from error


def read_clone_dumps(paths: Paths, *, lenient: bool = False, cache: bool = True) -> EffectTable:
    """The effects that clone dumps record, `paths` as for `find_dumps`.

    A function is known by (dump, symbol, order) and its place in the source; `unit` is the dump's path as
    given.  Nodes of one dump that are the same function are joined by effects with the cause `same-function`
    in both directions.  No effect crosses from one dump to another; for link-time dumps see `clones_lto`.

    A line that is no record is a `FormatError` naming file and line, or with `lenient` a warning of the table
    with a count.  With `cache`, the table is kept below the user's cache folder for as long as no dump's size
    or time changes.
    """
    from klpkit.records import clonebulk, clonecache

    dumps = find_dumps(paths)
    _reject_line_breaks(dumps)
    if not cache:
        return clonebulk.read_dumps(dumps, lenient=lenient)
    key = clonecache.key_of(dumps, lenient=lenient)
    table = clonecache.load(key)
    if table is None:
        table = clonebulk.read_dumps(dumps, lenient=lenient)
        # What changed while it was read must not be found under the old name.
        if clonecache.key_of(dumps, lenient=lenient) == key:
            clonecache.store(key, table)
    return table


def _reject_line_breaks(dumps: Sequence[str]) -> None:
    for path in dumps:
        if "\n" in path:
            raise UserError(f"{path!r}: a dump whose name holds a line break can't be read", hint="rename it")
