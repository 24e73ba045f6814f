"""Compressed sections (`SHF_COMPRESSED`): a 24-byte header, then a zlib or zstd stream."""

from __future__ import annotations

import importlib
import struct
import zlib

from klpkit.elf.constants import ELFCOMPRESS_ZLIB, ELFCOMPRESS_ZSTD
from klpkit.elf.layout import Buffer
from klpkit.errors import EnvironmentLackError, FormatError

HEADER_SIZE = 24
# Deflate can't do better than 1032:1, so a larger claim is a lie that would only exhaust memory.
ZLIB_BEST_RATIO = 1032


def decompressed(data: Buffer, order: str, *, path: object, place: str) -> bytes:
    """The bytes that the compressed section `data` stands for; `FormatError` where it is broken."""
    if len(data) < HEADER_SIZE:
        raise FormatError(path, place, "too short for a compression header")
    kind, _, size, _ = struct.unpack_from(f"{order}IIQQ", data)
    stream = bytes(data[HEADER_SIZE:])
    if kind == ELFCOMPRESS_ZLIB:
        return _inflated(stream, size, path, place)
    if kind == ELFCOMPRESS_ZSTD:
        return _unzstd(stream, size, path, place)
    raise FormatError(path, place, f"unknown compression {kind}")


def _inflated(stream: bytes, size: int, path: object, place: str) -> bytes:
    if size > ZLIB_BEST_RATIO * (len(stream) + 1):
        raise FormatError(path, place, f"claims {size} bytes from a stream of {len(stream)}")
    worker = zlib.decompressobj()
    try:
        content = worker.decompress(stream, size + 1)
    except zlib.error as error:
        raise FormatError(path, place, f"broken zlib stream ({error})") from error
    return _of_size(content, size, path, place)


def _unzstd(stream: bytes, size: int, path: object, place: str) -> bytes:
    try:
        zstandard = importlib.import_module("zstandard")
    except ModuleNotFoundError as error:
        raise EnvironmentLackError(
            f"{path}: {place}: compressed with zstd", hint="install its module: pip install zstandard"
        ) from error
    try:
        content: bytes = zstandard.ZstdDecompressor().decompressobj().decompress(stream)
    except zstandard.ZstdError as error:
        raise FormatError(path, place, f"broken zstd stream ({error})") from error
    return _of_size(content, size, path, place)


def _of_size(content: bytes, size: int, path: object, place: str) -> bytes:
    if len(content) != size:
        raise FormatError(path, place, f"decompresses to another size than the {size} bytes it claims")
    return content
