"""What the kernel's loader reads of a live patch: information, checksums, klp names, registered functions.

`.modinfo` and `__versions` are as `kernel/module/main.c` reads them, klp names as the sscanf() calls in
`kernel/livepatch/core.c` do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from klpkit.elf import ElfFile

RELA_PREFIX = ".klp.rela."

_TABLE = re.compile(r"\.klp\.rela\.([^.]{1,55})\.(.+)")
_SYMBOL = re.compile(r"\.klp\.sym\.([^.]{1,55})\.([^,]{1,511}),(\d+)")
# struct modversion_info: a checksum as wide as a long, and a name that fills the rest of 64 bytes.
_VERSION, _CRC = 64, 8
# struct klp_func begins with `const char *old_name; void *new_func; unsigned long old_sympos`.
_NEW_FUNC, _SYMPOS = 8, 16


@dataclass(frozen=True, slots=True)
class KlpSymbol:
    """A symbol of live patching: position `sympos` of those called `name` in `object`."""

    object: str
    name: str
    sympos: int


def information(elf: ElfFile) -> list[tuple[str, str]]:
    """The (key, value) pairs of `.modinfo`."""
    pairs = []
    for index in elf.sections.find(".modinfo"):
        for text in bytes(elf.content(index)).split(b"\0"):
            key, _, value = text.decode("utf-8", "surrogateescape").partition("=")
            pairs.append((key, value))
    return [pair for pair in pairs if pair[0]]


def versions(elf: ElfFile) -> dict[str, int]:
    """Symbol → checksum, of `__versions`; empty without MODVERSIONS."""
    order = "little" if elf.byte_order == "<" else "big"
    found = {}
    for index in elf.sections.find("__versions"):
        content = bytes(elf.content(index))
        for at in range(0, len(content) - _VERSION + 1, _VERSION):
            row = content[at : at + _VERSION]
            name = row[_CRC:].partition(b"\0")[0].decode()
            found[name] = int.from_bytes(row[:_CRC], "little" if order == "little" else "big")
    return found


def klp_symbol(name: str) -> KlpSymbol | None:
    """The name of a klp symbol as the kernel reads it; None where it can't."""
    match = _SYMBOL.fullmatch(name)
    return KlpSymbol(match[1], match[2], int(match[3])) if match else None


def klp_table(elf: ElfFile, index: int) -> str | None:
    """The object whose loading applies the table; None where its name does not fit the section it relocates."""
    match = _TABLE.fullmatch(elf.sections.names[index])
    section = elf.sections.names[int(elf.sections.info[index])]
    return match[1] if match and match[2] == section.removeprefix(".") else None


def registered(elf: ElfFile) -> dict[str, tuple[str, int]]:
    """New function's symbol → (old name, sympos), read from the structures in the module's data."""
    found: dict[str, tuple[str, int]] = {}
    symbols = elf.symbols
    for index in elf.relocation_sections:
        number = int(elf.sections.info[index])
        if not elf.sections.names[number].startswith(".data"):
            continue
        entries = {entry.offset: entry for entry in elf.relocations(index)}
        content = bytes(elf.content(number))
        for offset, entry in entries.items():
            name = symbols.names[entry.symbol]
            text = entries.get(offset - _NEW_FUNC)
            if not name or text is None or not int(symbols.section[entry.symbol]) > 0:
                continue
            place = offset - _NEW_FUNC + _SYMPOS
            sympos = int.from_bytes(content[place : place + 8], "little" if elf.byte_order == "<" else "big")
            old = _text(elf, int(symbols.section[text.symbol]), int(symbols.value[text.symbol]) + text.addend)
            found[name] = (old, sympos)
    return found


def _text(elf: ElfFile, section: int, offset: int) -> str:
    if section <= 0:
        return ""
    return bytes(elf.content(section)[offset:]).partition(b"\0")[0].decode("utf-8", "replace")
