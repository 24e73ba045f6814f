"""What Linux's module loader can do with a relocation that live patching applies: tables.

Sources: `apply_relocate_add()` of each architecture (`arch/*/kernel/module*.c`), and the order in which
`load_module()` works: klp relocations against vmlinux are applied with the ordinary ones, those against a module
when that module is there, which is after everything that reads a new module's special sections.
"""

from __future__ import annotations

from klpkit.elf import constants as c
from klpkit.elf.special import Role, role

# Kinds that the loader applies to a symbol wherever in the address space it lies.
APPLIED: dict[int, frozenset[str]] = {
    c.EM_X86_64: frozenset(
        f"R_X86_64_{kind}" for kind in ("NONE", "64", "32", "32S", "PC32", "PLT32", "PC64")
    ),
    c.EM_AARCH64: frozenset(
        f"R_AARCH64_{kind}"
        for kind in (
            "NONE", "ABS64", "ABS32", "ABS16", "PREL64", "PREL32", "PREL16", "MOVW_UABS_G0_NC", "MOVW_UABS_G0",
            "MOVW_UABS_G1_NC", "MOVW_UABS_G1", "MOVW_UABS_G2_NC", "MOVW_UABS_G2", "MOVW_UABS_G3",
            "MOVW_SABS_G0", "MOVW_SABS_G1", "MOVW_SABS_G2", "MOVW_PREL_G0_NC", "MOVW_PREL_G0",
            "MOVW_PREL_G1_NC", "MOVW_PREL_G1", "MOVW_PREL_G2_NC", "MOVW_PREL_G2", "MOVW_PREL_G3",
            "LD_PREL_LO19", "ADR_PREL_LO21", "ADR_PREL_PG_HI21_NC", "ADR_PREL_PG_HI21", "ADD_ABS_LO12_NC",
            "LDST8_ABS_LO12_NC", "LDST16_ABS_LO12_NC", "LDST32_ABS_LO12_NC", "LDST64_ABS_LO12_NC",
            "LDST128_ABS_LO12_NC", "TSTBR14", "CONDBR19", "JUMP26", "CALL26",
        )
    ),
    # Not TOC16 and its kin: a module's TOC does not reach the symbol, and the loader drops the upper bits.
    c.EM_PPC64: frozenset(
        f"R_PPC64_{kind}"
        for kind in ("ADDR32", "ADDR64", "REL24", "REL24_NOTOC", "REL64", "REL32", "PCREL34", "GOT_PCREL34")
    ),
    c.EM_S390: frozenset(
        f"R_390_{kind}"
        for kind in (
            "NONE", "8", "12", "16", "20", "32", "64", "PC16", "PC16DBL", "PC32DBL", "PC32", "PC64", "GOT12",
            "GOT16", "GOT32", "GOT64", "GOTENT", "PLT16DBL", "PLT32DBL", "PLT32", "PLT64",
            "GOTOFF32", "GOTPC", "GOTPCDBL",
        )
    ),
    c.EM_LOONGARCH: frozenset(
        f"R_LARCH_{kind}"
        for kind in (
            "NONE", "32", "64", "32_PCREL", "64_PCREL", "B26", "PCALA_HI20", "PCALA_LO12", "PCALA64_LO20",
            "PCALA64_HI12", "GOT_PC_HI20", "GOT_PC_LO12",
        )
    ),
}  # fmt: skip

# ppc64: `bl`, or `b` without its last bit; the loader turns the `nop` after a `bl` into a load of the TOC pointer.
_PPC_CALL = "R_PPC64_REL24"
_PPC_LINK = 1

# ppc64's loader stores other kinds plainly, which faults once memory is read-only.
_PPC_PATCHED = frozenset(("R_PPC64_REL24", "R_PPC64_REL24_NOTOC"))
_SEALED = ".data..ro_after_init"

# Keys of these tables are looked up when the module loads; a key of another module is still unknown then.
KEY_TABLES = ("__jump_table", ".static_call_sites", ".static_call_tramp_key")
_READ_AT_LOAD = frozenset((Role.SITES, Role.PIECES, Role.REGISTRY, Role.INFORMATION, Role.UNKNOWN))


def too_late(name: str, kind: int, flags: int) -> str:
    """The reason why a section can't wait for another module to be relocated; empty where it can."""
    if name in KEY_TABLES:
        return "module-key"
    if name.startswith(".init"):
        return "init-relocation"
    return "late-relocation" if role(name, kind, flags) in _READ_AT_LOAD else ""


def lost_toc(kind: str, data: bytes | bytearray, offset: int, machine: int) -> bool:
    """Whether a relocation of ppc64 is a jump to another module's code that leaves no way to restore r2."""
    if machine != c.EM_PPC64 or kind != _PPC_CALL:
        return False
    word = int.from_bytes(data[offset : offset + 4], "little")
    return not word & _PPC_LINK


def faults_late(kind: str, machine: int, name: str, flags: int) -> bool:
    """Whether the loader would write to read-only memory once the live patch itself is loaded."""
    if machine != c.EM_PPC64 or kind in _PPC_PATCHED:
        return False
    return not flags & c.SHF_WRITE or name.startswith(_SEALED)
