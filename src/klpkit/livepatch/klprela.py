"""Klp relocations: what a live patch needs from the code it patches and the kernel does not export.

The format is in the kernel's `Documentation/livepatch/module-elf-format.rst`, its reader in
`kernel/livepatch/core.c`: tables named `.klp.rela.<patched object>.<section>`, marked `SHF_RELA_LIVEPATCH` so that
the ordinary pass skips them and `SHF_ALLOC` so that they stay, against symbols named
`.klp.sym.<symbol's object>.<name>,<sympos>` in section `SHN_LIVEPATCH`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from klpkit.elf import constants as c
from klpkit.elf.arch import architecture
from klpkit.elf.model import ElfObject, ObjRelocation, ObjRelocations, ObjSection, ObjSymbol
from klpkit.errors import RefusedError
from klpkit.livepatch import klpkinds

VMLINUX = "vmlinux"
RELA_PREFIX, SYMBOL_PREFIX = ".klp.rela.", ".klp.sym."
LISTED_PREFIX = ".klp.module_relocs."
"""Sections of annotations (see `annotations`), which the kernel has no use for."""

# What the sscanf() formats in klp_resolve_symbols() and klp_write_section_relocs() take.
_OBJECT = re.compile(r"[^.,\s-]{1,55}")
_NAME = re.compile(r"[^,\s]{1,511}")
_SYMPOS_LIMIT = 1 << 64


@dataclass(frozen=True, slots=True)
class KlpReference:
    """One symbol that live patching is to resolve.

    `symbol` is the undefined symbol as the module names it now.  It stands for the symbol at position `sympos`
    (0: the only one) of those called `name` in `symbol_object`, and is resolved when `patched_object` is loaded.
    Objects are `vmlinux` or modules, spelled as the running kernel does.
    """

    symbol: str
    patched_object: str
    symbol_object: str
    name: str
    sympos: int

    @property
    def klp_symbol(self) -> str:
        """The name that the kernel's live patching reads."""
        return f"{SYMBOL_PREFIX}{self.symbol_object}.{self.name},{self.sympos}"

    @property
    def applied_with(self) -> str:
        """The object whose tables hold the relocations.

        A symbol of vmlinux is there when the patch loads, whatever it patches; the kernel refuses such symbols in
        the tables of a module (since 5.8).
        """
        return VMLINUX if self.symbol_object == VMLINUX else self.patched_object


@dataclass(frozen=True, slots=True)
class _Move:
    """One relocation that goes from an ordinary table of `section` to a klp table."""

    section: ObjSection
    table: ObjRelocations
    entry: ObjRelocation
    reference: KlpReference


def write_klp_relocations(module: ElfObject, references: Sequence[KlpReference]) -> None:
    """Move every relocation of `module` against the symbols of `references` into klp relocation tables.

    Changes `module` in place, wholly or not at all: `RefusedError` says what the kernel could not apply.  A
    reference that was written before changes nothing.
    """
    pending = _pending(module, references)
    moves = list(_moves(module, pending))
    for move in moves:
        _check(module, move)
    moved = {id(move.entry) for move in moves}
    for table in {id(move.table): move.table for move in moves}.values():
        table.entries = [entry for entry in table.entries if id(entry) not in moved]
    for move in moves:
        klp_table(move.section, move.reference.applied_with).entries.append(move.entry)
    _rename(module, pending)


def klp_table_name(patched_object: str, section: str) -> str:
    """The name of the table of klp relocations of `section`."""
    return f"{RELA_PREFIX}{patched_object}.{section.removeprefix('.')}"


def klp_table(section: ObjSection, patched_object: str) -> ObjRelocations:
    """The table of klp relocations of `section` for `patched_object`, made if there is none."""
    name = klp_table_name(patched_object, section.name)
    for table in section.relocations:
        if table.flags & c.SHF_RELA_LIVEPATCH and table.name == name:
            return table
    flags = c.SHF_ALLOC | c.SHF_INFO_LINK | c.SHF_RELA_LIVEPATCH | section.flags & c.SHF_GROUP
    section.relocations.append(ObjRelocations(name, flags))
    return section.relocations[-1]


def _pending(module: ElfObject, references: Sequence[KlpReference]) -> dict[int, tuple[ObjSymbol, KlpReference]]:
    """The undefined symbols that `references` mean, by identity; those already written are left out."""
    by_name: dict[str, KlpReference] = {}
    for reference in references:
        _check_names(reference)
        if by_name.setdefault(reference.symbol, reference) != reference:
            raise RefusedError(
                "klp-contradiction",
                f"{reference.symbol} is to stand for {by_name[reference.symbol].klp_symbol} of "
                f"{by_name[reference.symbol].patched_object} and for {reference.klp_symbol} of "
                f"{reference.patched_object}",
                hint="annotate it once",
            )
    found: dict[int, tuple[ObjSymbol, KlpReference]] = {}
    seen: set[str] = set()
    for symbol in module.symbols:
        if symbol.section is None and symbol.special == c.SHN_LIVEPATCH:
            seen.add(symbol.name)
        elif symbol.section is None and symbol.special == c.SHN_UNDEF and symbol.name in by_name:
            found[id(symbol)] = symbol, by_name[symbol.name]
            seen.add(symbol.name)
    for reference in by_name.values():
        if reference.symbol not in seen and reference.klp_symbol not in seen:
            raise RefusedError(
                "klp-symbol-missing",
                f"the module has no undefined symbol {reference.symbol}",
                hint="declare it `extern`, define it nowhere, and use it",
            )
    return found


def _check_names(reference: KlpReference) -> None:
    """`RefusedError` for names that the kernel would read as others, and for objects that can't be resolved."""
    for name in (reference.patched_object, reference.symbol_object):
        if not _OBJECT.fullmatch(name):
            raise RefusedError(
                "klp-name",
                f"{reference.symbol}: {name!r} is no object that the kernel could find",
                hint="objects are `vmlinux` or a module's name with underscores, at most 55 characters",
            )
    if not _NAME.fullmatch(reference.name) or not 0 <= reference.sympos < _SYMPOS_LIMIT:
        raise RefusedError(
            "klp-name",
            f"{reference.symbol}: the kernel can't look up {reference.name!r} at position {reference.sympos}",
            hint="symbols have no comma, no blank and at most 511 characters; positions count from 1, 0 if unique",
        )
    if reference.patched_object == VMLINUX != reference.symbol_object:
        raise RefusedError(
            "klp-module-symbol",
            f"{reference.name} of module {reference.symbol_object} is to be resolved with vmlinux, when the "
            "module need not be loaded",
            hint="name the patched module as the livepatched object, or look the symbol up when it is needed",
        )


def _moves(module: ElfObject, pending: Mapping[int, tuple[ObjSymbol, KlpReference]]) -> Iterator[_Move]:
    """Every relocation that the kernel would apply before the symbol of its reference is known.

    The loader applies none in sections that it does not load (debug information): those stay.
    """
    for section in module.sections:
        if not section.flags & c.SHF_ALLOC or section.name.startswith(LISTED_PREFIX):
            continue
        for table in section.relocations:
            for entry in table.entries:
                if id(entry.symbol) in pending:
                    yield _Move(section, table, entry, pending[id(entry.symbol)][1])


def _check(module: ElfObject, move: _Move) -> None:
    """`RefusedError` where the kernel can't apply the relocation, or would apply it too late."""
    section, entry, reference = move.section, move.entry, move.reference
    place = f"{section.name}+{entry.offset:#x} refers to {reference.name} of {reference.symbol_object}"
    if move.table.flags & c.SHF_RELA_LIVEPATCH:
        raise RefusedError(
            "klp-contradiction",
            f"{place} in {move.table.name}, whose symbols must be klp symbols",
            hint="convert the module as the linker made it, not a half-converted one",
        )
    facts = architecture(module.machine, module.order)
    kind = facts.relocations.get(entry.type) if facts else None
    if not move.table.explicit or not kind or kind.name not in klpkinds.APPLIED.get(module.machine, ()):
        raise RefusedError(
            "klp-relocation-kind",
            f"{place} by {kind.name if kind else f'relocation kind {entry.type}'}, which the module loader of "
            f"{facts.name if facts else f'machine {module.machine}'} does not apply to klp symbols",
            hint="declare the symbol `extern` without hidden visibility, and compile with the kernel's own flags",
        )
    if klpkinds.lost_toc(kind.name, section.data, entry.offset, module.machine):
        raise RefusedError(
            "sibling-call",
            f"{place} by a branch that does not come back to restore the TOC pointer",
            hint='add `__attribute__((optimize("-fno-optimize-sibling-calls")))` to the calling function',
        )
    if reference.applied_with != VMLINUX:
        _check_late(section, kind.name, module.machine, place)


def _check_late(section: ObjSection, kind: str, machine: int, place: str) -> None:
    """`RefusedError` for a section that the kernel is done with when the patched module is loaded."""
    slug = klpkinds.too_late(section.name, section.type, section.flags)
    if slug == "module-key":
        raise RefusedError(
            "module-key",
            f"{place}: a key of a module can't be in a live patch's own {section.name}",
            hint="use static_key_enabled(&key) in place of static_branch_*(), an ordinary call for a static call",
        )
    if slug == "init-relocation":
        raise RefusedError(
            "init-relocation",
            f"{place} from memory that is freed before the module may be loaded",
            hint="refer to it from functions and data without __init marks",
        )
    if slug:
        raise RefusedError(
            "late-relocation",
            f"{place}, and the kernel reads {section.name} before the symbols of the module are known",
            hint="move the reference into a function or ordinary data",
        )
    if klpkinds.faults_late(kind, machine, section.name, section.flags):
        raise RefusedError(
            "late-relocation",
            f"{place}, and {section.name} is read-only when the module is loaded",
            hint="keep the address in a variable, or set it in a callback",
        )


def _rename(module: ElfObject, pending: Mapping[int, tuple[ObjSymbol, KlpReference]]) -> None:
    """Turn the undefined symbols into klp symbols, one for each name."""
    known = {symbol.name: symbol for symbol in module.symbols if _is_klp(symbol)}
    doubles: dict[int, ObjSymbol] = {}
    for symbol, reference in pending.values():
        kept = known.setdefault(reference.klp_symbol, symbol)
        if kept is symbol:
            symbol.name, symbol.special = reference.klp_symbol, c.SHN_LIVEPATCH
        else:
            doubles[id(symbol)] = kept
    if doubles:
        _replace(module, doubles)


def _is_klp(symbol: ObjSymbol) -> bool:
    return symbol.section is None and symbol.special == c.SHN_LIVEPATCH


def _replace(module: ElfObject, doubles: Mapping[int, ObjSymbol]) -> None:
    """Let everything that refers to a key of `doubles` refer to its value, and drop the former."""
    for section in module.sections:
        for table in section.relocations:
            for entry in table.entries:
                entry.symbol = doubles.get(id(entry.symbol), entry.symbol)
        if section.symbols is not None:
            section.symbols = [doubles.get(id(symbol), symbol) for symbol in section.symbols]
    module.symbols = [symbol for symbol in module.symbols if id(symbol) not in doubles]
