"""Shipped kernels in small: kallsyms tables, linked files and boot images made in code."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from elf_samples import compiler

Symbol = tuple[int, str, str]
"""Address, nm's letter, name."""

BASE = 0xFFFFFFFF81000000
ORDERS = ("6.1", "6.2", "6.12")


def many_symbols(number: int = 700, *, percpu: bool = True) -> list[Symbol]:
    """Symbols in ascending order, some per-CPU, some names twice."""
    found: list[Symbol] = [(0x40 * row, "A", f"per_cpu_{row}") for row in range(40 if percpu else 0)]
    for row in range(number - len(found)):
        name = f"twice_{row % 50}" if row % 7 == 0 else f"function_number_{row:04}.isra.0"
        found.append((BASE + 16 * row, "tTdDb"[row % 5], name))
    return found


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def tokens_for(symbols: Sequence[Symbol]) -> list[bytes]:
    """256 tokens: every character that is used stands for itself, the other numbers for frequent pieces."""
    texts = [(kind + name).encode() for _, kind, name in symbols]
    used = set(b"".join(texts))
    pieces = sorted({text[at : at + 4] for text in texts for at in range(0, len(text) - 3, 4)})
    spare = [piece for piece in pieces if len(piece) == 4]
    return [bytes([code]) if code in used or not spare else spare.pop() for code in range(256)]


def encode_name(text: bytes, codes: Mapping[bytes, int]) -> bytes:
    """`text` as numbers of tokens, of four characters where there is such a token, else of one."""
    found = bytearray()
    at = 0
    while at < len(text):
        step = 4 if text[at : at + 4] in codes else 1
        found.append(codes[text[at : at + step]])
        at += step
    size = len(found)
    return (bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])) + found


def kallsyms(symbols: Sequence[Symbol], order: str = "6.12", *, percpu: bool = True, before: bytes = b"") -> bytes:
    """What `scripts/kallsyms` of a Linux version in `ORDERS` writes for `symbols`."""
    tokens = tokens_for(symbols)
    # Code 0 stands for itself, which no table can hold: a NUL ends each token.
    tokens[0] = b"zz"
    codes = {token: code for code, token in enumerate(tokens)}
    names, markers = bytearray(), []
    for row, (_, kind, name) in enumerate(symbols):
        if row % 256 == 0:
            markers.append(len(names))
        names += encode_name((kind + name).encode(), codes)
    index, table = [], bytearray()
    for token in tokens:
        index.append(len(table))
        table += token + b"\0"
    base = min((address for address, _, _ in symbols if address >= 1 << 32), default=BASE)
    offsets = b"".join(_offset(address, base, percpu) for address, _, _ in symbols)
    by_name = sorted(range(len(symbols)), key=lambda row: (symbols[row][2], symbols[row][0]))
    part = {
        "num": struct.pack("<I", len(symbols)),
        "names": bytes(names),
        "markers": struct.pack(f"<{len(markers)}I", *markers),
        "table": bytes(table),
        "index": struct.pack("<256H", *index),
        "offsets": offsets,
        "base": struct.pack("<Q", base),
        "seqs": b"".join(row.to_bytes(3, "big") for row in by_name),
    }
    orders = {
        "6.1": "offsets base num names markers table index",
        "6.2": "offsets base num names markers seqs table index",
        "6.12": "num names markers table index offsets base seqs",
    }
    return padded(before) + b"".join(padded(part[name]) for name in orders[order].split()) + bytes(64)


def _offset(address: int, base: int, percpu: bool) -> bytes:
    if not percpu:
        return struct.pack("<I", address - base)
    return struct.pack("<i", address if address < 1 << 31 else base - address - 1)


def linked_elf(sections: Sequence[tuple[str, int, bytes]]) -> bytes:
    """A stripped ELF executable for x86_64 with these (name, address, content) in writable sections."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name, _, _ in sections) + b".shstrtab\0"
    place, body, rows = 64, bytearray(), [bytes(64)]
    for name, address, content in sections:
        at = names.index(b"\0" + name.encode() + b"\0") + 1
        rows.append(struct.pack("<IIQQQQIIQQ", at, 1, 3, address, place + len(body), len(content), 0, 0, 8, 0))
        body += padded(content)
    at = names.index(b".shstrtab\0")
    rows.append(struct.pack("<IIQQQQIIQQ", at, 3, 0, 0, place + len(body), len(names), 0, 0, 1, 0))
    body += padded(names)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, 2, 62, 1, 0, 0, place + len(body), 0, 64, 0, 0, 64, len(rows), len(rows) - 1
    )
    return header + bytes(body) + b"".join(rows)


def compressed(data: bytes, how: str) -> bytes:
    """`data` as the kernel's build would store it; skips where the program is missing."""
    size = struct.pack("<I", len(data))
    if how == "gzip":
        return gzip.compress(data)
    if how == "xz":
        return lzma.compress(data, check=lzma.CHECK_CRC32) + size
    if how == "lzma":
        return lzma.compress(data, lzma.FORMAT_ALONE) + size
    if how == "bzip2":
        return bz2.compress(data) + size
    argv = {"zstd": ["zstd", "-qc"], "lz4": ["lz4", "-lqc"]}[how]
    done = subprocess.run([compiler(argv[0]), *argv[1:]], input=data, check=True, capture_output=True)
    return done.stdout + size


def bzimage(vmlinux: bytes, how: str = "gzip", *, protocol: int = 0x20F, payload: bytes | None = None) -> bytes:
    """A boot image around `vmlinux`, or around `payload` as it is."""
    stored = compressed(vmlinux, how) if payload is None else payload
    header = bytearray(4 * 512)
    header[0x1F1] = 3
    header[0x202:0x206] = b"HdrS"
    struct.pack_into("<HH", header, 0x206, protocol, 0)
    banner = b"6.12.0-toy (someone@somewhere) #1\0"
    struct.pack_into("<H", header, 0x20E, 0x400 - 0x200)
    header[0x400 : 0x400 + len(banner)] = banner
    struct.pack_into("<II", header, 0x248, 128, len(stored))
    return bytes(header) + bytes(128) + stored + bytes(100)


def toy_image(symbols: Sequence[Symbol], how: str = "gzip", order: str = "6.12") -> bytes:
    """A boot image of a kernel with no code and these symbols."""
    rodata = kallsyms(symbols, order)
    return bzimage(linked_elf([(".text", BASE, bytes(64)), (".rodata", BASE + (1 << 24), rodata)]), how)


# -- linked by the linker ----------------------------------------------------------------------------------------

KERNEL_FLAGS = (
    "-O2", "-mcmodel=kernel", "-fno-pic", "-fno-asynchronous-unwind-tables", "-fcf-protection=none",
    "-fno-stack-protector", "-mno-sse", "-ffreestanding", "-fno-jump-tables",
)  # fmt: skip


def compile_units(folder: Path, flags: Sequence[str] = (), **sources: str) -> dict[str, Path]:
    """Each of `sources` (name of the unit → C) compiled as a kernel would be."""
    found = {}
    for name, text in sources.items():
        source = folder / f"{name}.c"
        source.write_text(text)
        found[name] = folder / f"{name}.o"
        argv = [compiler(), *KERNEL_FLAGS, *flags, "-c", source.name, "-o", found[name].name]
        subprocess.run(argv, cwd=folder, check=True, capture_output=True)
    return found


def link(output: Path, objects: Sequence[Path], *, relocatable: bool = False) -> Path:
    """`objects` linked at a kernel's address, or into one relocatable object."""
    mode = ["-r"] if relocatable else [f"-Ttext={BASE:#x}", "-e", "0", "-z", "noexecstack", "--build-id=sha1"]
    argv = [compiler("ld"), *mode, *map(str, objects), "-o", str(output)]
    subprocess.run(argv, check=True, capture_output=True)
    return output


def need(path: Path | None, what: str) -> Path:
    """`path`, or the test is skipped."""
    if path is None:
        pytest.skip(f"{what} is not in the cache")
    return path
