"""loongarch64.  Relocations: LoongArch ELF ABI, 2.20.  Branches: LoongArch reference manual, appendix B.

ftrace: `-fpatchable-function-entry=2`; older compilers call `_mcount`.
"""

from __future__ import annotations

from klpkit.elf.arch.facts import Architecture, Relocation, Word

RELOCATIONS = {
    0: Relocation("R_LARCH_NONE", 0),
    1: Relocation("R_LARCH_32", 4),
    2: Relocation("R_LARCH_64", 8),
    3: Relocation("R_LARCH_RELATIVE", 8),
    20: Relocation("R_LARCH_MARK_LA", 0),
    21: Relocation("R_LARCH_MARK_PCREL", 0),
    22: Relocation("R_LARCH_SOP_PUSH_PCREL", 0, True),
    23: Relocation("R_LARCH_SOP_PUSH_ABSOLUTE", 0),
    29: Relocation("R_LARCH_SOP_PUSH_PLT_PCREL", 0, True),
    47: Relocation("R_LARCH_ADD8", 1),
    48: Relocation("R_LARCH_ADD16", 2),
    50: Relocation("R_LARCH_ADD32", 4),
    51: Relocation("R_LARCH_ADD64", 8),
    52: Relocation("R_LARCH_SUB8", 1),
    53: Relocation("R_LARCH_SUB16", 2),
    55: Relocation("R_LARCH_SUB32", 4),
    56: Relocation("R_LARCH_SUB64", 8),
    64: Relocation("R_LARCH_B16", 4, True),
    65: Relocation("R_LARCH_B21", 4, True),
    66: Relocation("R_LARCH_B26", 4, True),
    67: Relocation("R_LARCH_ABS_HI20", 4),
    68: Relocation("R_LARCH_ABS_LO12", 4),
    69: Relocation("R_LARCH_ABS64_LO20", 4),
    70: Relocation("R_LARCH_ABS64_HI12", 4),
    71: Relocation("R_LARCH_PCALA_HI20", 4, True),
    72: Relocation("R_LARCH_PCALA_LO12", 4),
    73: Relocation("R_LARCH_PCALA64_LO20", 4, True),
    74: Relocation("R_LARCH_PCALA64_HI12", 4, True),
    75: Relocation("R_LARCH_GOT_PC_HI20", 4, True),
    76: Relocation("R_LARCH_GOT_PC_LO12", 4),
    99: Relocation("R_LARCH_32_PCREL", 4, True),
    100: Relocation("R_LARCH_RELAX", 0),
    102: Relocation("R_LARCH_ALIGN", 0),
    103: Relocation("R_LARCH_PCREL20_S2", 4, True),
    105: Relocation("R_LARCH_ADD6", 1),
    106: Relocation("R_LARCH_SUB6", 1),
    107: Relocation("R_LARCH_ADD_ULEB128", 1),
    108: Relocation("R_LARCH_SUB_ULEB128", 1),
    109: Relocation("R_LARCH_64_PCREL", 8, True),
    110: Relocation("R_LARCH_CALL36", 8, True),
}

FACTS = Architecture(
    name="loongarch64",
    machine=258,
    order="<",
    relocations=RELOCATIONS,
    step=4,
    words=(
        Word(0x50000000, 0xF8000000, ((10, 16), (0, 10))),  # b, bl
        Word(0x58000000, 0xF8000000, ((10, 16),)),  # beq, bne
        Word(0x60000000, 0xF0000000, ((10, 16),)),  # blt, bge, bltu, bgeu
        Word(0x40000000, 0xF8000000, ((10, 16), (0, 5))),  # beqz, bnez
        Word(0x18000000, 0xFE000000, ((5, 20),)),  # pcaddi
    ),
    site_sections=("__patchable_function_entries", "__mcount_loc"),
    site_before=8,
    site_after=16,
    entry_calls=("_mcount",),
    idle=(0, 100),
    calls=(66,),
    relative32=99,
    padding=rb"(?:\x00\x00\x40\x03|\x00{4})*",
    anchors=True,
)
