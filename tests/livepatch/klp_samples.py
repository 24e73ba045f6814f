"""Small live patch modules made with klpkit's own writer, for each architecture."""

from __future__ import annotations

from dataclasses import dataclass

from klpkit.elf import SYMBOLS, ElfObject, ObjRelocation, ObjSection, ObjSymbol
from klpkit.elf import constants as c


@dataclass(frozen=True)
class Arch:
    """How one architecture's compiler calls a function, points to it in data, and writes a call."""

    name: str
    machine: int
    order: str
    call: int
    addend: int
    pointer: int
    code: bytes


ARCHES = (
    Arch("x86_64", c.EM_X86_64, "<", 4, -4, 1, b"\xe8\0\0\0\0\xe8\0\0\0\0\xc3\xcc\xcc\xcc\xcc\xcc"),
    Arch("aarch64", c.EM_AARCH64, "<", 283, 0, 257, b"\0\0\0\x94\0\0\0\x94\xc0\x03\x5f\xd6\0\0\0\0"),
    Arch("ppc64le", c.EM_PPC64, "<", 10, 0, 38, bytes.fromhex("01000048 00000060 01000048 00000060")),
    Arch("s390x", c.EM_S390, ">", 19, 2, 22, bytes.fromhex("c0e500000000 c0e500000000 07fe0707")),
)
X86 = ARCHES[0]
CALL_OFFSETS = {"x86_64": (1, 6), "aarch64": (0, 4), "ppc64le": (0, 8), "s390x": (2, 8)}

ALLOC_CODE = c.SHF_ALLOC | c.SHF_EXECINSTR
ALLOC_DATA = c.SHF_ALLOC | c.SHF_WRITE


class Sample:
    """A module under construction: `text` calls, `data` points, and names give symbols."""

    def __init__(self, arch: Arch = X86, modinfo: bytes = b"livepatch=Y\0license=GPL\0") -> None:
        self.arch = arch
        self.module = ElfObject(arch.machine, arch.order)
        self.text = self.section(".text", ALLOC_CODE, arch.code)
        self.data = self.section(".data", ALLOC_DATA, bytes(32))
        self.section(".modinfo", c.SHF_ALLOC, modinfo)
        self.function = self.symbol("patched", self.text, c.STB_GLOBAL, c.STT_FUNC)
        self.local = self.symbol("local_data", self.data, c.STB_LOCAL, c.STT_OBJECT)

    def section(self, name: str, flags: int, data: bytes) -> ObjSection:
        self.module.sections.append(ObjSection(name, c.SHT_PROGBITS, flags, data, align=8))
        return self.module.sections[-1]

    def symbol(
        self, name: str, section: ObjSection | None = None, bind: int = c.STB_GLOBAL, kind: int = c.STT_NOTYPE
    ) -> ObjSymbol:
        self.module.symbols.append(ObjSymbol(name, section, bind=bind, type=kind))
        return self.module.symbols[-1]

    def call(self, symbol: ObjSymbol, place: int = 0) -> ObjRelocation:
        """The call number `place` in the text calls `symbol`."""
        offset = CALL_OFFSETS[self.arch.name][place]
        return self.refer(self.text, offset, symbol, self.arch.call, self.arch.addend)

    def point(self, symbol: ObjSymbol, offset: int = 0) -> ObjRelocation:
        """The data holds the address of `symbol` at `offset`."""
        return self.refer(self.data, offset, symbol, self.arch.pointer)

    def refer(
        self, section: ObjSection, offset: int, symbol: ObjSymbol, kind: int, addend: int = 0
    ) -> ObjRelocation:
        section.relocate().entries.append(ObjRelocation(offset, kind, symbol, addend))
        return section.relocations[0].entries[-1]


def address_table(sample: Sample, *symbols: ObjSymbol) -> ObjSection:
    """An address-significance table, which keeps rows of the symbol table."""
    section = ObjSection(".llvm_addrsig", c.SHT_LLVM_ADDRSIG, link=SYMBOLS, symbols=list(symbols))
    sample.module.sections.append(section)
    return section
