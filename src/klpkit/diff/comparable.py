"""Which objects can be compared at all: relocatable ones of a known machine that hold code, not bytecode."""

from __future__ import annotations

from klpkit.elf import ElfFile
from klpkit.elf.arch import NAMES, Architecture, architecture
from klpkit.errors import FormatError, RefusedError


def comparable(elf: ElfFile) -> Architecture:
    """The facts of the object's architecture; `RefusedError` or `FormatError` where it can't be compared."""
    if not elf.relocatable:
        hint = "give the object files, or vmlinux.o, from before the final link"
        raise RefusedError("not-relocatable", f"{elf.path}: no relocatable object", hint=hint)
    facts = architecture(elf.machine, elf.byte_order)
    if facts is None:
        order = "little" if elf.byte_order == "<" else "big"
        problem = f"{elf.path}: made for machine {elf.machine}, {order} endian"
        raise RefusedError("unknown-machine", problem, hint=f"klpkit diff knows {', '.join(NAMES)}")
    if not len(elf.sections):
        raise FormatError(elf.path, "section header table", "it is empty: there is nothing to compare")
    if not len(elf.symbols):
        raise FormatError(elf.path, "symbol table", "it is empty: not even the null symbol is there")
    _refuse_bytecode(elf)
    return facts


def _refuse_bytecode(elf: ElfFile) -> None:
    """GCC marks bytecode by a symbol (to GCC 9) and by its sections, which fat objects have beside their code."""
    slim = elf.symbols.has_name("__gnu_lto_slim") or (
        not len(elf.symbols.defined_functions)
        and not any(int(elf.sections.size[i]) for i in elf.sections.executable)
        and any(name.startswith(".gnu.lto_") for name in elf.sections.names)
    )
    if slim:
        hint = "link both sides first and diff the linked objects: gcc -r -flinker-output=nolto-rel -o LINKED.o …"
        raise RefusedError("lto-object", f"{elf.path}: holds GCC's LTO bytecode and no code", hint=hint)
