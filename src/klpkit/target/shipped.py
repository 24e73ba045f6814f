"""The shipped code as fidelity looks at it: one face for a linked vmlinux and for a relocatable module.

A spot is (section, offset).  vmlinux has one section, called "", whose offsets are addresses.  A symbol that a
module leaves undefined is a spot in a section called `?` and its name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np

from klpkit.elf import constants as c
from klpkit.elf.arch import Relocation
from klpkit.target.model import TargetSymbol
from klpkit.target.module import Module
from klpkit.target.vmlinux import Vmlinux

Spot = tuple[str, int]

_JUMP_ENTRY = 16
# R_X86_64_PLT32 is R_X86_64_PC32 where there is no table to go through, and the module loader applies both alike
# (`arch/x86/kernel/module.c`): which of the two an assembler writes depends on whether it knows the callee.
_ALIKE = {4: 2}
# A kernel that lists its data lists more than one object of data for this many symbols.
_DATA_SHARE = 50
_ADDRESS = (1 << 64) - 1


class Shipped(ABC):
    """What the shipped object holds at its spots."""

    @abstractmethod
    def named(self, name: str) -> list[tuple[Spot, TargetSymbol]]:
        """The spots of all symbols called `name`, in the loader's order."""

    @abstractmethod
    def read(self, spot: Spot, size: int) -> bytes | None:
        """`size` bytes at `spot`; None where the file has none."""

    @abstractmethod
    def meant(self, field: Spot, kind: int, fact: Relocation, addend: int) -> Spot | None:
        """The spot of the symbol that the relocated field at `field` refers to; None where it refers to none."""

    @abstractmethod
    def text(self, spot: Spot) -> bytes | None:
        """The string at `spot`, without its NUL."""

    @abstractmethod
    def room(self, spot: Spot) -> tuple[int | None, bool]:
        """The size of what is at `spot`, and whether it is exact; else it reaches to the next symbol."""

    @property
    @abstractmethod
    def jump_sites(self) -> frozenset[Spot]:
        """The spots that `__jump_table` lists."""

    @property
    @abstractmethod
    def traced(self) -> frozenset[Spot]:
        """The spots that `__mcount_loc` lists."""

    @property
    @abstractmethod
    def lists_data(self) -> bool:
        """Whether symbols of data are listed: kallsyms has them with `CONFIG_KALLSYMS_ALL` only."""

    @abstractmethod
    def describe(self, spot: Spot) -> str:
        """`spot` in words: a symbol and a distance."""


class Linked(Shipped):
    """vmlinux, whose fields hold values."""

    def __init__(self, vmlinux: Vmlinux) -> None:
        self._vmlinux = vmlinux

    def named(self, name: str) -> list[tuple[Spot, TargetSymbol]]:
        return [(("", symbol.address), symbol) for symbol in self._vmlinux.positions(name)]

    def read(self, spot: Spot, size: int) -> bytes | None:
        return self._vmlinux.read(spot[1], size) if self._vmlinux.holds(spot[1], size) else None

    def meant(self, field: Spot, kind: int, fact: Relocation, addend: int) -> Spot | None:
        stored = self.read(field, fact.size)
        if stored is None:
            return None
        # Only 32-bit unsigned fields are not sign-extended; kernel addresses never fit into those.
        value = int.from_bytes(stored, "little", signed=True) - addend + (field[1] if fact.relative else 0)
        if fact.relative and fact.size == 4:
            # Per-CPU symbols are small numbers: their distance from code is kept modulo 2**32.
            value = _sign_extended(value)
        return "", value & _ADDRESS

    def text(self, spot: Spot) -> bytes | None:
        return self._vmlinux.string(spot[1])

    def room(self, spot: Spot) -> tuple[int | None, bool]:
        found = [symbol for symbol in self._vmlinux.at(spot[1]) if symbol.size is not None]
        exact = [symbol for symbol in found if symbol.exact]
        best = (exact or found)[:1]
        return (best[0].size, best[0].exact) if best else (None, False)

    @cached_property
    def jump_sites(self) -> frozenset[Spot]:
        start, content = self._vmlinux.between("__start___jump_table", "__stop___jump_table", every=_JUMP_ENTRY)
        rows = (
            np.frombuffer(content, "<i4", len(content) // 4).reshape(-1, _JUMP_ENTRY // 4)[:, 0].astype(np.int64)
        )
        places = start + np.arange(len(rows), dtype=np.uint64) * np.uint64(_JUMP_ENTRY) + rows.astype(np.uint64)
        return frozenset(("", place) for place in places.tolist())

    @cached_property
    def traced(self) -> frozenset[Spot]:
        return frozenset(("", place) for place in self._vmlinux.ftrace_locations)

    @cached_property
    def lists_data(self) -> bool:
        # Without it a few boundary symbols (`__start_…`) are listed, and what is in code sections.
        kinds = self._vmlinux.columns.kinds
        return sum(kinds.count(kind) for kind in "dDbBrR") > len(kinds) // _DATA_SHARE

    def describe(self, spot: Spot) -> str:
        symbol = self._vmlinux.near(spot[1])
        return f"{spot[1]:#x}" if symbol is None else _distance(symbol, spot[1])


class InModule(Shipped):
    """A module, whose fields have relocations of their own."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._elf = module.elf

    def named(self, name: str) -> list[tuple[Spot, TargetSymbol]]:
        table = self._elf.symbols
        names = self._elf.sections.names
        found = []
        for symbol in self._module.defined(name):
            section = int(table.section[symbol.index])
            found.append(((names[section], symbol.address), symbol))
        return found

    def read(self, spot: Spot, size: int) -> bytes | None:
        content = self._contents.get(spot[0])
        if content is None or spot[1] < 0 or spot[1] + size > len(content):
            return None
        return bytes(content[spot[1] : spot[1] + size])

    def meant(self, field: Spot, kind: int, fact: Relocation, addend: int) -> Spot | None:
        found = self._relocations(field[0]).get(field[1])
        if found is None and fact.relative:
            # The assembler has resolved it: what is meant lies in the same section.
            stored = self.read(field, fact.size)
            distance = int.from_bytes(stored, "little", signed=True) if stored is not None else 0
            return (field[0], distance - addend + field[1]) if distance else None
        if found is None or _ALIKE.get(found[0], found[0]) != _ALIKE.get(kind, kind):
            return None
        _, row, shipped_addend = found
        table = self._elf.symbols
        section, value = int(table.section[row]), int(table.value[row])
        name = f"?{table.names[row]}" if section <= 0 else self._elf.sections.names[section]
        return name, value + shipped_addend - addend

    def text(self, spot: Spot) -> bytes | None:
        content = self._contents.get(spot[0])
        if content is None or not 0 <= spot[1] < len(content):
            return None
        text, nul, _ = bytes(content[spot[1] :]).partition(b"\0")
        return text if nul else None

    def room(self, spot: Spot) -> tuple[int | None, bool]:
        sizes = [symbol.size for symbol in self._module.at(spot[1], spot[0]) if symbol.exact]
        return (sizes[0], True) if sizes else (None, False)

    @cached_property
    def jump_sites(self) -> frozenset[Spot]:
        return self._module.listed("__jump_table", every=_JUMP_ENTRY)

    @cached_property
    def traced(self) -> frozenset[Spot]:
        return self._module.ftrace_locations

    @property
    def lists_data(self) -> bool:
        return True

    def describe(self, spot: Spot) -> str:
        if spot[0].startswith("?"):
            return spot[0][1:] + (f"{spot[1]:+#x}" if spot[1] else "")
        symbol = self._module.near(spot[1], spot[0])
        return f"{spot[0]}+{spot[1]:#x}" if symbol is None else _distance(symbol, spot[1])

    @cached_property
    def _contents(self) -> dict[str, memoryview]:
        sections = self._elf.sections
        loaded = np.flatnonzero((sections.flags & np.uint64(c.SHF_ALLOC)) != 0).tolist()
        return {sections.names[index]: self._elf.content(index) for index in loaded}

    def _relocations(self, section: str) -> dict[int, tuple[int, int, int]]:
        """Offset → (type, symbol's row, addend) of the relocations of `section`."""
        if section not in self._known:
            found = {}
            for index in self._elf.sections.find(section):
                for table in self._elf.relocations_of(index):
                    columns = (
                        table.offset.tolist(),
                        table.type.tolist(),
                        table.symbol.tolist(),
                        table.addend.tolist(),
                    )
                    for offset, kind, row, addend in zip(*columns, strict=True):
                        found[offset] = (kind, row, addend)
            self._known[section] = found
        return self._known[section]

    @cached_property
    def _known(self) -> dict[str, dict[int, tuple[int, int, int]]]:
        return {}


def shipped_code(target: Vmlinux | Module) -> Shipped:
    """`target` as fidelity looks at it."""
    return InModule(target) if isinstance(target, Module) else Linked(target)


def _sign_extended(value: int) -> int:
    low = value & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


def _distance(symbol: TargetSymbol, place: int) -> str:
    return symbol.name + (f"{place - symbol.address:+#x}" if place != symbol.address else "")
