# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH118, PTH120
"""The records of sources compiled for LTO, kept from the compilation to the link.

A record is found by the content of the object (SHA-256 of its bytes), in klpkit's cache: copies, renamed files
and members of archives are the same object, and the object itself stays as the compiler wrote it.
"""

from __future__ import annotations

import os

from klpkit.compilers.driver.folders import cache_base, cache_folder, content, put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from klpkit.compilers.driver.compiling import Unit

FORMAT = b"klpkit-lto 1"
LTO_SECTION = b".gnu.lto_"
_ARCHIVES = (b"!<arch>\n", b"!<thin>\n")


class Record:
    """What was kept of one source: its path, its public functions (where they were asked for) and its dump."""

    __slots__ = ("dump", "public_names", "source")

    def __init__(self, source: str, public_names: frozenset[str], dump: bytes) -> None:
        self.source = source
        self.public_names = public_names
        self.dump = dump


def keep(unit: Unit) -> None:
    """Keep what the compilation of `unit` said, for the link."""
    data = content(unit.job.object)
    if data is None:
        return
    source = unit.job.source.replace("\n", "\\n").encode(errors="surrogateescape")
    names = " ".join(sorted(unit.public_names)).encode(errors="surrogateescape")
    put(_path(data), b"\n".join((FORMAT, source, names, unit.data)))


def _path(data: bytes) -> str:
    from hashlib import sha256

    return os.path.join(cache_folder("driver", "lto"), sha256(data).hexdigest())


def store_folder() -> str:
    """Where records are kept; not made by asking."""
    return os.path.join(cache_base(), "driver", "lto")


def find(data: bytes) -> Record | None:
    """The record of the object whose bytes are `data`."""
    kept = content(_path(data))
    if kept is None or not kept.startswith(FORMAT + b"\n"):
        return None
    _, source, names, dump = kept.split(b"\n", 3)
    words = names.decode(errors="surrogateescape").split()
    return Record(source.decode(errors="surrogateescape"), frozenset(words), dump)


def lto_objects(path: str) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every object with LTO code in `path`, an object or an archive."""
    data = content(path) or b""
    if data[:4] == b"\x7fELF":
        if LTO_SECTION in data:
            yield path, data
    elif data[:8] in _ARCHIVES:
        for name, member in _members(path, data):
            if LTO_SECTION in member and member[:4] == b"\x7fELF":
                yield f"{path}({name})", member


def _members(path: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of a System V archive; those of a thin one are read from their own files."""
    thin = data[:8] == _ARCHIVES[1]
    names = b""
    at = 8
    while at + 60 <= len(data):
        field, size = data[at : at + 16].rstrip(), int(data[at + 48 : at + 58])
        body = data[at + 60 : at + 60 + size]
        special = field in (b"/", b"//", b"/SYM64/")
        if field == b"//":
            names = body
        elif not special:
            name = _member_name(field, names)
            if thin:
                body = content(os.path.join(os.path.dirname(path), name)) or b""
            yield name, body
        at += 60 + (0 if thin and not special else size + size % 2)


def _member_name(field: bytes, names: bytes) -> str:
    if field[:1] == b"/" and field[1:].isdigit():
        start = int(field[1:])
        field = names[start : names.index(b"\n", start)]
    return field.removesuffix(b"/").decode(errors="surrogateescape")
