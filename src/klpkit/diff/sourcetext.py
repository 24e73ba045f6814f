"""Whether a function's source text differs between two trees: tokens from its first line to its last brace."""

from __future__ import annotations

import itertools
import re
from functools import lru_cache
from pathlib import Path

from klpkit.records.model import Location

_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/|^\#line\ [^\n]*)|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|\w+|[^\s\w]""",
    re.DOTALL | re.MULTILINE,
)
_LINE = re.compile(r"#line (\d+)")


def same_source(dump: Path, before: Location, other_dump: Path, after: Location) -> bool | None:
    """Whether the functions at two places have the same tokens, comments aside.

    The places are relative to a folder at or above the dump that names them.  None where it can't be told: a
    file is absent, or both sides were built from the same file, which holds only one of the two versions.
    """
    left, right = _file(dump, before.file), _file(other_dump, after.file)
    if left is None or right is None or left.samefile(right):
        return None
    texts = _tokens(left, before.line), _tokens(right, after.line)
    return None if not texts[0] or not texts[1] else texts[0] == texts[1]


def both_places(before: Location, after: Location) -> str:
    """Two places in two trees for a reader: what their paths end with alike, once."""
    pairs = zip(reversed(Path(before.file).parts), reversed(Path(after.file).parts), strict=False)
    common = [mine for mine, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)]
    if not common:
        return f"{before} and {after}"
    place = Location("/".join(reversed(common)).replace("//", "/"), before.line)
    return str(place) if before.line == after.line else f"{place}, now {after.line}"


def _file(dump: Path, name: str) -> Path | None:
    """The file that the dump calls `name`."""
    folders = dump.absolute().parents
    found = (folder / name for folder in folders)
    return next((path for path in found if path.is_file()), None)


@lru_cache(maxsize=4096)
def _tokens(path: Path, line: int) -> tuple[str, ...]:
    """The tokens of the function that begins in `line` up to its closing brace; empty where none is found."""
    text = _text(path)
    starts = _starts(path).get(line, [])
    if len(starts) != 1:
        return ()
    start = starts[0]
    found, depth = [], 0
    for match in _TOKEN.finditer(text, start):
        if match["comment"]:
            continue
        token = match[0]
        depth += (token == "{") - (token == "}")
        found.append(token)
        if token == ";" and not depth:
            return ()
        if token == "}" and depth <= 0:
            return tuple(found)
    return ()


@lru_cache(maxsize=64)
def _starts(path: Path) -> dict[int, list[int]]:
    """Where each line begins by its number, which a line directive can change; then several may share one."""
    found: dict[int, list[int]] = {}
    number, start = 1, 0
    for line in _text(path).split("\n"):
        if line.startswith("#line ") and (match := _LINE.match(line)):
            number = int(match[1])
        else:
            found.setdefault(number, []).append(start)
            number += 1
        start += len(line) + 1
    return found


@lru_cache(maxsize=64)
def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
