"""What objtool reads of an object and the linker then throws away: `.discard.*`.

Where objtool runs at the link of a module (`delay-objtool` in the kernel's `scripts/Makefile.lib`: with IBT or
LTO), it needs the entries of the selected code.  Each entry has exactly one relocation, at its start, and all of
a table have one size.
"""

from __future__ import annotations

from collections.abc import Callable

from klpkit.diff.graph import Graph
from klpkit.elf import ElfObject, ObjRelocation, ObjSection, ObjSymbol
from klpkit.elf import constants as c
from klpkit.elf.relocations import Relocation
from klpkit.errors import RefusedError

Moved = Callable[[int, int], tuple[ObjSymbol, int] | None]

# Only there to keep symbols: objtool does not read them.
_IDLE = (".discard.addressable", ".discard.ksym", ".discard.sym")


def add_discards(graph: Graph, moved: Moved, out: ElfObject) -> None:
    """Add to `out` the entries that describe code which `moved` knows the new place of."""
    elf = graph.elf
    for index in elf.relocation_sections:
        number = int(elf.sections.info[index])
        name = elf.sections.names[number]
        if not name.startswith(".discard.") or name in _IDLE:
            continue
        entries = list(elf.relocations(index))
        size = _entry_size(graph, number, [entry.offset for entry in entries])
        kept = [(entry, place) for entry in entries if (place := _place(graph, entry, moved))]
        if kept:
            _copy(graph, number, size, kept, out)


def _entry_size(graph: Graph, number: int, offsets: list[int]) -> int:
    total = int(graph.elf.sections.size[number])
    size = total // len(offsets) if offsets else 0
    if not offsets or size * len(offsets) != total or sorted(offsets) != list(range(0, total, size)):
        raise RefusedError(
            "unknown-special-section",
            f"{graph.path}: {graph.elf.place(number)} is no table with one relocation an entry",
            hint="report the object with the kernel's version",
        )
    return size


def _place(graph: Graph, entry: Relocation, moved: Moved) -> tuple[ObjSymbol, int] | None:
    """Where the code that an entry describes is now; None where it was not selected."""
    symbols = graph.elf.symbols
    section = int(symbols.section[entry.symbol])
    if section <= 0 or graph.flat.base[section] < 0:
        return None
    return moved(section, int(symbols.value[entry.symbol]) + entry.addend)


def _copy(
    graph: Graph, number: int, size: int, kept: list[tuple[Relocation, tuple[ObjSymbol, int]]], out: ElfObject
) -> None:
    header = graph.elf.sections[number]
    flags = header.flags & ~c.SHF_GROUP
    section = ObjSection(header.name, header.type, flags, align=header.align, entry_size=header.entry_size)
    content = bytes(graph.elf.content(number))
    for row, (entry, (symbol, offset)) in enumerate(kept):
        section.data = bytes(section.data) + content[entry.offset : entry.offset + size]
        section.relocate().entries.append(ObjRelocation(row * size, entry.type, symbol, offset))
    out.sections.append(section)
