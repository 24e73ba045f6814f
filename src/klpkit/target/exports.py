"""Exported symbols: from `Module.symvers`, from the shipped vmlinux's tables, and from a module's.

`Module.symvers` is described in `Documentation/kbuild/modules.rst`; the tables `__ksymtab*` and `__kcrctab*` in
`include/linux/export-internal.h` of the kernel (three 32-bit distances an entry: value, name, namespace) and a
checksum of the same row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from klpkit.elf import ElfFile
from klpkit.errors import FormatError
from klpkit.target.bzimage import read_bytes
from klpkit.target.model import VMLINUX, Export

if TYPE_CHECKING:
    from klpkit.target.vmlinux import Vmlinux

_ENTRY = 12
_TABLES = (("", False), ("_gpl", True))


def read_symvers(path: Path) -> Mapping[str, Export]:
    """The exports that the `Module.symvers` at `path` lists; `FormatError` names the first line that is none.

    Lines have four fields without namespaces (before Linux 5.4) or an empty namespace, else five.
    """
    lines = read_bytes(path, "a Module.symvers").decode().splitlines()
    if not all(map(_LINE.fullmatch, lines)):
        number = next(number for number, line in enumerate(lines, 1) if not _LINE.fullmatch(line))
        problem = "no line of checksum, symbol, module and kind"
        raise FormatError(path, f"line {number}", problem, hint="name a Module.symvers")
    return Symvers(lines)


_LINE = re.compile(r"(?:0[xX])?[0-9a-fA-F]+\t[^\t]*\t[^\t]*\t[^\t]*(?:\t.*)?")


class Symvers(Mapping[str, Export]):
    """The lines of a `Module.symvers` by their symbols: a kernel exports 20,000 and a patch asks for ten."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = {line.split("\t", 2)[1]: line for line in lines}

    def __getitem__(self, name: str) -> Export:
        fields = self._lines[name].split("\t")
        crc, _, module, kind = int(fields[0], 16), *fields[1:4]
        namespace = fields[4] if len(fields) > 4 else ""
        # Without MODVERSIONS every checksum is 0, and 0 is what the kernel takes for none.
        return Export(name, crc or None, namespace, kind.endswith("_GPL"), module)

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, name: object) -> bool:
        return name in self._lines


class ExportingModules(Mapping[str, str]):
    """Exported symbol → the name of the module that exports it, without its folder."""

    def __init__(self, exports: Mapping[str, Export]) -> None:
        self._exports = exports

    def __getitem__(self, name: str) -> str:
        return self._exports[name].module.rpartition("/")[2]

    def __iter__(self) -> Iterator[str]:
        return iter(self._exports)

    def __len__(self) -> int:
        return len(self._exports)

    def __contains__(self, name: object) -> bool:
        return name in self._exports


def ksymtab_exports(vmlinux: Vmlinux) -> dict[str, Export]:
    """The exports in the tables of the shipped vmlinux; empty where its code is not at hand."""
    found = {}
    for suffix, gpl in _TABLES:
        start, content = vmlinux.between(f"__start___ksymtab{suffix}", f"__stop___ksymtab{suffix}", every=_ENTRY)
        rows = len(content) // _ENTRY
        crcs = _crcs(vmlinux, suffix, rows)
        distances = np.frombuffer(content, "<i4", rows * 3).reshape(rows, 3).tolist()
        for row, (_, name_offset, space_offset) in enumerate(distances):
            place = start + row * _ENTRY
            name = vmlinux.string(place + 4 + name_offset)
            space = vmlinux.string(place + 8 + space_offset)
            if not name or space is None:
                raise FormatError(VMLINUX, f"__ksymtab{suffix}, entry {row}", "has no name")
            found[name.decode()] = Export(name.decode(), crcs[row], space.decode(), gpl, VMLINUX)
    return found


def _crcs(vmlinux: Vmlinux, suffix: str, rows: int) -> list[int] | list[None]:
    first = vmlinux.address(f"__start___kcrctab{suffix}")
    if first is None or not vmlinux.holds(first, 4 * rows):
        return [None] * rows
    crcs: list[int] = np.frombuffer(vmlinux.read(first, 4 * rows), "<u4").tolist()
    return crcs


def module_exports(elf: ElfFile, name: str) -> Mapping[str, Export]:
    """The exports of the module `elf`, whose tables are still relocatable."""
    found = {}
    for suffix, gpl in _TABLES:
        for index in elf.sections.find(f"__ksymtab{suffix}"):
            crcs = _module_crcs(elf, suffix)
            for row, (symbol, namespace) in enumerate(_entries(elf, index)):
                crc = crcs[row] if row < len(crcs) else None
                found[symbol] = Export(symbol, crc, namespace, gpl, name)
    return found


def _module_crcs(elf: ElfFile, suffix: str) -> list[int]:
    for index in elf.sections.find(f"__kcrctab{suffix}"):
        content = elf.content(index)
        crcs: list[int] = np.frombuffer(content, "<u4", len(content) // 4).tolist()
        return crcs
    return []


def _entries(elf: ElfFile, index: int) -> Iterator[tuple[str, str]]:
    """(symbol, namespace) of every entry of the `__ksymtab` section number `index`."""
    texts: dict[int, str] = {}
    for table in elf.relocations_of(index):
        for entry in table:
            section, value = int(elf.symbols.section[entry.symbol]), int(elf.symbols.value[entry.symbol])
            if section > 0 and entry.offset % _ENTRY:
                blob = bytes(elf.content(section)[value + entry.addend :])
                texts[entry.offset] = blob.partition(b"\0")[0].decode()
    for place in range(0, int(elf.sections.size[index]), _ENTRY):
        if place + 4 not in texts or place + 8 not in texts:
            raise FormatError(elf.path, f"{elf.place(index)}+{place:#x}", "an export without a name")
        yield texts[place + 4], texts[place + 8]
