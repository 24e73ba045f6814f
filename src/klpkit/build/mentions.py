"""Which files name an identifier: a quick search that may say too much and never says too little."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable
from pathlib import Path

# What the kernel's macros paste before a name that its source spells without: SYSCALL_DEFINEn, TRACE_EVENT and
# kin.  A symbol is looked for under its own name and under what is left without one of these.
_PASTED_PREFIXES = """
    __do_compat_sys_ __se_compat_sys_ __x64_compat_sys_ __ia32_compat_sys_ __arm64_compat_sys_ compat_sys_
    __do_sys_ __se_sys_ __x64_sys_ __ia32_sys_ __arm64_sys_ __riscv_sys_ __s390x_sys_ sys_
    __probestub_ __traceiter_ __bpf_trace_ trace_event_raw_event_ trace_raw_output_ perf_trace_
    do_trace_event_raw_event_ do_perf_trace_ trace_event_get_offsets_ trace_ ____ __pfx_
"""
PASTED_PREFIXES = tuple(_PASTED_PREFIXES.split())
_SECTION_STRTAB = 3


def spellings(symbol: str) -> tuple[str, ...]:
    """How sources may spell the function behind `symbol`: compiler suffixes and pasted prefixes taken off."""
    base = symbol.split(".", 1)[0] or symbol
    found = [base]
    found += [base.removeprefix(prefix) for prefix in PASTED_PREFIXES if base.startswith(prefix)]
    return tuple(dict.fromkeys(name for name in found if name))


def identifier_pattern(names: Iterable[str]) -> re.Pattern[bytes]:
    """A pattern that finds any of `names` as whole identifiers."""
    choice = b"|".join(re.escape(os.fsencode(name)) for name in names)
    return re.compile(rb"(?<![A-Za-z0-9_$])(?:" + choice + rb")(?![A-Za-z0-9_$])")


def files_mentioning(paths: Iterable[Path], names: tuple[str, ...]) -> set[Path]:
    """Those of `paths` whose text has one of `names` as an identifier; a file that can't be read counts too."""
    needles = [os.fsencode(name) for name in names]
    pattern = identifier_pattern(names)
    found = set()
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError:
            found.add(path)
            continue
        if any(needle in content for needle in needles) and pattern.search(content):
            found.add(path)
    return found


def similar_words(paths: Iterable[Path], name: str) -> set[str]:
    """Identifiers before a parenthesis in `paths` that share a half with `name`: one typing error leaves one."""
    raw = os.fsencode(name)
    middle = len(raw) // 2
    halves = [half for half in (raw[:middle], raw[middle:]) if len(half) > 2]
    if not halves:
        return set()
    first, last = (re.escape(half) for half in (raw[:middle], raw[middle:]))
    word = re.compile(rb"\b(?:" + first + rb"\w{0,60}|\w{0,60}" + last + rb")(?=\s*\()")
    found: set[bytes] = set()
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError:
            continue  # only a hint
        if any(half in content for half in halves):
            found.update(word.findall(content))
    return {os.fsdecode(one) for one in found}


def object_names(path: Path, symbol: bytes) -> bool:
    """Whether a string table of the ELF object `path` has a name that starts or ends with `symbol`.

    An object that can't be read as ELF (absent, LLVM bitcode, cut off) gives False: sources decide then.
    """
    try:
        with open(path, "rb") as stream:
            return any(symbol in table for table in _string_tables(stream.fileno()))
    except (OSError, struct.error):
        return False


def _string_tables(descriptor: int) -> list[bytes]:
    """The string tables of an open ELF file, by its section headers (System V ABI, "Sections")."""
    header = os.pread(descriptor, 64, 0)
    if header[:4] != b"\x7fELF":
        return []
    order = "<" if header[5] == 1 else ">"
    wide = header[4] == 2
    offset, size, count = struct.unpack_from(
        f"{order}Q10xHH" if wide else f"{order}I10xHH", header, 40 if wide else 32
    )
    if count == 0:  # more than 65,279 sections: the number is in the first header
        count = struct.unpack_from(
            f"{order}Q" if wide else f"{order}I", os.pread(descriptor, size, offset), 32 if wide else 20
        )[0]
    table = os.pread(descriptor, size * count, offset)
    layout = struct.Struct(f"{order}4xI16xQQ" if wide else f"{order}4xI8xII")
    sections = (layout.unpack_from(table, size * i) for i in range(count))
    return [os.pread(descriptor, length, start) for kind, start, length in sections if kind == _SECTION_STRTAB]
