"""One function of a recompiled original held against shipped bytes, relocated fields and patch sites taken out.

What may differ although both come from one source: the values of relocated fields, and what objtool rewrote after
the compiler (`tools/objtool/check.c`): jump labels that start as no-ops, and in kernels built so, the calls of
profiling functions.  Code that the kernel rewrites at boot (alternatives, returns, static calls) is
still as compiled in the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from klpkit.target.original import Extent, Field, Original
from klpkit.target.shipped import Shipped, Spot

_NOPS = {2: b"\x66\x90", 5: b"\x0f\x1f\x44\x00\x00"}
_SHORT_JUMP, _JUMP, _CALL = 0xEB, 0xE9, 0xE8
_PROFILERS = ("__fentry__", "mcount", "_mcount")
_SANITIZERS = ("__sanitizer_cov_",)
_NOINSTR = (".noinstr.text", ".entry.text", ".cpuidle.text")


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two bodies part: the offset in the function, and what is wrong there in words."""

    offset: int
    why: str


@dataclass(frozen=True, slots=True)
class Live:
    """A relocated field of the original that is `at` this offset of the shipped function.

    `meant` is the spot of the symbol that it refers to, where a shorter form of the instruction tells it.
    """

    field: Field
    at: int
    meant: Spot | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """The shipped bytes at a function's place, and the first difference outside relocated fields if any."""

    shipped: bytes
    difference: Difference | None
    live: tuple[Live, ...]


def compare_body(original: Original, extent: Extent, shipped: Shipped, spot: Spot) -> Body | None:
    """The function or data `extent` against what is shipped at `spot`; None where either has no bytes."""
    there = shipped.read(spot, extent.size)
    here = original.bytes_of(extent.section, extent.offset, extent.size)
    if there is None or len(here) != extent.size:  # data that starts as zeros has no bytes
        return None
    fields = original.fields_in(extent.section, extent.offset, extent.size)
    mine, theirs = bytearray(here), bytearray(there)
    rewritten = _rewritten(original, extent, fields, shipped, spot, here, there)
    for start, size in rewritten:
        mine[start : start + size] = theirs[start : start + size] = bytes(size)
    live = []
    for field in fields:
        start = field.offset - extent.offset
        if any(first <= start < first + size for first, size in rewritten):
            continue
        mine[start : start + field.fact.size] = theirs[start : start + field.fact.size] = bytes(field.fact.size)
        live.append(Live(field, start))
    difference = _first(mine, theirs) or beyond(original, extent, shipped, spot, extent.size)
    if difference and extent.is_function:
        from klpkit.target.relaxed import compare_relaxed

        return compare_relaxed(original, extent, shipped, spot, there) or Body(there, difference, tuple(live))
    return Body(there, difference, tuple(live))


def _first(mine: bytearray, theirs: bytearray) -> Difference | None:
    if mine == theirs:
        return None
    offset = next(i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b)
    return Difference(offset, "the code differs")


def beyond(original: Original, extent: Extent, shipped: Shipped, spot: Spot, end: int) -> Difference | None:
    """What is shipped must end at `end`, where the original does: nothing but padding may follow code."""
    size, exact = shipped.room(spot)
    # Data without a name, such as strings, may follow data.
    if size is None or size == end or not (exact or extent.is_function):
        return None
    while not exact and size < end and _label(original, extent, shipped, spot, size):
        more, _ = shipped.room((spot[0], spot[1] + size))
        size = size + more if more else end
    if exact or size < end:
        return Difference(min(size, end), f"the shipped one has {size} bytes, the original {end}")
    size = min(size, original.room(extent) or size)
    rest = shipped.read((spot[0], spot[1] + end), size - end)
    if rest is None or re.fullmatch(original.facts.padding, rest):
        return None
    return Difference(end, "the shipped one goes on")


def _label(original: Original, extent: Extent, shipped: Shipped, spot: Spot, inside: int) -> bool:
    """Whether the symbol at this offset of the shipped function is a label of the original too."""
    name = shipped.describe((spot[0], spot[1] + inside))
    table = original.elf.symbols
    places = ((int(table.section[row]), int(table.value[row])) for row in table.find(name))
    return (extent.section, extent.offset + inside) in places


def _rewritten(
    original: Original,
    extent: Extent,
    fields: list[Field],
    shipped: Shipped,
    spot: Spot,
    here: bytes,
    there: bytes,
) -> list[tuple[int, int]]:
    """(start, size) of instructions of the original in whose place objtool put a no-op."""
    found: list[tuple[int, int]] = []
    if not extent.is_function:
        return found
    for section, place in original.jumps_to_nop:
        start = place - extent.offset
        if section == extent.section and 0 <= start < extent.size:
            size = {_SHORT_JUMP: 2, _JUMP: 5}.get(here[start], 0)
            if _is_nop(there, start, size) and (spot[0], spot[1] + start) in shipped.jump_sites:
                found.append((start, size))
    for field in fields:
        start = field.offset - extent.offset - 1
        if (
            start >= 0
            and here[start] == _CALL
            and _is_nop(there, start, 5)
            and _may_vanish(original, extent, field)
        ):
            found.append((start, 5))
    return found


def _is_nop(code: bytes, start: int, size: int) -> bool:
    return size in _NOPS and code[start : start + size] == _NOPS[size]


def _may_vanish(original: Original, extent: Extent, field: Field) -> bool:
    """Whether objtool replaces this call: tracing with recorded places, instrumentation where none is allowed."""
    name = original.elf.symbols.names[field.symbol]
    if name in _PROFILERS:
        return True
    return name.startswith(_SANITIZERS) and original.elf.sections.names[extent.section].startswith(_NOINSTR)
