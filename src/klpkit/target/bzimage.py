"""A kernel image → the bytes of the ELF file vmlinux that it was made of.

x86 images (`bzImage`, shipped as `vmlinuz`) are described in `Documentation/arch/x86/boot.rst`: from protocol
2.08 on, the setup header tells offset and length of the compressed payload, which is a stripped vmlinux and,
after it, the table of places that randomisation relocates.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from klpkit.elf.constants import ELF_MAGIC
from klpkit.errors import FormatError, RefusedError, UserError
from klpkit.target.compressed import compression_of, decompressed

_SETUP_SECTORS, _MAGIC, _PROTOCOL, _BANNER, _PAYLOAD = 0x1F1, 0x202, 0x206, 0x20E, 0x248
_HEADER_END = _PAYLOAD + 8
_FIRST_WITH_PAYLOAD = 0x0208
_SECTOR = 512


@dataclass(frozen=True, slots=True)
class Image:
    """An unpacked image: the `vmlinux` that is inside and the banner of its header ("" where there is none)."""

    vmlinux: bytes
    banner: str

    @property
    def release(self) -> str:
        """The release that the header tells, "" where it tells none."""
        return self.banner.split(" ", 1)[0]


def unpack_image(data: bytes, path: Path) -> Image:
    """The image `data`, read from `path`.

    Raises `FormatError` for a broken image and `RefusedError` (`image-format`) for a kind that is not known.
    """
    if data.startswith(ELF_MAGIC):
        return Image(data, "")
    if data[_MAGIC : _MAGIC + 4] == b"HdrS":
        return _unpack_bzimage(data, path)
    if compression_of(data):
        inner = decompressed(data, path=path, place="")
        if inner.startswith(ELF_MAGIC):
            return Image(inner, "")
    raise RefusedError(
        "image-format",
        f"{path}: no bzImage and no vmlinux",
        hint="name the distribution's debug vmlinux with --vmlinux",
    )


def _unpack_bzimage(data: bytes, path: Path) -> Image:
    if len(data) < _HEADER_END:
        raise FormatError(path, "setup header", "cut short")
    (protocol,) = struct.unpack_from("<H", data, _PROTOCOL)
    if protocol < _FIRST_WITH_PAYLOAD:
        problem = f"boot protocol {protocol >> 8}.{protocol & 0xFF:02} does not tell where the kernel is"
        raise FormatError(path, "setup header", problem, hint="name the debug vmlinux with --vmlinux")
    offset, length = struct.unpack_from("<II", data, _PAYLOAD)
    # 0 stands for 4 for the sake of very old kernels.
    start = ((data[_SETUP_SECTORS] or 4) + 1) * _SECTOR + offset
    if not length or start + length > len(data):
        raise FormatError(path, "setup header", "the payload reaches past the end: the file is cut or broken")
    vmlinux = decompressed(data[start : start + length], path=path, place="payload", size_appended=True)
    if not vmlinux.startswith(ELF_MAGIC):
        raise RefusedError("image-format", f"{path}: the payload is no ELF file", hint="name the debug vmlinux")
    return Image(vmlinux, _banner(data))


def _banner(data: bytes) -> str:
    (pointer,) = struct.unpack_from("<H", data, _BANNER)
    if not pointer:
        return ""
    start = pointer + _SECTOR
    return data[start : data.find(b"\0", start)].decode("ascii", "replace")


def read_bytes(path: Path, what: str) -> bytes:
    """The content of `path`; `UserError` where it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint=f"name {what} that can be read") from error
