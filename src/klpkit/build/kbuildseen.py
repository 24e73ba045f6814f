"""Whether what Kbuild said of a source still holds: nothing that it read for it has changed since.

Beside what Kbuild left for a source in the copy of a prepared tree lies a mark: a hash of the names, sizes and
times of the source, its headers, and the makefiles that tell how it is compiled.  Who unpacks or copies
another version over a tree keeps old times, so they have to be equal, not only old.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_MAKEFILES = ("Makefile", "Kbuild")


class Seen:
    """The marks of one call, which looks at each file once; `source` is the top of the source tree."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._states: dict[str, tuple[int, int]] = {}

    def makefiles(self, target: str) -> Iterator[Path]:
        """The makefiles, there or not, from the folder of `target` to the top of its tree."""
        folder = (self._source / target).parent
        while folder != folder.parent:
            yield from (folder / name for name in _MAKEFILES)
            if folder == self._source:
                break
            folder = folder.parent

    def holds(self, mark: Path, files: Iterable[Path]) -> bool:
        """Whether `files` are as they were when `mark` was made."""
        return mark.is_file() and mark.read_text() == self._hash(files)

    def note(self, mark: Path, files: Iterable[Path], begun: int) -> None:
        """Make `mark`, unless one of `files` has changed since `begun` (nanoseconds): what was read is unknown."""
        names = list(files)
        text = self._hash(names)
        if all(self._state(str(name))[1] < begun for name in names):
            mark.write_text(text)

    def _hash(self, files: Iterable[Path]) -> str:
        states = ((name, *self._state(name)) for name in map(str, files))
        text = "\n".join(f"{name}\0{size}\0{time}" for name, size, time in states)
        return hashlib.sha256(os.fsencode(text)).hexdigest()

    def _state(self, name: str) -> tuple[int, int]:
        """Size in bytes and time in nanoseconds of a file; (-1, 0) where there is none."""
        if name not in self._states:
            try:
                status = os.stat(name)  # noqa: PTH116 - a unit has a thousand headers, and Path is slow
                self._states[name] = status.st_size, status.st_mtime_ns
            except (FileNotFoundError, NotADirectoryError):
                self._states[name] = -1, 0
        return self._states[name]
