"""Branches between functions of one section that the assembler resolved by itself.

Without a section for each function, a call of a local function is no relocation but a distance, and every
distance changes when a function between the two grows.  Such fields are masked and become references.
Encodings: Intel SDM vol. 2; Arm ARM C4; Power ISA I-form and B-form; z/Architecture RIL, RI and RIE; LoongArch
reference manual vol. 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from klpkit.diff.decoders import iced
from klpkit.diff.graph import BRANCH, Graph, Kind, References
from klpkit.diff.pool import Ints, Mask, among, distinct
from klpkit.elf import constants as c
from klpkit.elf.arch import Displacement, named
from klpkit.elf.special import Role


@dataclass(slots=True)
class Found:
    """Branches out of their entity: flat positions of field and target, and the bytes of the field to mask."""

    field: Ints
    target: Ints
    kind: Ints
    masks: list[tuple[int, bytes]]


def add(graph: Graph, data: bytearray, relocated: Ints) -> None:
    """Add the resolved branches of shared sections to the references and mask their fields in `data`."""
    sections = _shared(graph)
    if not len(sections):
        return
    found = _FINDERS[graph.elf.machine](graph, sections, relocated)
    if not len(found.field):
        return
    for place, keep in found.masks:
        for index, bits in enumerate(keep):
            data[place + index] &= bits
    _merge(graph, found)


def _merge(graph: Graph, found: Found) -> None:
    entities, old = graph.entities, graph.references
    starts = entities.start[: entities.defined]
    owner = np.searchsorted(starts, found.field, side="right") - 1
    target = np.searchsorted(starts, found.target, side="right") - 1
    columns = (
        (old.owner, owner),
        (old.at, found.field - starts[owner]),
        (old.type, found.kind + BRANCH),
        (old.target, target),
        (old.offset, found.target - starts[target]),
    )
    merged = [np.concatenate(pair) for pair in columns]
    order = np.lexsort((merged[1], merged[0]))
    graph.references = References(*(column[order] for column in merged))


def _shared(graph: Graph) -> Ints:
    """The sections of code that hold more than one entity with a name."""
    entities = graph.entities
    named = (entities.role == Role.TEXT) & (entities.kind != Kind.ANONYMOUS) & (entities.section > 0)
    sections, counts = np.unique(entities.section[named], return_counts=True)
    stored = graph.elf.sections.type[sections] != c.SHT_NOBITS
    found: Ints = sections[(counts > 1) & stored]
    return found


def _leaves(graph: Graph, sections: Ints, place: Ints, target: Ints) -> Mask:
    """Which branches at `place` go to another entity of the same section."""
    entities = graph.entities
    starts = entities.start[: entities.defined]
    own = np.searchsorted(starts, place, side="right") - 1
    other = np.searchsorted(starts, target, side="right") - 1
    section = entities.section[own]
    low = graph.flat.base[section]
    within = (target >= low) & (target < low + graph.flat.sizes[section])
    leaves: Mask = within & (own != other)
    return leaves


def _ranges(graph: Graph, sections: Ints) -> list[tuple[int, int]]:
    base, sizes = graph.flat.base, graph.flat.sizes
    return [(int(base[s]), int(base[s] + sizes[s])) for s in sections.tolist()]


def _positions(graph: Graph, sections: Ints, step: int) -> Ints:
    """The flat positions of possible instructions in `sections`."""
    spans = [np.arange(low, high - step + 1, step) for low, high in _ranges(graph, sections)]
    return np.concatenate(spans) if spans else np.empty(0, np.int64)


# --- x86 ---------------------------------------------------------------------------------------------------


def _x86(graph: Graph, sections: Ints, relocated: Ints) -> Found:
    data = np.frombuffer(graph.flat.data, np.uint8)
    ends: dict[int, int] = {}
    for low, high in _ranges(graph, sections):
        byte, before = data[low:high], data[low - 1 : high - 1]
        fields = [
            low + 1 + np.flatnonzero(_NEAR[byte]),
            low + 1 + np.flatnonzero(_CONDITION[byte] & (before == 0x0F)),
        ]
        _x86_near(graph, sections, np.concatenate(fields), relocated, ends)
        relative = low + 1 + np.flatnonzero(_RELATIVE_TO_END[byte])
        _x86_near(graph, sections, relative, relocated, ends, trailing=(0, 1, 2, 4))
        _x86_short(graph, sections, low + 1 + np.flatnonzero(_SHORT[byte]), ends)
    return _x86_decoded(graph, ends)


def _last_opcode_bytes(first: int | None, size: int) -> Mask:
    """Which bytes may stand before a displacement of `size` bytes, behind the opcode byte `first` if any."""
    found = np.zeros(256, dtype=bool)
    for row in named("x86_64").displacements:
        if row.size == size and (row.match[0] if len(row.match) > 1 else None) == first:
            found |= (np.arange(256) & row.mask[-1]) == row.match[-1]
    return found


_NEAR, _CONDITION, _SHORT = (_last_opcode_bytes(*key) for key in ((None, 4), (0x0F, 4), (None, 1)))
_RELATIVE_TO_END = (np.arange(256) & 0xC7) == 0x05  # the ModRM byte of a RIP-relative operand


def _x86_near(
    graph: Graph,
    sections: Ints,
    field: Ints,
    relocated: Ints,
    ends: dict[int, int],
    trailing: tuple[int, ...] = (0,),
) -> None:
    field = field[field + 4 <= graph.flat.stored]
    value = _signed(_unsigned(graph, field), 32)
    # Most distances are those of other bytes that happen to look alike: they lead out of the section.
    own = np.clip(np.searchsorted(graph.flat.base[sections], field, side="right") - 1, 0, None)
    low = graph.flat.base[sections][own]
    near = (field + value + 12 >= low) & (field + value < low + graph.flat.sizes[sections][own])
    field, value = field[near], value[near]
    unrelocated = ~_member(relocated, field)
    field, value = field[unrelocated], value[unrelocated]
    for extra in trailing:
        end = field + 4 + extra
        leaving = _leaves(graph, sections, field, end + value)
        ends.update(zip(end[leaving].tolist(), field[leaving].tolist(), strict=True))


def _x86_short(graph: Graph, sections: Ints, field: Ints, ends: dict[int, int]) -> None:
    value = np.frombuffer(graph.flat.data, np.int8)[field].astype(np.int64)
    target = field + 1 + value
    leaving = _leaves(graph, sections, field, target)
    # Compilers jump to the start of a function; only hand-written code jumps elsewhere with two bytes.
    entities = graph.entities
    starts = entities.start[: entities.defined]
    index = np.clip(np.searchsorted(starts, target), 0, len(starts) - 1)
    own = np.searchsorted(starts, field, side="right") - 1
    leaving &= (starts[index] == target) | (entities.kind[own] != Kind.FUNCTION)
    ends.update(zip((field + 1)[leaving].tolist(), field[leaving].tolist(), strict=True))


def _unsigned(graph: Graph, at: Ints) -> Ints:
    """The little-endian 32-bit numbers at flat positions."""
    raw = np.frombuffer(graph.flat.data, np.uint8)
    value = np.zeros(len(at), np.int64)
    for index in range(4):
        value |= raw[at + index].astype(np.int64) << (8 * index)
    return value


def _member(sorted_values: Ints, wanted: Ints) -> Mask:
    if not len(sorted_values):
        return np.zeros(len(wanted), dtype=bool)
    index = np.clip(np.searchsorted(sorted_values, wanted), 0, len(sorted_values) - 1)
    hit: Mask = sorted_values[index] == wanted
    return hit


def _x86_decoded(graph: Graph, ends: dict[int, int]) -> Found:
    """Those candidates that are instructions: functions that hold one are decoded from their start."""
    if not ends:
        none = np.empty(0, np.int64)
        return Found(none, none, none, [])
    x86 = iced()
    entities = graph.entities
    starts = entities.start[: entities.defined]
    fields = np.sort(np.fromiter(ends.values(), np.int64, len(ends)))
    holders = np.searchsorted(starts, fields, side="right") - 1
    owners = distinct(holders)
    last = fields[np.searchsorted(holders, owners, side="right") - 1]
    near = {x86.OpKind.NEAR_BRANCH16, x86.OpKind.NEAR_BRANCH32, x86.OpKind.NEAR_BRANCH64}
    rows: list[tuple[int, int, int, int]] = []
    for owner, field_at in zip(owners.tolist(), last.tolist(), strict=True):
        start, end = int(starts[owner]), min(int(entities.end[owner]), field_at + 8)
        for instruction in x86.Decoder(64, graph.flat.data[start:end], ip=start):
            field = ends.get(instruction.next_ip)
            if field is None or field <= instruction.ip:
                continue
            if instruction.op_count and instruction.op0_kind in near:
                size = instruction.next_ip - field
                rows.append((field, instruction.near_branch_target, size, size))
            elif instruction.is_ip_rel_memory_operand:
                rows.append((field, instruction.ip_rel_memory_address, 16, 4))
    rows = [row for row in rows if 0 <= row[1] < graph.flat.stored]
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4)
    low = np.searchsorted(starts, columns[:, 0], side="right") - 1
    other = np.searchsorted(starts, columns[:, 1], side="right") - 1
    keep = low != other
    columns = columns[keep]
    masks = [(int(field), bytes(int(size))) for field, _, _, size in columns.tolist()]
    return Found(columns[:, 0], columns[:, 1], columns[:, 2], masks)


# --- instruction sets of fixed width -----------------------------------------------------------------------


def _signed(value: Ints, bits: int) -> Ints:
    return np.where(value >= (1 << (bits - 1)), value - (1 << bits), value)


def _fixed(graph: Graph, sections: Ints, relocated: Ints) -> Found:
    at = _positions(graph, sections, 4)
    at = at[~_member(relocated, at)]
    word = _unsigned(graph, at)
    rows: list[npt.NDArray[np.int64]] = []
    masks: list[tuple[int, bytes]] = []
    for number, form in enumerate(graph.facts.words + graph.facts.near_words):
        hit = np.flatnonzero((word & form.mask) == form.match)
        distance, bits, keep = np.zeros(len(hit), np.int64), 0, 0xFFFFFFFF
        for bit, width in form.pieces:
            field = (1 << width) - 1
            distance |= ((word[hit] >> bit) & field) << bits
            bits += width
            keep &= ~(field << bit)
        place = at[hit]
        target = place + _signed(distance, bits) * form.scale
        leaving = _leaves(graph, sections, place, target)
        place, target = place[leaving], target[leaving]
        rows.append(np.stack([place, target, np.full(len(place), number)]))
        masks += [(int(p), keep.to_bytes(4, "little")) for p in place.tolist()]
    columns = np.concatenate(rows, axis=1)
    return Found(columns[0], columns[1], columns[2], masks)


# --- s390 --------------------------------------------------------------------------------------------------


def _s390(graph: Graph, sections: Ints, relocated: Ints) -> Found:
    raw = graph.flat.data
    at = _positions(graph, sections, 2)
    rows = graph.facts.displacements + graph.facts.near_displacements
    first = np.frombuffer(raw, np.uint8)[at]
    candidates = at[among(first, [row.match[0] for row in rows])]
    candidates = candidates[~_member(relocated, candidates + 2)]
    starts = graph.entities.start[: graph.entities.defined]
    real: list[tuple[int, int, int]] = []
    wanted = set(candidates.tolist())
    owners = distinct(np.searchsorted(starts, candidates, side="right") - 1)
    for owner in owners.tolist():
        place, end = int(starts[owner]), int(graph.entities.end[owner])
        while place < end:
            if place in wanted and (row := _s390_branch(raw, place, rows)) is not None:
                real.append(row)
            place += (2, 4, 4, 6)[raw[place] >> 6]
    columns = np.array(real, dtype=np.int64).reshape(-1, 3)
    leaving = _leaves(graph, sections, columns[:, 0], columns[:, 1])
    columns = columns[leaving]
    masks = [(int(place) + 2, bytes(int(size))) for place, _, size in columns.tolist()]
    return Found(columns[:, 0] + 2, columns[:, 1], columns[:, 2], masks)


def _s390_branch(raw: bytes, place: int, rows: tuple[Displacement, ...]) -> tuple[int, int, int] | None:
    """`(place, target, size of the distance)` of the instruction at `place`, None where it holds no distance."""
    for row in rows:
        here = raw[place : place + len(row.match)]
        if any(byte & mask != match for byte, mask, match in zip(here, row.mask, row.match, strict=True)):
            continue
        if row.last and raw[place + row.last_at] not in row.last:
            continue
        field = place + len(row.match)
        distance = int.from_bytes(raw[field : field + row.size], "big", signed=True)
        return place, place + row.scale * distance, row.size
    return None


_FINDERS: dict[int, Callable[[Graph, Ints, Ints], Found]] = {
    c.EM_X86_64: _x86,
    c.EM_AARCH64: _fixed,
    c.EM_PPC64: _fixed,
    c.EM_LOONGARCH: _fixed,
    c.EM_S390: _s390,
}
