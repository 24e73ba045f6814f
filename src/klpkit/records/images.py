"""Opening the files that hold object code: plain, or packed as distributions pack kernel modules.

A file is known by its first bytes, not by its name: ELF, gzip (`.ko.gz`, RFC 1952), xz (`.ko.xz`) or
zstd (`.ko.zst`, RFC 8878).
"""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

from klpkit import programs
from klpkit.elf import ElfFile
from klpkit.errors import EnvironmentLackError, FormatError, UserError

__all__ = ["image_bytes", "open_image"]


def open_image(path: Path | str) -> ElfFile:
    """The ELF file at `path`, unpacked in memory where it is packed.

    `UserError` if it can't be read, `FormatError` if it is broken or no ELF file, `EnvironmentLackError` where
    nothing on this machine unpacks it.
    """
    path = Path(path)
    content = _unpacked(path)
    return ElfFile.open(path) if content is None else ElfFile(content, path)


def image_bytes(path: Path | str) -> bytes:
    """The bytes of the file at `path`, unpacked where it is packed; errors as those of `open_image`."""
    path = Path(path)
    content = _unpacked(path)
    try:
        return path.read_bytes() if content is None else content
    except OSError as error:
        raise _unreadable(path, error) from error


def _unpacked(path: Path) -> bytes | None:
    """The content of a packed file; None for one that is not packed."""
    try:
        with open(path, "rb") as file:
            start = file.read(6)
            unpack = next((unpack for magic, unpack in _PACKINGS.items() if start.startswith(magic)), None)
            packed = start + file.read() if unpack else b""
    except OSError as error:
        raise _unreadable(path, error) from error
    return unpack(path, packed) if unpack else None


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: {error.strerror}", hint="name an object file that can be read")


def _gunzipped(path: Path, packed: bytes) -> bytes:
    try:
        return gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(path, "gzip data", f"broken ({error})", hint="fetch the file again") from error


def _unxz(path: Path, packed: bytes) -> bytes:
    try:
        return lzma.decompress(packed)
    except lzma.LZMAError as error:
        raise FormatError(path, "xz data", f"broken ({error})", hint="fetch the file again") from error


def _unzstd(path: Path, packed: bytes) -> bytes:
    try:
        return programs.run(["zstd", "-dcq"], stdin=packed).stdout
    except EnvironmentLackError as error:
        raise EnvironmentLackError(f"{path}: nothing here unpacks zstd", hint="apt-get install zstd") from error
    except programs.ProgramFailedError as error:
        said = error.completed.stderr.decode(errors="replace").strip() or "no reason given"
        raise FormatError(path, "zstd data", f"broken ({said})", hint="fetch the file again") from error


_PACKINGS: dict[bytes, Callable[[Path, bytes], bytes]] = {
    b"\x1f\x8b": _gunzipped,
    b"\xfd7zXZ\0": _unxz,
    b"\x28\xb5\x2f\xfd": _unzstd,
}
