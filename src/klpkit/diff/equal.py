"""Whether two objects are the same in all that a diff looks at: found before anything is taken apart.

Debug information, comments and other sections that no kernel loads are left aside.  A difference here says
nothing yet; equality here is final, since everything that the comparison reads is the same on both sides.
"""

from __future__ import annotations

import numpy as np

from klpkit.diff.pool import Mask, among, distinct, mixed
from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.elf.special import Role, role

_TABLES = (c.SHT_SYMTAB, c.SHT_STRTAB, c.SHT_SYMTAB_SHNDX, c.SHT_GROUP, c.SHT_REL, c.SHT_RELA)
_LINKED = (c.SHT_REL, c.SHT_RELA)


def same_objects(original: ElfFile, patched: ElfFile) -> bool:
    """Whether both objects have the same loaded sections, symbols, relocations and groups in the same order."""
    if original.same_bytes(patched):
        return True
    a, b = original.sections, patched.sections
    if len(a) != len(b) or a.names != b.names:
        return False
    columns = ((a.type, b.type), (a.flags, b.flags), (a.link, b.link), (a.info, b.info))
    if not all(np.array_equal(x, y) for x, y in (*columns, (a.entry_size, b.entry_size))):
        return False
    kept = _kept(original)
    if not np.array_equal(a.size[kept], b.size[kept]):
        return False
    stored = np.flatnonzero(kept & (a.type != c.SHT_NOBITS) & (a.size > 0)).tolist()
    return all(bytes(original.stored(index)) == bytes(patched.stored(index)) for index in stored)


def function_count(elf: ElfFile) -> int:
    """How many places hold a function, in sections of functions."""
    rows, sections = elf.symbols.defined_functions, elf.sections
    section = elf.symbols.section[rows]
    kinds, flags = sections.type.tolist(), sections.flags.tolist()
    used = distinct(section).tolist()
    text = [i for i in used if role(sections.names[i], kinds[i], flags[i]) is Role.TEXT]
    places = mixed(section, elf.symbols.value[rows])[among(section, text)]
    return len(distinct(places.view(np.int64)))


def _kept(elf: ElfFile) -> Mask:
    """The sections that count; of those that no kernel loads, symbols, relocations and groups do."""
    sections = elf.sections
    loaded = (sections.flags & np.uint64(c.SHF_ALLOC)) != 0
    others = np.flatnonzero(~loaded).tolist()
    dropped = np.zeros(len(sections), dtype=bool)
    dropped[[i for i in others if role(sections.names[i], int(sections.type[i]), 0) is Role.DROPPED]] = True
    tables = among(sections.type, _TABLES)
    # Relocations of debug information are as idle as itself; the names of sections were compared as names.
    target = np.clip(sections.info, 0, len(sections) - 1)
    idle = among(sections.type, _LINKED) & dropped[target] & ~tables[target]
    kept: Mask = (loaded | ~dropped | tables) & ~idle
    kept[elf.name_section] = False
    return kept
