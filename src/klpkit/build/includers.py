"""Which sources may include a file, found in their text: for a tree whose dependency lists do not exist yet.

Says too much rather than too little: conditionals are not evaluated, and a name in angle brackets matches every
path that ends so.  Kbuild's dependency lists then tell which of the candidates really do.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

# Not anchored to the start of a line: that would take eight times as long, and finds as good as the same.  A name
# that a macro makes stands for a file that its user includes by itself (trace headers), or for a generated one.
_INCLUDE = re.compile(rb'#[ \t]*include[ \t]*(["<])([^">\n]+)')


def includers(files: Iterable[Path], wanted: Iterable[Path]) -> set[Path]:
    """Those of `files` that may include one of `wanted` directly or through others of `files`."""
    direct = _Includes(files)
    found: set[Path] = set()
    fresh = set(wanted)
    while fresh:
        seen = {includer for path in fresh for includer in direct.of(path)}
        fresh = seen - found
        found |= fresh
    return found


class _Includes:
    """Who includes what, by the last part of the name."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._by_name: dict[str, list[tuple[Path, str, bool]]] = defaultdict(list)
        for path in files:
            try:
                content = path.read_bytes()
            except OSError:
                continue  # gone, or a link that leads nowhere: it can't be compiled either
            for mark, name in _INCLUDE.findall(content):
                spelled = os.path.normpath(os.fsdecode(name))
                self._by_name[spelled.rpartition("/")[2]].append((path, spelled, mark == b'"'))

    def of(self, wanted: Path) -> Iterable[Path]:
        """The files with an `#include` that may mean `wanted`."""
        for path, spelled, quoted in self._by_name.get(wanted.name, ()):
            if _may_mean(path, spelled, quoted, wanted):
                yield path


def _may_mean(path: Path, spelled: str, quoted: bool, wanted: Path) -> bool:
    beside = path.parent / spelled
    if quoted and os.path.normpath(beside) == str(wanted):
        return True
    if quoted and beside.is_file():
        return False  # the compiler looks beside the including file first
    tail = spelled.rpartition("../")[2]
    return str(wanted).endswith(f"/{tail}")
