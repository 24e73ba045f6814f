"""aarch64.  Relocations: ELF for the Arm 64-bit Architecture, 5.7.  Branches: Arm ARM, C4.1.

ftrace: `-fpatchable-function-entry=2` or `=4,2`, whose first two instructions stand before the function.
"""

from __future__ import annotations

from klpkit.elf.arch.facts import Architecture, Relocation, Word

RELOCATIONS = {
    0: Relocation("R_AARCH64_NONE", 0),
    257: Relocation("R_AARCH64_ABS64", 8),
    258: Relocation("R_AARCH64_ABS32", 4),
    259: Relocation("R_AARCH64_ABS16", 2),
    260: Relocation("R_AARCH64_PREL64", 8, True),
    261: Relocation("R_AARCH64_PREL32", 4, True),
    262: Relocation("R_AARCH64_PREL16", 2, True),
    263: Relocation("R_AARCH64_MOVW_UABS_G0", 4),
    264: Relocation("R_AARCH64_MOVW_UABS_G0_NC", 4),
    265: Relocation("R_AARCH64_MOVW_UABS_G1", 4),
    266: Relocation("R_AARCH64_MOVW_UABS_G1_NC", 4),
    267: Relocation("R_AARCH64_MOVW_UABS_G2", 4),
    268: Relocation("R_AARCH64_MOVW_UABS_G2_NC", 4),
    269: Relocation("R_AARCH64_MOVW_UABS_G3", 4),
    270: Relocation("R_AARCH64_MOVW_SABS_G0", 4),
    271: Relocation("R_AARCH64_MOVW_SABS_G1", 4),
    272: Relocation("R_AARCH64_MOVW_SABS_G2", 4),
    273: Relocation("R_AARCH64_LD_PREL_LO19", 4, True),
    274: Relocation("R_AARCH64_ADR_PREL_LO21", 4, True),
    275: Relocation("R_AARCH64_ADR_PREL_PG_HI21", 4, True),
    276: Relocation("R_AARCH64_ADR_PREL_PG_HI21_NC", 4, True),
    277: Relocation("R_AARCH64_ADD_ABS_LO12_NC", 4),
    278: Relocation("R_AARCH64_LDST8_ABS_LO12_NC", 4),
    279: Relocation("R_AARCH64_TSTBR14", 4, True),
    280: Relocation("R_AARCH64_CONDBR19", 4, True),
    282: Relocation("R_AARCH64_JUMP26", 4, True),
    283: Relocation("R_AARCH64_CALL26", 4, True),
    284: Relocation("R_AARCH64_LDST16_ABS_LO12_NC", 4),
    285: Relocation("R_AARCH64_LDST32_ABS_LO12_NC", 4),
    286: Relocation("R_AARCH64_LDST64_ABS_LO12_NC", 4),
    287: Relocation("R_AARCH64_MOVW_PREL_G0", 4, True),
    288: Relocation("R_AARCH64_MOVW_PREL_G0_NC", 4, True),
    289: Relocation("R_AARCH64_MOVW_PREL_G1", 4, True),
    290: Relocation("R_AARCH64_MOVW_PREL_G1_NC", 4, True),
    291: Relocation("R_AARCH64_MOVW_PREL_G2", 4, True),
    292: Relocation("R_AARCH64_MOVW_PREL_G2_NC", 4, True),
    293: Relocation("R_AARCH64_MOVW_PREL_G3", 4, True),
    299: Relocation("R_AARCH64_LDST128_ABS_LO12_NC", 4),
    309: Relocation("R_AARCH64_GOT_LD_PREL19", 4, True),
    311: Relocation("R_AARCH64_ADR_GOT_PAGE", 4, True),
    312: Relocation("R_AARCH64_LD64_GOT_LO12_NC", 4),
    313: Relocation("R_AARCH64_LD64_GOTPAGE_LO15", 4),
    314: Relocation("R_AARCH64_PLT32", 4, True),
}

FACTS = Architecture(
    name="aarch64",
    machine=183,
    order="<",
    relocations=RELOCATIONS,
    step=4,
    words=(
        Word(0x14000000, 0x7C000000, ((0, 26),)),  # b, bl
        Word(0x54000000, 0xFF000000, ((5, 19),)),  # b.cond
        Word(0x34000000, 0x7E000000, ((5, 19),)),  # cbz, cbnz
        Word(0x36000000, 0x7E000000, ((5, 14),)),  # tbz, tbnz
        Word(0x10000000, 0x9F000000, ((29, 2), (5, 19)), 1),  # adr
    ),
    site_sections=("__patchable_function_entries", "__mcount_loc"),
    site_before=16,
    site_after=24,
    entry_calls=("_mcount",),
    landing_pads=(
        b"\x5f\x24\x03\xd5",
        b"\x9f\x24\x03\xd5",
        b"\xdf\x24\x03\xd5",
        b"\x3f\x23\x03\xd5",
    ),  # bti, paciasp
    near_words=(Word(0x18000000, 0x3B000000, ((5, 19),)),),  # ldr of a literal
    idle=(0, 256),
    calls=(282, 283),
    relative32=261,
    padding=rb"(?:\x1f\x20\x03\xd5|\x00{4})*",
    anchors=True,
)
