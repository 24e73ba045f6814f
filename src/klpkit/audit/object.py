"""What the audit reads from an object: its functions, their linkage, and whether they have a landing pad."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from klpkit.elf import ElfFile
from klpkit.elf.constants import EM_AARCH64, EM_X86_64, STB_LOCAL

# The first bytes of a function that may be called indirectly: endbr64; bti c, bti jc, paciasp.
LANDING_PADS: dict[int, tuple[bytes, ...]] = {
    EM_X86_64: (b"\xf3\x0f\x1e\xfa",),
    EM_AARCH64: (b"\x5f\x24\x03\xd5", b"\xdf\x24\x03\xd5", b"\x3f\x23\x03\xd5"),
}
# Twins of a function that hold its call padding or type, not code of the source.
PREFIXES = ("__pfx_", "__cfi_")


@dataclass(frozen=True, slots=True)
class DefinedFunction:
    """A function of an object.

    `local` says that other objects can't name it, `landing_pad` that it starts with the instruction that an
    indirect call wants (None: not told for this architecture).
    """

    symbol: str
    local: bool
    landing_pad: bool | None


def defined_functions(path: Path) -> tuple[DefinedFunction, ...]:
    """The functions that the object at `path` defines, by address."""
    elf = ElfFile.open(path)
    pads = LANDING_PADS.get(elf.machine)
    symbols = elf.symbols
    rows = sorted(
        (int(row) for row in symbols.defined_functions),
        key=lambda row: (int(symbols.section[row]), int(symbols.value[row])),
    )
    found = []
    for row in rows:
        symbol = symbols[row]
        if symbol.name.startswith(PREFIXES):
            continue
        head = bytes(elf.content(symbol.section)[symbol.value : symbol.value + 4])
        found.append(
            DefinedFunction(symbol.name, symbol.bind == STB_LOCAL, None if pads is None else head in pads)
        )
    return tuple(found)
