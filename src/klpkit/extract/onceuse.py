"""What macros make once for each use, in a compiled draft: marks of messages said once, rate limits, descriptors.

A draft has fewer of them than its unit, and so in other places.  Each becomes a section of its own here, without a
name: for `klpkit.target.fidelity`, which moves sections as a whole, its references tell which of the kernel's it
is, all of them the same one, and its content must be equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from klpkit.diff.load import load
from klpkit.diff.pool import Pool
from klpkit.elf import ElfFile, ElfObject
from klpkit.elf import constants as c
from klpkit.elf.model import ObjRelocation, ObjSection, ObjSymbol
from klpkit.elf.modelread import numbered_model
from klpkit.extract.statics import made_for_use
from klpkit.target.placing import Placing

_PREFIX = ".klpkit.once."


def with_uses_apart(elf: ElfFile) -> ElfObject:
    """The object `elf` to be changed, each such piece of data in a section of its own."""
    model, sections = numbered_model(elf)
    made = {row: model.symbols[row - 1] for row in range(1, len(elf.symbols)) if _is_made(elf, row)}
    marks = {row: ObjSymbol("", type=c.STT_SECTION) for row in made}
    for relocation, row in _references(elf, sections) if made else ():
        if row in made and relocation.symbol is not None:
            relocation.addend += relocation.symbol.value - made[row].value
            relocation.symbol = marks[row]
    for number, (row, symbol) in enumerate(made.items()):
        marks[row].section = _taken_out(symbol, f"{_PREFIX}{number}")
    model.sections += [mark.section for mark in marks.values() if isinstance(mark.section, ObjSection)]
    model.symbols[:0] = marks.values()
    return model


def shared(placing: Placing) -> bool:
    """Whether two pieces of one draft are the same one in the kernel."""
    names = placing.original.elf.sections.names
    spots = [spot for section, spot in placing.bases.items() if names[section].startswith(_PREFIX)]
    return len(set(spots)) < len(spots)


def _is_made(elf: ElfFile, row: int) -> bool:
    """Whether symbol `row` is a variable that a macro made for one use, with content in the file."""
    table, section = elf.symbols, int(elf.symbols.section[row])
    if section <= 0 or int(table.type[row]) != c.STT_OBJECT or int(table.bind[row]) != c.STB_LOCAL:
        return False
    if not int(table.size[row]):  # another variable begins there too
        return False
    if int(elf.sections.type[section]) == c.SHT_NOBITS or not int(elf.sections.flags[section]) & c.SHF_WRITE:
        return False
    return made_for_use(table.names[row], elf.sections.names[section])


def _taken_out(symbol: ObjSymbol, name: str) -> ObjSection:
    """A section `name` with what `symbol` named, which names nothing from then on."""
    old = symbol.section
    assert isinstance(old, ObjSection), "it is defined"
    start, end = symbol.value, symbol.value + symbol.size
    piece = ObjSection(name, old.type, old.flags, bytes(old.data[start:end]), align=old.align)
    for table in old.relocations:
        inside = [each for each in table.entries if start <= each.offset < end]
        table.entries = [each for each in table.entries if not start <= each.offset < end]
        for each in inside:
            each.offset -= start
        if inside:
            piece.relocate(table.flags).entries += inside
    symbol.type, symbol.name = c.STT_NOTYPE, ""
    return piece


def _references(elf: ElfFile, sections: Mapping[int, ObjSection]) -> Iterator[tuple[ObjRelocation, int]]:
    """The relocations of `elf`, each with the row of the symbol that it means (-1: it has none)."""
    graph = load(elf, Pool(), Pool())
    entities, references, base = graph.entities, graph.references, graph.flat.base
    meant = {
        (int(section), int(place)): int(row)
        for section, place, row in zip(
            entities.section[references.owner],
            entities.start[references.owner] + references.at - base[entities.section[references.owner]],
            entities.symbol[references.target],
            strict=True,
        )
    }
    for number, section in sections.items():
        for table in section.relocations:
            for each in table.entries:
                if (number, each.offset) in meant:
                    yield each, meant[number, each.offset]
