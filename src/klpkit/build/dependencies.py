"""Lists of headers: the `deps_` list of a Kbuild `.cmd` file and the `.d` files that compilers write.

Both are Make syntax (GNU make manual, "Rule Syntax"); Kbuild's scripts/basic/fixdep.c writes the former.
"""

from __future__ import annotations

import os.path
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from klpkit.errors import FormatError

if TYPE_CHECKING:
    from klpkit.build.command import TranslationUnit

_CONFIG = re.compile(rb"\$\(wildcard [^)]*\)")
_WORD = re.compile(r"(?:\\.|\$\$|[^\s\\$])+")
_ESCAPE = re.compile(r"\\([ #\\])|\$\$")


def headers_of(unit: TranslationUnit) -> tuple[Path, ...]:
    """The headers in the list that belongs to `unit`, absolute, in the order of the list."""
    names = recorded_names(unit)
    paths = (_absolute(unit.directory, name) for name in names)
    return tuple(path for path in dict.fromkeys(paths) if path != unit.source)


def recorded_names(unit: TranslationUnit) -> list[str]:
    """The dependencies as they are spelled in the unit's `.cmd` or `.d` file; empty where there is neither."""
    if unit.record is not None and unit.record.name.endswith(".cmd"):
        return cmd_dependencies(unit.record)
    beside = unit.object.with_suffix(".d")
    for path in (beside, unit.object.with_name(unit.object.name + ".d")):
        if path.is_file():
            return make_dependencies(path)
    return []


def cmd_dependencies(path: Path) -> list[str]:
    """The `deps_` list of a `.cmd` file without its configuration entries."""
    content = read_bytes(path)
    start = content.find(b"\ndeps_")
    if start < 0:
        return []
    end = content.find(b"\n\n", start + 1)
    if end < 0:
        raise FormatError(path, "deps_", "the list of dependencies has no end", hint="build the object again")
    body = content[content.index(b":=", start) + 2 : end]
    return _words(_CONFIG.sub(b"", body))


def make_dependencies(path: Path) -> list[str]:
    """The prerequisites of the first rule of a `.d` file."""
    _, colon, rest = read_bytes(path).partition(b": ")
    if not colon:
        raise FormatError(path, "line 1", "no rule", hint="build the object again")
    lines = []
    for line in rest.split(b"\n"):
        lines.append(line.removesuffix(b"\\"))
        if not line.endswith(b"\\"):
            break
    return _words(b" ".join(lines))


def read_bytes(path: Path) -> bytes:
    """The content of `path`; raises `FormatError` where it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise FormatError(path, "", error.strerror or "unreadable", hint="check its permissions") from error


def _words(text: bytes) -> list[str]:
    joined = text.decode(errors="surrogateescape").replace("\\\n", " ")
    if joined.count("\\") == 0 and "$" not in joined:
        return joined.split()
    return [_ESCAPE.sub(lambda m: m[1] or "$", word) for word in _WORD.findall(joined)]


@cache
def _absolute(directory: Path, name: str) -> Path:
    # Cached because a kernel's units share their headers.  Not resolve(): links stay as the build names them.
    return Path(os.path.normpath(f"{directory}/{name}" if name[:1] != "/" else name))
