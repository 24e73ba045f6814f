"""References that a live patch's author annotated in C, in both styles that are in circulation.

Named (`KLP_RELOC_SYMBOL`, `KLP_RELOC_SYMBOL_POS`): an assembler name makes the symbol itself say everything,
`.klp.sym.rela.<livepatched object>.<symbol's object>.<name>,<sympos>`.

Listed (`KLP_MODULE_RELOC`, `KLP_SYMPOS`): the symbol keeps its name, and packed records of its address (8 bytes, a
relocation) and its position (4 bytes) are in sections named `.klp.module_relocs.<object>`, the symbol's object and
the livepatched one alike.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from klpkit.elf import constants as c
from klpkit.elf.arch import architecture
from klpkit.elf.model import ElfObject, ObjRelocation, ObjSection, ObjSymbol
from klpkit.errors import RefusedError
from klpkit.livepatch.klprela import LISTED_PREFIX, SYMBOL_PREFIX, KlpReference

NAMED_PREFIX = ".klp.sym.rela."
RECORD_SIZE, POINTER_SIZE = 12, 8

_NAMED = re.compile(re.escape(NAMED_PREFIX) + r"([^.,]+)\.([^.,]+)\.([^,]+),([0-9]+)")


def read_annotations(module: ElfObject) -> tuple[KlpReference, ...]:
    """What the annotations in `module` say, in the order of its symbols and records; converted ones are left out.

    `RefusedError` (`klp-annotation`) for one that can't be read.
    """
    return (*_named(module), *_listed(module))


def retire_annotations(module: ElfObject) -> None:
    """Take the records out of `module`, whose symbols are converted.

    Where something still refers to the records, such as debug information, they stay in the file and the kernel
    does not load them.
    """
    retired = [section for section in module.sections if section.name.startswith(LISTED_PREFIX)]
    held = _sections_in_use(module)
    for section in retired:
        section.flags &= ~c.SHF_ALLOC
    gone = {id(section) for section in retired if id(section) not in held}
    module.sections = [section for section in module.sections if id(section) not in gone]
    module.symbols = [symbol for symbol in module.symbols if id(symbol.section) not in gone]


def undefined(module: ElfObject) -> Iterator[ObjSymbol]:
    """The symbols that `module` expects from elsewhere and that are no klp symbols."""
    for symbol in module.symbols:
        if symbol.section is None and symbol.special == c.SHN_UNDEF and symbol.name:
            yield symbol


def _named(module: ElfObject) -> Iterator[KlpReference]:
    for symbol in undefined(module):
        # The kernel's macro quotes the name for GCC, and Clang takes the quotes for a part of it.
        text = symbol.name.strip('"')
        if not text.startswith(SYMBOL_PREFIX):
            continue
        match = _NAMED.fullmatch(text)
        if match is None:
            raise RefusedError(
                "klp-annotation",
                f"the undefined symbol {symbol.name} is no annotation",
                hint=f"{NAMED_PREFIX}<livepatched object>.<symbol's object>.<symbol>,<position> is one",
            )
        patched, owner, name, sympos = match.groups()
        yield KlpReference(symbol.name, _object(patched), _object(owner), name, int(sympos))


def _listed(module: ElfObject) -> Iterator[KlpReference]:
    for section in module.sections:
        if section.name.startswith(LISTED_PREFIX):
            owner = _object(section.name.removeprefix(LISTED_PREFIX))
            for offset, symbol in _records(module, section):
                if symbol.special == c.SHN_UNDEF:
                    place = offset + POINTER_SIZE
                    (sympos,) = struct.unpack_from(f"{module.order}I", section.data, place)
                    yield KlpReference(symbol.name, owner, owner, symbol.name, sympos)


def _records(module: ElfObject, section: ObjSection) -> Iterator[tuple[int, ObjSymbol]]:
    """Offset and symbol of every record of `section`."""
    entries = [entry for table in section.relocations for entry in table.entries]
    by_offset = {entry.offset: entry for entry in entries}
    offsets = range(0, len(section.data), RECORD_SIZE)
    if len(section.data) % RECORD_SIZE or len(entries) != len(offsets) or by_offset.keys() != set(offsets):
        raise RefusedError(
            "klp-annotation",
            f"{section.name} has {len(section.data)} bytes and {len(entries)} relocations: no records of "
            f"{RECORD_SIZE} bytes with one relocation each at their start",
            hint="write KLP_SYMPOS(symbol, position) for each symbol in a KLP_MODULE_RELOC(object) array",
        )
    for offset in offsets:
        yield offset, _pointed(module, section, by_offset[offset])


def _pointed(module: ElfObject, section: ObjSection, entry: ObjRelocation) -> ObjSymbol:
    facts = architecture(module.machine, module.order)
    kind = facts.relocations.get(entry.type) if facts else None
    symbol = entry.symbol
    external = symbol is not None and symbol.section is None and symbol.special in (c.SHN_UNDEF, c.SHN_LIVEPATCH)
    if symbol is None or not external or entry.addend or not kind or kind.relative or kind.size != POINTER_SIZE:
        raise RefusedError(
            "klp-annotation",
            f"{section.name}+{entry.offset:#x} does not hold the address of an undefined symbol",
            hint="declare the symbol `extern` and define it nowhere in the module",
        )
    return symbol


def _object(name: str) -> str:
    """The object as the running kernel calls it: its modules have underscores where their files have dashes."""
    return name.replace("-", "_")


def _sections_in_use(module: ElfObject) -> set[int]:
    """The sections, by identity, that relocations of other sections, links or groups refer to."""
    used: set[int] = set()
    for section in module.sections:
        used.update(id(part) for part in (section.link, section.info_section))
        used.update(id(symbol.section) for symbol in section.symbols or ())
        for table in section.relocations:
            used.update(id(entry.symbol.section) for entry in table.entries if entry.symbol)
    for group in module.groups:
        used.update((id(group.signature.section), *map(id, group.members)))
    return used
