"""ppc64le.  Relocations and the second entry: 64-bit ELFv2 ABI, 3.5 and 3.4.1.  Branches: Power ISA, I and B.

ftrace: `-mprofile-kernel` calls `_mcount` within the first instructions after the TOC is set up, newer kernels
use `-fpatchable-function-entry`.
"""

from __future__ import annotations

from klpkit.elf.arch.facts import Architecture, Relocation, Word

RELOCATIONS = {
    0: Relocation("R_PPC64_NONE", 0),
    1: Relocation("R_PPC64_ADDR32", 4),
    2: Relocation("R_PPC64_ADDR24", 4),
    3: Relocation("R_PPC64_ADDR16", 2),
    4: Relocation("R_PPC64_ADDR16_LO", 2),
    5: Relocation("R_PPC64_ADDR16_HI", 2),
    6: Relocation("R_PPC64_ADDR16_HA", 2),
    7: Relocation("R_PPC64_ADDR14", 4),
    10: Relocation("R_PPC64_REL24", 4, True),
    11: Relocation("R_PPC64_REL14", 4, True),
    12: Relocation("R_PPC64_REL14_BRTAKEN", 4, True),
    13: Relocation("R_PPC64_REL14_BRNTAKEN", 4, True),
    26: Relocation("R_PPC64_REL32", 4, True),
    38: Relocation("R_PPC64_ADDR64", 8),
    39: Relocation("R_PPC64_ADDR16_HIGHER", 2),
    40: Relocation("R_PPC64_ADDR16_HIGHERA", 2),
    41: Relocation("R_PPC64_ADDR16_HIGHEST", 2),
    42: Relocation("R_PPC64_ADDR16_HIGHESTA", 2),
    44: Relocation("R_PPC64_REL64", 8, True),
    47: Relocation("R_PPC64_TOC16", 2),
    48: Relocation("R_PPC64_TOC16_LO", 2),
    49: Relocation("R_PPC64_TOC16_HI", 2),
    50: Relocation("R_PPC64_TOC16_HA", 2),
    51: Relocation("R_PPC64_TOC", 8),
    56: Relocation("R_PPC64_ADDR16_DS", 2),
    57: Relocation("R_PPC64_ADDR16_LO_DS", 2),
    63: Relocation("R_PPC64_TOC16_DS", 2),
    64: Relocation("R_PPC64_TOC16_LO_DS", 2),
    109: Relocation("R_PPC64_TOCSAVE", 0),
    110: Relocation("R_PPC64_ADDR16_HIGH", 2),
    111: Relocation("R_PPC64_ADDR16_HIGHA", 2),
    116: Relocation("R_PPC64_REL24_NOTOC", 4, True),
    117: Relocation("R_PPC64_ADDR64_LOCAL", 8),
    118: Relocation("R_PPC64_ENTRY", 0),
    119: Relocation("R_PPC64_PLTSEQ", 0),
    120: Relocation("R_PPC64_PLTCALL", 0),
    123: Relocation("R_PPC64_PCREL_OPT", 0),
    132: Relocation("R_PPC64_PCREL34", 8, True),
    133: Relocation("R_PPC64_GOT_PCREL34", 8, True),
    249: Relocation("R_PPC64_REL16", 2, True),
    250: Relocation("R_PPC64_REL16_LO", 2, True),
    251: Relocation("R_PPC64_REL16_HI", 2, True),
    252: Relocation("R_PPC64_REL16_HA", 2, True),
}

FACTS = Architecture(
    name="ppc64le",
    machine=21,
    order="<",
    relocations=RELOCATIONS,
    step=4,
    words=(
        Word(0x48000000, 0xFC000002, ((2, 24),)),  # b, bl
        Word(0x40000000, 0xFC000002, ((2, 14),)),  # bc, bcl
    ),
    site_sections=("__mcount_loc", "__patchable_function_entries"),
    site_before=16,
    site_after=32,
    entry_calls=("_mcount",),
    local_entry=True,
    calls=(10, 116),
    relative32=26,
    # nop, and the forms of it that end a dispatch group (ori 1,1,0 and ori 2,2,0).
    padding=rb"(?:\x00\x00[\x00\x21\x42]\x60|\x00)*",
    anchors=True,
)
