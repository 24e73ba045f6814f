"""Bytes under any of the compressions that a kernel or its modules are shipped in, told by their first bytes.

The formats are those of `lib/decompress.c` of the kernel.  Python 3.11 has no zstd, LZ4 or LZO: those go through
programs.  What follows the end of a stream (the kernel's build appends the size) is left out.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from klpkit import programs
from klpkit.errors import EnvironmentLackError, FormatError

_SIZE_APPENDED = 4


@dataclass(frozen=True, slots=True)
class Compression:
    """One format: its name, the bytes that it starts with, and how to undo it."""

    name: str
    magic: bytes
    undo: Callable[[bytes], bytes]


class _Worker(Protocol):
    """What the decompressors of the standard library have in common."""

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _by_library(start: Callable[[], _Worker]) -> Callable[[bytes], bytes]:
    def undo(data: bytes) -> bytes:
        worker = start()
        content = worker.decompress(data)
        if not worker.eof:
            raise EOFError("cut short")
        return content

    return undo


def _by_program(*argv: str, package: str) -> Callable[[bytes], bytes]:
    def undo(data: bytes) -> bytes:
        try:
            done = programs.run(argv, stdin=data, check=False)
        except EnvironmentLackError as error:
            raise EnvironmentLackError(
                f"{argv[0]} is needed to unpack this file", hint=f"apt-get install {package}"
            ) from error
        if done.status:
            raise ValueError(done.stderr.decode(errors="replace").strip() or f"status {done.status}")
        return done.stdout

    return undo


COMPRESSIONS = (
    Compression("gzip", b"\x1f\x8b", _by_library(lambda: zlib.decompressobj(wbits=31))),
    Compression("xz", b"\xfd7zXZ\0", _by_library(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ))),
    Compression("zstd", b"\x28\xb5\x2f\xfd", _by_program("zstd", "-dcq", package="zstd")),
    Compression("lz4", b"\x02\x21\x4c\x18", _by_program("lz4", "-dcq", package="lz4")),
    Compression("bzip2", b"BZh", _by_library(bz2.BZ2Decompressor)),
    Compression("lzo", b"\x89LZ", _by_program("lzop", "-dcq", package="lzop")),
    Compression("lzma", b"\x5d\0\0", _by_library(lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE))),
)


def compression_of(data: bytes) -> Compression | None:
    """The compression that `data` begins like; None for none that is known."""
    return next((row for row in COMPRESSIONS if data.startswith(row.magic)), None)


def decompressed(data: bytes, *, path: object, place: str, size_appended: bool = False) -> bytes:
    """What the compressed `data` stands for; `FormatError` where it is broken or of no known format.

    `size_appended` says that a 4-byte size follows the stream, as in kernel images (but gzip); it is checked.
    """
    kind = compression_of(data)
    if kind is None:
        raise FormatError(path, place, f"unknown compression (begins {data[:6].hex(' ')})")
    tail = b""
    if size_appended and kind.name != "gzip":
        data, tail = data[:-_SIZE_APPENDED], data[-_SIZE_APPENDED:]
    try:
        content = kind.undo(data)
    except (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise FormatError(path, place, f"broken {kind.name} data ({error})") from error
    if tail and int.from_bytes(tail, "little") != len(content):
        problem = f"{kind.name} data of {len(content)} bytes that should be {int.from_bytes(tail, 'little')}"
        raise FormatError(path, place, problem)
    return content
