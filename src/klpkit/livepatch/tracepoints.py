"""Tracepoints of a patched module: patched code can't follow them, so in it they stay silent.

The kernel sorts and looks up the jump labels of a patch when the patch loads, and the key of a module's tracepoint
is not known before that module is there.  Without its entry in `__jump_table` the site keeps the state it was
compiled for, which is off.  A jump is compiled where the entry's key has bit 1 set, and objtool would make a
no-op of it (`arch/x86/include/asm/jump_label.h`): that is done here.  Other keys of modules are refused
(`module-key`), for their state matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from klpkit.elf import constants as c
from klpkit.errors import RefusedError
from klpkit.livepatch.unit import Unit, lead_of
from klpkit.target import VMLINUX, Target

_PREFIX = "__tracepoint_"
_IDLE = 2
_PLACE, _KEY = 0, 8
# Jump → no-op of the same length: Intel SDM volume 2, "NOP".
_NOPS = {0xEB: b"\x66\x90", 0xE9: b"\x0f\x1f\x44\x00\x00"}


@dataclass(frozen=True, slots=True)
class Silent:
    """An entry of `__jump_table` that is left out: the site is at `offset` of `function`.

    `idle` says that a jump was compiled which is to be a no-op.
    """

    entry: int
    function: int
    offset: int
    key: str
    idle: bool


def silent_tracepoints(unit: Unit, target: Target) -> list[Silent]:
    """The jump labels of a module's own tracepoints in the patched object; none for vmlinux."""
    if unit.owner == VMLINUX or unit.graph.elf.machine != c.EM_X86_64:
        return []
    return [
        found for entries in unit.sites.values() for entry in entries for found in _silent(unit, entry, target)
    ]


def _silent(unit: Unit, entry: int, target: Target) -> Iterator[Silent]:
    graph = unit.graph
    if graph.section_name(entry) != "__jump_table":
        return
    references, span = graph.references, graph.references_of(entry)
    rows = {int(references.at[row]): row for row in range(span.start, span.stop)}
    if _PLACE not in rows or _KEY not in rows:
        return
    site, key = rows[_PLACE], int(references.target[rows[_KEY]])
    name = graph.names[key]
    if not name.startswith(_PREFIX) or _of_vmlinux(name, target):
        return
    field = unit.fields[int(graph.entities.start[entry]) + _KEY]
    idle = bool(lead_of(graph, key, field) & _IDLE)
    yield Silent(entry, int(references.target[site]), int(references.offset[site]), name, idle)


def _of_vmlinux(name: str, target: Target) -> bool:
    return any(symbol.kind.isupper() for symbol in target.vmlinux.positions(name))


def idle_code(code: bytes, silent: Silent) -> bytes:
    """The no-op for the jump at the site in `code`, the bytes of its function."""
    nop = _NOPS.get(code[silent.offset]) if silent.offset < len(code) else None
    if nop is None:
        raise RefusedError(
            "module-key",
            f"the jump label of {silent.key} is none that could be made a no-op",
            hint="leave the tracepoint out of the patched function",
        )
    return nop
