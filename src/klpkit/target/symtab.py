"""From the symbol table of a linked vmlinux to what kallsyms makes of it: order, nm's letters, sizes, files.

`scripts/link-vmlinux.sh` pipes `nm -n vmlinux` through `scripts/mksysmap` into `scripts/kallsyms`, which sorts by
address and then by weakness and leading underscores.  Among symbols of one name only the address counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from klpkit.elf import ElfFile, SymbolTable
from klpkit.elf import constants as c
from klpkit.elf.layout import Ints
from klpkit.target.columns import SymbolColumns

# What `scripts/mksysmap` leaves out, of Linux 6.12.
_IGNORED = re.compile(
    r"\$|\.L|__efistub_|__pi_(?:\$|\.L)|__kvm_nvhe_(?:\$|\.L|__kcfi_typeid_)|__[A-Za-z0-9]*Thunk_"
    r"|(?:__pi_)?__kcfi_typeid_|__crc_|__kstrtab_|__kstrtabns_"
    r"|.*(?:_from_arm|_from_thumb|_veneer)$|(?:L0|_SDA_BASE_|_SDA2_BASE_)$"
)
_STUBS = (".long_branch.", ".plt_branch.")


@dataclass(frozen=True, slots=True)
class Origins:
    """What a symbol table tells beyond kallsyms: sizes (-1: none) and files, one row a symbol of the table."""

    sizes: Ints
    sources: Ints
    files: tuple[str, ...]


def symtab_columns(elf: ElfFile) -> SymbolColumns:
    """The symbols of the linked file `elf` as kallsyms would list them; empty for a stripped file."""
    table = elf.symbols
    letters = letters_of(elf, table)
    rows = [row for row, name in enumerate(table.names) if letters[row] not in "UNnAa?" and _counts(name)]
    kept = np.array(rows, np.int64)
    order = kept[np.argsort(table.value[kept], kind="stable")] if len(kept) else kept
    origins = origins_of(table)
    listed = order.tolist()
    return SymbolColumns(
        table.value[order],
        "".join(letters[row] for row in listed),
        [table.names[row] for row in listed],
        origins.sizes[order],
        origins.sources[order],
        origins.files,
    )


def _counts(name: str) -> bool:
    return bool(name) and not _IGNORED.match(name) and not any(stub in name for stub in _STUBS)


def with_origins(columns: SymbolColumns, table: SymbolTable) -> SymbolColumns:
    """`columns`, of the kernel's own kallsyms, with sizes and files of the symbol table of the same kernel."""
    origins = origins_of(table)
    where: dict[tuple[str, int], list[int]] = {}
    defined = (table.section != 0) & (table.type != c.STT_SECTION) & (table.type != c.STT_FILE)
    for row in np.flatnonzero(defined).tolist():
        where.setdefault((table.names[row], int(table.value[row])), []).append(row)
    picked = np.full(len(columns), -1, np.int64)
    for row, key in enumerate(zip(columns.names, columns.addresses.tolist(), strict=True)):
        found = where.get(key, ())
        if len(found) == 1:
            picked[row] = found[0]
    known = picked >= 0
    sizes = np.where(known, origins.sizes[picked], -1)
    sources = np.where(known, origins.sources[picked], -1)
    return SymbolColumns(columns.addresses, columns.kinds, columns.names, sizes, sources, origins.files)


def origins_of(table: SymbolTable) -> Origins:
    """Sizes and files of all rows of `table`; a local symbol belongs to the file symbol before it."""
    sizes = np.where(table.size > 0, table.size.astype(np.int64), -1)
    marks = np.flatnonzero(table.type == c.STT_FILE)
    files = tuple(table.names[row] for row in marks.tolist())
    number = np.cumsum(table.type == c.STT_FILE) - 1
    local = (table.bind == c.STB_LOCAL) & (table.section > 0)
    # Assemblers and linkers end a file's symbols by a file symbol without a name.
    named = np.array([bool(name) for name in files] or [False])
    known = local & (number >= 0) & named[np.maximum(number, 0)]
    return Origins(sizes, np.where(known, number, -1), files)


def letters_of(elf: ElfFile, table: SymbolTable) -> str:
    """nm's letter of every row of `table`, upper case for global symbols; `?` for rows that nm leaves out."""
    sections = elf.sections
    by_section = [_section_letter(int(f), int(k)) for f, k in zip(sections.flags, sections.type, strict=True)]
    found = []
    rows = zip(table.section.tolist(), table.bind.tolist(), table.type.tolist(), strict=True)
    for section, bind, kind in rows:
        if kind in (c.STT_SECTION, c.STT_FILE):
            found.append("?")
        elif bind == c.STB_WEAK:
            letter = "v" if kind == c.STT_OBJECT else "w"
            found.append(letter.upper() if section else letter)
        elif section == 0:
            found.append("U")
        elif section < 0:
            letter = "c" if section == c.SECTION_COMMON else "a"
            found.append(letter.upper() if bind == c.STB_GLOBAL else letter)
        else:
            letter = by_section[section]
            found.append(letter.upper() if bind == c.STB_GLOBAL else letter)
    return "".join(found)


def _section_letter(flags: int, kind: int) -> str:
    if not flags & c.SHF_ALLOC:
        return "n"
    if flags & c.SHF_EXECINSTR:
        return "t"
    if kind == c.SHT_NOBITS:
        return "b"
    return "d" if flags & c.SHF_WRITE else "r"
