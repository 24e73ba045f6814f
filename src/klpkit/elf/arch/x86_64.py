"""x86_64.  Relocations: System V psABI, table 4.9.  Branches: Intel SDM volume 2, opcode maps.

ftrace: the compiler (`-pg -mfentry -mrecord-mcount`) or objtool writes `__mcount_loc`; before objtool has run a
call to `__fentry__` is all there is.  `__patchable_function_entries` is call padding or a BPF dispatcher here,
which ftrace leaves out (`HAVE_DYNAMIC_FTRACE_NO_PATCHABLE`).
"""

from __future__ import annotations

from klpkit.elf.arch.facts import Architecture, Displacement, Relocation

RELOCATIONS = {
    0: Relocation("R_X86_64_NONE", 0),
    1: Relocation("R_X86_64_64", 8),
    2: Relocation("R_X86_64_PC32", 4, True, 4),
    3: Relocation("R_X86_64_GOT32", 4),
    4: Relocation("R_X86_64_PLT32", 4, True, 4),
    5: Relocation("R_X86_64_COPY", 0),
    6: Relocation("R_X86_64_GLOB_DAT", 8),
    7: Relocation("R_X86_64_JUMP_SLOT", 8),
    8: Relocation("R_X86_64_RELATIVE", 8),
    9: Relocation("R_X86_64_GOTPCREL", 4, True, 4),
    10: Relocation("R_X86_64_32", 4),
    11: Relocation("R_X86_64_32S", 4),
    12: Relocation("R_X86_64_16", 2),
    13: Relocation("R_X86_64_PC16", 2, True, 2),
    14: Relocation("R_X86_64_8", 1),
    15: Relocation("R_X86_64_PC8", 1, True, 1),
    16: Relocation("R_X86_64_DTPMOD64", 8),
    17: Relocation("R_X86_64_DTPOFF64", 8),
    18: Relocation("R_X86_64_TPOFF64", 8),
    19: Relocation("R_X86_64_TLSGD", 4, True, 4),
    20: Relocation("R_X86_64_TLSLD", 4, True, 4),
    21: Relocation("R_X86_64_DTPOFF32", 4),
    22: Relocation("R_X86_64_GOTTPOFF", 4, True, 4),
    23: Relocation("R_X86_64_TPOFF32", 4),
    24: Relocation("R_X86_64_PC64", 8, True),
    25: Relocation("R_X86_64_GOTOFF64", 8),
    26: Relocation("R_X86_64_GOTPC32", 4, True, 4),
    27: Relocation("R_X86_64_GOT64", 8),
    28: Relocation("R_X86_64_GOTPCREL64", 8, True),
    29: Relocation("R_X86_64_GOTPC64", 8, True),
    30: Relocation("R_X86_64_GOTPLT64", 8),
    31: Relocation("R_X86_64_PLTOFF64", 8),
    32: Relocation("R_X86_64_SIZE32", 4),
    33: Relocation("R_X86_64_SIZE64", 8),
    34: Relocation("R_X86_64_GOTPC32_TLSDESC", 4, True, 4),
    35: Relocation("R_X86_64_TLSDESC_CALL", 0),
    36: Relocation("R_X86_64_TLSDESC", 16),
    37: Relocation("R_X86_64_IRELATIVE", 8),
    38: Relocation("R_X86_64_RELATIVE64", 8),
    41: Relocation("R_X86_64_GOTPCRELX", 4, True, 4),
    42: Relocation("R_X86_64_REX_GOTPCRELX", 4, True, 4),
}

FACTS = Architecture(
    name="x86_64",
    machine=62,
    order="<",
    relocations=RELOCATIONS,
    step=1,
    displacements=(
        Displacement(b"\xe8", b"\xfe", 4),  # call, jmp
        Displacement(b"\x0f\x80", b"\xff\xf0", 4),  # jcc
        Displacement(b"\xeb", b"\xff", 1),  # jmp short
        Displacement(b"\x70", b"\xf0", 1),  # jcc short
        Displacement(b"\xe0", b"\xfc", 1),  # loop, jrcxz
        Displacement(b"\x8d\x05", b"\xff\xc7", 4),  # lea from %rip
    ),
    site_sections=("__mcount_loc",),
    site_after=16,
    entry_calls=("__fentry__", "mcount", "_mcount"),
    landing_pads=(b"\xf3\x0f\x1e\xfa",),  # endbr64
    calls=(2, 4),
    trailing=(2, 4, 9, 41, 42),
    relative32=2,
    padding=(
        rb"(?:\x66{0,12}(?:\x2e)?\x0f\x1f(?:\x00|\x40\x00|\x44\x00\x00|\x80\x00{4}|\x84\x00{5})|\x66*\x90|\xcc|\x00"
        rb"|\x8d\x76\x00|\x8d\xb4\x26\x00{4}|\x8d\x74\x26\x00|\x8d\xb6\x00{4})*"
    ),
    entry_nop=b"\x0f\x1f\x44\x00\x00",
)
