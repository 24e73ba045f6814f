"""Damage objects in random places and see that `klpkit diff` reports each: a test of silence, not of speed.

    python benchmarks/diff_mutations.py [--count 10000] [--seed 1] OBJECT...

Three kinds of damage: a flipped bit in a function's code, in data that a function refers to, a relocation of a
function against another symbol or with another addend.  Ends with 1 if anything went unreported.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from klpkit.diff.answer import answer
from klpkit.diff.compare import compare
from klpkit.diff.correlate import correlate
from klpkit.diff.equal import same_objects
from klpkit.diff.load import load
from klpkit.diff.model import ObjectDiff
from klpkit.diff.pool import Pool
from klpkit.diff.union import union
from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.errors import KlpkitError

# Relocations that change nothing: R_*_NONE, R_LARCH_RELAX, R_AARCH64_NONE.
IDLE = (0, 100, 256)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One damaged object: what was done, in words, and the bytes."""

    kind: str
    what: str
    data: bytes


class Subject:
    """One object and the places where it can be damaged, found without `klpkit.diff`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path.read_bytes()
        self.elf = ElfFile(self.data, path)
        self.code = self._code()
        self.relocations, self.used = self._relocations()
        self._names, self._contents = Pool(), Pool()
        self._graph = load(self.elf, self._names, self._contents)

    def _code(self) -> list[tuple[int, int, str]]:
        """`(file offset, size, name)` of every function."""
        symbols, sections = self.elf.symbols, self.elf.sections
        found = []
        for row in symbols.defined_functions.tolist():
            section, size = int(symbols.section[row]), int(symbols.size[row])
            if size and sections.type[section] == c.SHT_PROGBITS:
                offset = int(sections.offset[section]) + int(symbols.value[row])
                found.append((offset, size, symbols.names[row]))
        return found

    def _relocations(self) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, str]]]:
        """`(file offset of the entry, symbol, type)` of relocations in functions; data objects that they name."""
        symbols, sections = self.elf.symbols, self.elf.sections
        entries, used = [], set()
        spans: dict[int, list[tuple[int, int]]] = {}
        for row in symbols.defined_functions.tolist():
            start, size = int(symbols.value[row]), int(symbols.size[row])
            spans.setdefault(int(symbols.section[row]), []).append((start, start + size))
        for index in self.elf.relocation_sections:
            ranges = spans.get(int(sections.info[index]))
            if not ranges:
                continue
            for number, entry in enumerate(self.elf.relocations(index)):
                if not any(low <= entry.offset < high for low, high in ranges) or entry.type in IDLE:
                    continue
                entries.append((int(sections.offset[index]) + 24 * number, entry.symbol, entry.type))
                used.add(entry.symbol)
        data = []
        for row in sorted(used):
            section, size = int(symbols.section[row]), int(symbols.size[row])
            if (
                symbols.type[row] == c.STT_OBJECT
                and size
                and section > 0
                and sections.type[section] == c.SHT_PROGBITS
            ):
                data.append((int(sections.offset[section]) + int(symbols.value[row]), size, symbols.names[row]))
        return entries, data

    def compared(self, mutation: Mutation) -> ObjectDiff:
        """The diff of the object against the damaged one; `AssertionError` if the two count as equal objects."""
        damaged = ElfFile(mutation.data, "mutated")
        assert not same_objects(self.elf, damaged), f"{self.path}: {mutation.what}"
        patched = load(damaged, self._names, self._contents)
        both = union(self._graph, patched, self._names)
        return answer(compare(correlate(both, self._names)))


def mutations(subject: Subject, chance: random.Random) -> Iterator[Mutation]:
    """An endless supply of single damages."""
    kinds = [
        k
        for k, places in (("code", subject.code), ("data", subject.used), ("relocation", subject.relocations))
        if places
    ]
    while True:
        kind = chance.choice(kinds)
        if kind == "relocation":
            yield _retargeted(subject, chance)
        else:
            yield _flipped(subject, kind, chance)


def _flipped(subject: Subject, kind: str, chance: random.Random) -> Mutation:
    offset, size, name = chance.choice(subject.code if kind == "code" else subject.used)
    place, bit = chance.randrange(size), 1 << chance.randrange(8)
    data = bytearray(subject.data)
    data[offset + place] ^= bit
    return Mutation(kind, f"{name}+{place:#x} ^ {bit:#x}", bytes(data))


def _retargeted(subject: Subject, chance: random.Random) -> Mutation:
    at, symbol, kind = chance.choice(subject.relocations)
    order = subject.elf.byte_order
    data = bytearray(subject.data)
    if chance.random() < 0.5:
        addend = struct.unpack_from(order + "q", data, at + 16)[0]
        change = chance.choice([-64, -8, -1, 1, 2, 8, 64])
        struct.pack_into(order + "q", data, at + 16, addend + change)
        return Mutation("relocation", f"entry at {at:#x}: addend {addend} {change:+}", bytes(data))
    other = _another(subject, symbol, chance)
    struct.pack_into(order + "Q", data, at + 8, other << 32 | kind)
    names = subject.elf.symbols.names
    return Mutation("relocation", f"entry at {at:#x}: {names[symbol]!r} to {names[other]!r}", bytes(data))


def _another(subject: Subject, symbol: int, chance: random.Random) -> int:
    """A symbol at another place, or with another name outside of the object."""
    symbols = subject.elf.symbols
    real = np.flatnonzero((symbols.type != c.STT_FILE) & (np.arange(len(symbols)) > 0))

    def identity(row: int) -> tuple[int, int, str]:
        section = int(symbols.section[row])
        return section, int(symbols.value[row]), "" if section > 0 else symbols.names[row]

    while True:
        other = int(chance.choice(real.tolist()))
        if identity(other) != identity(symbol):
            return other


def silent(subject: Subject, mutation: Mutation) -> bool:
    """Whether the damage went unreported."""
    try:
        diff = subject.compared(mutation)
    except KlpkitError:
        return False
    return not (diff.functions or diff.data or diff.moved or diff.obstacles or diff.notes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("objects", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    subjects = [Subject(path) for path in options.objects]
    supplies = [(subject, mutations(subject, chance)) for subject in subjects]
    missed = 0
    for number in range(options.count):
        subject, supply = supplies[number % len(supplies)]
        mutation = next(supply)
        if silent(subject, mutation):
            missed += 1
            print(f"silent: {subject.path}: {mutation.kind}: {mutation.what}")
    print(f"{options.count} damages, {missed} unreported")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
