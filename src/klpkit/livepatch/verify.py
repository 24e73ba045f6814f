"""A finished module read back as the kernel's loader would read it.

The loader's own checks are in `kernel/module/main.c` (`check_modstruct_version()`, `simplify_symbols()`) and in
`kernel/livepatch/core.c`; live patching hooks in by `__mcount_loc` (`ftrace_location()`).  What the loader would
refuse is refused here; what it would take and do wrong is too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.elf.arch import architecture
from klpkit.errors import KlpkitError, RefusedError
from klpkit.livepatch import loadable
from klpkit.livepatch.model import PatchedFunction, PatchedObject
from klpkit.target import VMLINUX, Target, TargetSymbol
from klpkit.target.module import Module
from klpkit.target.vmlinux import Vmlinux


class BrokenModuleError(KlpkitError):
    """The module that was made is not what was planned: a bug, and no module is written."""

    exit_code = 70

    def __init__(self, what: str) -> None:
        super().__init__(f"the finished module is wrong: {what}", hint="nothing was written; report this patch")


def verify(content: bytes, path: object, objects: Sequence[PatchedObject], target: Target) -> None:
    """Check the module `content` against the plan `objects` and the shipped `target`.

    `BrokenModuleError` where it is not what was planned, `RefusedError` where the target would not take it.
    """
    checking = _Checking(ElfFile(content, path), target)
    checking.information()
    checking.undefined()
    checking.versions()
    checking.klp_tables()
    checking.unwinding(objects)
    for patched in objects:
        checking.functions(patched)


@dataclass(slots=True)
class _Checking:
    elf: ElfFile
    target: Target

    def information(self) -> None:
        """`.modinfo`: it is a live patch, may use GPL exports, and was built for this kernel."""
        listed = loadable.information(self.elf)
        pairs = dict(listed)
        if pairs.get("livepatch") != "Y" or pairs.get("license") != "GPL":
            raise BrokenModuleError("it does not say that it is a live patch under the GPL")
        needs = [value for key, value in listed if key == "depends" and value]
        if needs:
            raise BrokenModuleError(f"it needs other modules: {needs[0]}")
        magic = self.target.vermagic
        if magic and pairs.get("vermagic", "").strip() != magic.strip():
            raise RefusedError(
                "vermagic",
                f"the module is for {pairs.get('vermagic')!r}, the kernel is {magic!r}",
                hint="take the header package of exactly this kernel",
            )

    def undefined(self) -> None:
        """What is left undefined is exported, by vmlinux, and its namespace is imported."""
        imported = {value for key, value in loadable.information(self.elf) if key == "import_ns"}
        table = self.elf.symbols
        for row in np.flatnonzero(table.section == c.SHN_UNDEF).tolist()[1:]:
            name = table.names[row]
            export = self.target.exports().get(name)
            if export is None and int(table.bind[row]) == c.STB_WEAK:
                continue
            if export is None or export.module.rpartition("/")[2] != VMLINUX:
                raise BrokenModuleError(f"{name} is left undefined, and vmlinux does not export it")
            if export.namespace and export.namespace not in imported:
                raise BrokenModuleError(f"it does not import the namespace {export.namespace} of {name}")

    def versions(self) -> None:
        """Checksums of what it uses are those of the kernel, that of the module's own layout included."""
        found = loadable.versions(self.elf)
        exports = self.target.exports()
        if found and "module_layout" not in found:
            raise BrokenModuleError("it has no checksum of module_layout")
        for name, crc in found.items():
            export = exports.get(name)
            if export is not None and export.crc is not None and export.crc != crc:
                raise RefusedError(
                    "symbol-version",
                    f"{name} has the checksum {crc:#x} in the header package and {export.crc:#x} in the kernel",
                    hint="take the header package of exactly this kernel",
                )

    # -- klp relocations ---------------------------------------------------------------------------------------

    def klp_tables(self) -> None:
        """Tables and symbols of klp relocations are what `klp_write_section_relocs()` reads."""
        elf = self.elf
        symbols = elf.symbols
        live = symbols.section == c.SHN_LIVEPATCH - 0x10000
        for index in elf.relocation_sections:
            rows = elf.relocations(index).symbol
            name, flags = elf.sections.names[index], int(elf.sections.flags[index])
            klp = bool(flags & c.SHF_RELA_LIVEPATCH)
            if klp != name.startswith(loadable.RELA_PREFIX):
                raise BrokenModuleError(f"{name} has the name or the flag of klp relocations, not both")
            if not klp and live[rows].any():
                raise BrokenModuleError(f"{name} uses a klp symbol outside of klp relocations")
            if klp and not live[rows].all():
                raise BrokenModuleError(f"{name} uses a symbol that is none of live patching's")
            if klp:
                self._klp_table(index, [symbols.names[row] for row in rows.tolist()])
        for row in np.flatnonzero(live).tolist():
            self._klp_symbol(symbols.names[row])

    def _klp_table(self, index: int, names: Sequence[str]) -> None:
        table = loadable.klp_table(self.elf, index)
        if table is None or not int(self.elf.sections.flags[index]) & c.SHF_ALLOC:
            raise BrokenModuleError(f"{self.elf.place(index)} is not named after the section that it relocates")
        for name in names:
            symbol = loadable.klp_symbol(name)
            if symbol is not None and symbol.object == VMLINUX != table:
                raise BrokenModuleError(f"{name} of vmlinux is in a table for {table}")

    def _klp_symbol(self, name: str) -> None:
        symbol = loadable.klp_symbol(name)
        if symbol is None:
            raise BrokenModuleError(f"the kernel can't read the name {name}")
        found = self._found(symbol.object, symbol.name, symbol.sympos)
        if self._freed(symbol.object, found):
            raise BrokenModuleError(f"{symbol.name} is in memory that the kernel frees")

    def _found(self, holder: str, name: str, sympos: int) -> TargetSymbol:
        """What the loader finds; it refuses 0 for a name that repeats, and a position past the last."""
        same = self.target.object(holder).positions(name)
        if sympos == 0 and len(same) == 1:
            return same[0]
        if not 0 < sympos <= len(same):
            raise BrokenModuleError(f"{holder} has {len(same)} symbols {name}, and position {sympos} is meant")
        return same[sympos - 1]

    def _freed(self, holder: str, symbol: TargetSymbol) -> bool:
        found = self.target.object(holder)
        if isinstance(found, Vmlinux):
            return found.in_init(symbol.address)
        return symbol.section.startswith(".init")

    def unwinding(self, objects: Sequence[PatchedObject]) -> None:
        """Where the glue has ORC data every function has: without it no stack with it is ever reliable."""
        elf, wanted = self.elf, {function.symbol for each in objects for function in each.functions}
        covered: set[int] = set()
        for index in elf.relocation_sections:
            if elf.sections.names[int(elf.sections.info[index])] == ".orc_unwind_ip":
                covered.update(elf.symbols.section[elf.relocations(index).symbol].tolist())
        for name in sorted(wanted) if covered else ():
            for row in elf.symbols.find(name):
                if int(elf.symbols.section[row]) not in covered:
                    raise BrokenModuleError(f"{name} has no unwind data: objtool has not seen its code")

    # -- functions ---------------------------------------------------------------------------------------------

    def functions(self, patched: PatchedObject) -> None:
        """Each function of the plan is registered, is in the kernel where it says, and can be hooked."""
        registered = loadable.registered(self.elf)
        for function in patched.functions:
            if registered.get(function.symbol) != (function.name, function.sympos):
                raise BrokenModuleError(f"{function.symbol} is not registered for {function.name}")
            symbol = self._found(patched.name, function.name, function.sympos)
            self._traced(patched.name, function, symbol)
        for member, name in patched.callbacks:
            if not self.elf.symbols.find(name):
                raise BrokenModuleError(f"the callback {name} ({member}) is not in it")

    def _traced(self, holder: str, function: PatchedFunction, symbol: TargetSymbol) -> None:
        if symbol.size is not None and symbol.size == 0:
            raise RefusedError(
                "no-size", f"{function.name} has no size in {holder}", hint="patch its callers instead"
            )
        places = list(self._sites(holder, symbol))
        if places and not any(places):
            raise RefusedError(
                "no-ftrace-location",
                f"{function.name}: {holder} of the running kernel has no ftrace location at its start",
                hint="patch its callers instead (mark it __always_inline, or rename it and change them)",
            )

    def _sites(self, holder: str, symbol: TargetSymbol) -> Iterator[bool]:
        """For each byte at the function's start whether ftrace can hook in; nothing where that is not known."""
        facts = architecture(self.elf.machine, self.elf.byte_order)
        found = self.target.object(holder)
        if facts is None or not isinstance(found, Vmlinux | Module) or not found.ftrace_locations:
            return
        for at in range(symbol.address - facts.site_before, symbol.address + facts.site_after + 1):
            if isinstance(found, Vmlinux):
                yield at in found.ftrace_locations
            else:
                yield (symbol.section, at) in found.ftrace_locations
