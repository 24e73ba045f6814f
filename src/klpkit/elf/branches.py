"""Direct branches in machine code, found by their opcodes alone.

Nothing is decoded from a function's start, so data or the middle of an instruction can look like a branch: the
answer may hold too much and misses no branch that the architecture's tables know.  Assemblers resolve branches
inside a section and leave no relocation, and a linked image has none at all.
"""

from __future__ import annotations

import numpy as np

from klpkit.elf.arch.facts import Architecture, Displacement, Word
from klpkit.elf.layout import Buffer, Ints


def branches_to(
    code: Buffer, targets: Ints, facts: Architecture, resolved: Ints | None = None
) -> tuple[Ints, Ints]:
    """Every place in `code` that looks like a branch to one of `targets` (sorted offsets in `code`).

    Returns two columns: the offset of each branch and the target that it goes to.  Branches whose field is at
    one of `resolved` (the offsets of the section's relocations) are left out: the relocation tells the target.
    """
    parts = [_displaced(code, targets, row, facts, resolved) for row in facts.displacements]
    parts += [_worded(code, targets, row, facts, resolved) for row in facts.words]
    empty = np.empty(0, np.int64)
    sites = np.concatenate([empty, *(part[0] for part in parts)])
    found = np.concatenate([empty, *(part[1] for part in parts)])
    order = np.argsort(sites, kind="stable")
    return sites[order], found[order]


def _displaced(
    code: Buffer, targets: Ints, row: Displacement, facts: Architecture, resolved: Ints | None
) -> tuple[Ints, Ints]:
    content = np.frombuffer(code, np.uint8)
    opcode = len(row.match)
    last = len(content) - opcode - row.size + 1
    if last <= 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    hit = np.ones(last, np.bool_)
    for at in range(opcode):
        hit &= (content[at : at + last] & np.uint8(row.mask[at])) == row.match[at]
    sites: Ints = np.flatnonzero(hit).astype(np.int64)
    sites = sites[sites % facts.step == 0]
    fields = sites[:, None] + np.arange(opcode, opcode + row.size)
    raw = np.ascontiguousarray(content[fields]).view(f"{facts.order}i{row.size}").reshape(-1).astype(np.int64)
    base = sites + (opcode + row.size if row.from_end else 0)
    return _kept(sites, base + raw * row.scale, sites + opcode, targets, resolved)


def _worded(
    code: Buffer, targets: Ints, row: Word, facts: Architecture, resolved: Ints | None
) -> tuple[Ints, Ints]:
    words = np.frombuffer(code, f"{facts.order}u4", count=len(code) // 4).astype(np.int64)
    which: Ints = np.flatnonzero((words & row.mask) == row.match).astype(np.int64)
    value, width = np.zeros(len(which), np.int64), 0
    for low, bits in row.pieces:
        value |= ((words[which] >> low) & ((1 << bits) - 1)) << width
        width += bits
    value -= (value >> (width - 1)) << width
    sites = which * 4
    return _kept(sites, sites + value * row.scale, sites, targets, resolved)


def _kept(sites: Ints, goals: Ints, fields: Ints, targets: Ints, resolved: Ints | None) -> tuple[Ints, Ints]:
    keep = np.isin(goals, targets)
    if resolved is not None and len(resolved):
        keep &= ~np.isin(fields, resolved)
    return sites[keep], goals[keep]
