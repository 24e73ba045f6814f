"""Unpacked images in the user's cache, by the content of the image: unpacking and decoding happen once a kernel.

Two files a kernel: the vmlinux, which is then mapped instead of read, and its symbols: their number (8 bytes), the
addresses (8 bytes each), a letter of kind for each, and the names with NUL between them.  A few kernels are kept,
the latest used.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from klpkit.cachedir import atomic_write, cache_dir
from klpkit.elf import ElfFile
from klpkit.errors import FormatError
from klpkit.target.bzimage import read_bytes, unpack_image
from klpkit.target.columns import SymbolColumns
from klpkit.target.kallsyms import read_kallsyms

# Raised when what is stored changes; part of every name.
_VERSION = 2
KEPT_KERNELS = 4


def unpacked(path: Path) -> tuple[SymbolColumns, ElfFile]:
    """Symbols and content of the image at `path`, from the cache where it was unpacked before."""
    data = read_bytes(path, "a kernel image")
    folder = cache_dir("target")
    stem = f"{_VERSION}-{hashlib.sha256(data).hexdigest()}"
    linked, listed = folder / f"{stem}.vmlinux", folder / f"{stem}.symbols"
    if not linked.exists():
        with atomic_write(linked, "wb") as stream:
            stream.write(unpack_image(data, path).vmlinux)
    elf = ElfFile.open(linked)
    elf.path = path
    columns = _stored(listed)
    if columns is None:
        columns = own_kallsyms(elf, path)
        with atomic_write(listed, "wb") as stream:
            stream.write(_encoded(columns))
    for file in (linked, listed):
        os.utime(file)
    _prune(folder)
    return columns, elf


def own_kallsyms(elf: ElfFile, path: Path) -> SymbolColumns:
    """The symbols that the kernel in `elf` carries for itself; `FormatError` where it carries none."""
    for index in elf.sections.find(".rodata"):
        table = read_kallsyms(elf.content(index), path=path)
        return SymbolColumns(table.addresses, table.kinds, table.names)
    raise FormatError(path, "", "no section .rodata with kallsyms tables", hint="name its debug vmlinux")


def _encoded(columns: SymbolColumns) -> bytes:
    text = (columns.kinds + "\0".join(columns.names)).encode("utf-8", "surrogateescape")
    return len(columns).to_bytes(8, "little") + columns.addresses.astype("<u8").tobytes() + text


def _stored(path: Path) -> SymbolColumns | None:
    """What `_encoded` wrote to `path`; None where it is not there or not whole."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    count = int.from_bytes(data[:8], "little")
    end = 8 + 8 * count
    text = data[end:].decode("utf-8", "surrogateescape")
    kinds, names = text[:count], text[count:].split("\0")
    if len(data) < end or len(kinds) != count or len(names) != count:
        return None
    return SymbolColumns(np.frombuffer(data, "<u8", count, 8).astype(np.uint64), kinds, names)


def _prune(folder: Path) -> None:
    """Remove the kernels that were used longest ago; another process may do the same at this moment."""
    linked = sorted(folder.glob("*.vmlinux"), key=_age, reverse=True)
    for old in linked[KEPT_KERNELS:]:
        old.unlink(missing_ok=True)
        old.with_suffix(".symbols").unlink(missing_ok=True)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
