"""ELF64 object files as arrays: reading, writing, and one small table an architecture.

`ElfFile.open(path)` reads any ELF64 file; `ElfObject.read(path)` is a relocatable object that can be changed and
written.  Numbers of the format are in `klpkit.elf.constants`, facts of the
architectures in `klpkit.elf.arch`.  Names are loaded when first used: the architecture tables serve programs
that can't afford to import numpy.
"""

from __future__ import annotations

TYPE_CHECKING = False  # known to type checkers; importing `typing` would cost more than this whole room
if TYPE_CHECKING:
    from typing import Any

    from klpkit.elf.model import (
        SYMBOLS,
        ElfObject,
        ObjGroup,
        ObjRelocation,
        ObjRelocations,
        ObjSection,
        ObjSymbol,
    )
    from klpkit.elf.notes import Group, Note
    from klpkit.elf.reader import ElfFile
    from klpkit.elf.relocations import Relocation, RelocationTable
    from klpkit.elf.sections import Section, SectionTable
    from klpkit.elf.symbols import Symbol, SymbolTable

__all__ = [
    "SYMBOLS",
    "ElfFile",
    "ElfObject",
    "Group",
    "Note",
    "ObjGroup",
    "ObjRelocation",
    "ObjRelocations",
    "ObjSection",
    "ObjSymbol",
    "Relocation",
    "RelocationTable",
    "Section",
    "SectionTable",
    "Symbol",
    "SymbolTable",
]

_HOMES = {
    "SYMBOLS": "model",
    "ElfFile": "reader",
    "ElfObject": "model",
    "Group": "notes",
    "Note": "notes",
    "ObjGroup": "model",
    "ObjRelocation": "model",
    "ObjRelocations": "model",
    "ObjSection": "model",
    "ObjSymbol": "model",
    "Relocation": "relocations",
    "RelocationTable": "relocations",
    "Section": "sections",
    "SectionTable": "sections",
    "Symbol": "symbols",
    "SymbolTable": "symbols",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
