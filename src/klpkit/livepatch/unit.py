"""One affected translation unit: both objects compared, and what of the patched one is changed or new.

Entities are rows of `klpkit.diff.graph.Graph`; those of the patched side are meant unless `original` is said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np

from klpkit.diff import ObjectDiff, Status, Verdict, comparison
from klpkit.diff.answer import answer
from klpkit.diff.bodies import with_bodies
from klpkit.diff.compare import Comparison
from klpkit.diff.graph import Graph, Kind
from klpkit.diff.union import CODE
from klpkit.elf import ElfFile
from klpkit.elf.special import Role
from klpkit.errors import RefusedError
from klpkit.livepatch.model import PairLike
from klpkit.target import VMLINUX


@dataclass(frozen=True, slots=True)
class Field:
    """A relocation as the file has it: its type, the symbol's row and its place, and the addend.

    `base` is how far the symbol lies from the start of the entity that is meant (0 for symbols outside).
    """

    type: int
    symbol: int
    addend: int


class Unit:
    """A pair of objects under comparison; `owner` is spelled as the running kernel does."""

    def __init__(self, pair: PairLike, symbol_owners: Mapping[str, str] | None = None) -> None:
        self.pair = pair
        self.owner = owner_name(pair.owner)
        self.result: Comparison = comparison(ElfFile.open(pair.original), ElfFile.open(pair.patched))
        self.result.symbol_owners = symbol_owners or {}
        self.diff: ObjectDiff = _with_bodies(answer(self.result), pair)
        self.split: int = self.result.both.split
        self.graph: Graph = self.result.both.patched
        self.original: Graph = self.result.both.original

    def __repr__(self) -> str:
        return f"Unit({self.pair.patched}, {self.owner})"

    def refuse_obstacles(self) -> None:
        """`RefusedError` with the first obstacle, the others in its message."""
        if self.diff.verdict is not Verdict.UNPATCHABLE:
            return
        first, *rest = self.diff.obstacles
        message = f"{first.symbol}: {first.evidence}"
        message += "".join(f"\n  {other.symbol}: {other.evidence} [{other.slug}]" for other in rest)
        raise RefusedError(first.slug, message, hint=first.advice)

    @cached_property
    def changed(self) -> dict[int, int]:
        """Changed function → its row in the original."""
        found = {}
        for row in self.result.causes:
            partner = int(self.result.found.partner[row])
            if row < self.split <= partner:
                found[partner - self.split] = row
        return found

    @cached_property
    def new(self) -> frozenset[int]:
        """Functions that the original does not have."""
        both = self.result.both
        return frozenset(
            row - self.split
            for row in self.result.unmatched
            if row >= self.split and both.sort[row] == CODE and row not in self.result.home
        )

    def partner(self, entity: int) -> int:
        """The original's row of an entity; -1 where there is none."""
        return int(self.result.found.partner[entity + self.split])

    def same(self, entity: int) -> bool:
        """Whether an entity has a partner with equal bytes and references."""
        row = self.partner(entity)
        differ = self.result
        return row >= 0 and not (
            row in differ.bytes_differ or row in differ.references_differ or row in differ.constants
        )

    def function_of(self, entity: int) -> int:
        """The function that a part belongs to (the function itself if it is none)."""
        row = entity + self.split
        home: int = self.result.home.get(row, row)
        return home - self.split

    @cached_property
    def parts(self) -> dict[int, list[int]]:
        """Function → its cold part, prefix symbols, and bytes that lead into it."""
        found: dict[int, list[int]] = defaultdict(list)
        for part, function in self.result.home.items():
            if part >= self.split:
                found[function - self.split].append(part - self.split)
        return found

    @cached_property
    def sites(self) -> dict[int, list[int]]:
        """Function → the entries of special sections that describe its code."""
        found: dict[int, list[int]] = defaultdict(list)
        owners = self.result.site_owner[self.split :]
        roles = self.graph.entities.role
        for entry in np.flatnonzero((owners >= 0) & (roles == Role.SITES)).tolist():
            found[int(owners[entry]) - self.split].append(entry)
        return found

    @cached_property
    def fields(self) -> dict[int, Field]:
        """Flat position → the relocation there."""
        return fields_of(self.graph)

    def status(self, function: int) -> Status | None:
        """CHANGED, NEW, or None for one that stays as it is."""
        if function in self.changed:
            return Status.CHANGED
        return Status.NEW if function in self.new else None


def _with_bodies(diff: ObjectDiff, pair: PairLike) -> ObjectDiff:
    """`diff` with the reasons that clone dumps beside the objects tell; they change nothing else."""
    return with_bodies(diff, pair.original, pair.patched, (None, None)) if diff.changed else diff


def owner_name(owner: str) -> str:
    """`vmlinux` or a module as the running kernel spells it, from a path such as `fs/ext4/ext4`."""
    if "," in owner:
        raise RefusedError(
            "several-owners",
            f"one source becomes part of {owner}",
            hint="patch a source that belongs to one module, or to the kernel itself",
        )
    if not owner:
        raise RefusedError(
            "no-owner", "the unit is part of neither vmlinux nor a module", hint="check the configuration"
        )
    name = PurePosixPath(owner).name.split(".ko", 1)[0].replace("-", "_")
    return name or VMLINUX


def fields_of(graph: Graph) -> dict[int, Field]:
    """Flat position → relocation, for all kept sections of one side."""
    found: dict[int, Field] = {}
    elf, base = graph.elf, graph.flat.base
    for index in elf.relocation_sections:
        table = elf.relocations(index)
        if base[table.target] < 0:
            continue
        start = int(base[table.target])
        rows: Sequence[tuple[int, int, int, int]] = list(
            zip(
                table.offset.tolist(),
                table.type.tolist(),
                table.symbol.tolist(),
                table.addend.tolist(),
                strict=True,
            )
        )
        for offset, kind, symbol, addend in rows:
            if kind:
                found[start + offset] = Field(kind, symbol, addend)
    return found


def lead_of(graph: Graph, entity: int, field: Field) -> int:
    """`field`'s addend counted from the start of `entity`, which it aims at, instead of from its symbol."""
    entities = graph.entities
    if entity >= entities.defined:
        return field.addend
    symbols = graph.elf.symbols
    place = int(graph.flat.base[int(symbols.section[field.symbol])]) + int(symbols.value[field.symbol])
    return field.addend + place - int(entities.start[entity])


def outside(graph: Graph, entity: int) -> bool:
    """Whether the object only refers to it."""
    return int(graph.entities.kind[entity]) >= Kind.EXTERNAL
