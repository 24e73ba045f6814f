"""s390x.  Relocations: s390x ELF ABI supplement, 1.6.  Branches: Principles of Operation, formats RI and RIL.

An addend counts from the field, two bytes into the instruction, while the instruction counts from its start.
ftrace: `-mfentry -mnop-mcount -mrecord-mcount` writes `__mcount_loc`.
"""

from __future__ import annotations

from klpkit.elf.arch.facts import Architecture, Displacement, Relocation

RELOCATIONS = {
    0: Relocation("R_390_NONE", 0),
    1: Relocation("R_390_8", 1),
    2: Relocation("R_390_12", 2),
    3: Relocation("R_390_16", 2),
    4: Relocation("R_390_32", 4),
    5: Relocation("R_390_PC32", 4, True),
    6: Relocation("R_390_GOT12", 2),
    7: Relocation("R_390_GOT32", 4),
    8: Relocation("R_390_PLT32", 4, True),
    9: Relocation("R_390_COPY", 0),
    10: Relocation("R_390_GLOB_DAT", 8),
    11: Relocation("R_390_JMP_SLOT", 8),
    12: Relocation("R_390_RELATIVE", 8),
    13: Relocation("R_390_GOTOFF32", 4),
    14: Relocation("R_390_GOTPC", 8, True),
    15: Relocation("R_390_GOT16", 2),
    16: Relocation("R_390_PC16", 2, True),
    17: Relocation("R_390_PC16DBL", 2, True, -2),
    18: Relocation("R_390_PLT16DBL", 2, True, -2),
    19: Relocation("R_390_PC32DBL", 4, True, -2),
    20: Relocation("R_390_PLT32DBL", 4, True, -2),
    21: Relocation("R_390_GOTPCDBL", 4, True, -2),
    22: Relocation("R_390_64", 8),
    23: Relocation("R_390_PC64", 8, True),
    24: Relocation("R_390_GOT64", 8),
    25: Relocation("R_390_PLT64", 8, True),
    26: Relocation("R_390_GOTENT", 4, True, -2),
    57: Relocation("R_390_20", 4),
    61: Relocation("R_390_IRELATIVE", 8),
    62: Relocation("R_390_PC12DBL", 2, True, -1),
    63: Relocation("R_390_PLT12DBL", 2, True, -1),
    64: Relocation("R_390_PC24DBL", 4, True, -3),
    65: Relocation("R_390_PLT24DBL", 4, True, -3),
}

FACTS = Architecture(
    name="s390x",
    machine=22,
    order=">",
    relocations=RELOCATIONS,
    step=2,
    displacements=(
        Displacement(b"\xc0\x05", b"\xff\x0f", 4, 2, from_end=False),  # brasl
        Displacement(b"\xc0\x04", b"\xff\x0f", 4, 2, from_end=False),  # brcl, jg
        Displacement(b"\xc0\x00", b"\xff\x0f", 4, 2, from_end=False),  # larl
        Displacement(b"\xa7\x04", b"\xff\x0e", 2, 2, from_end=False),  # brc, bras
    ),
    site_sections=("__mcount_loc",),
    site_after=32,
    entry_calls=("__fentry__", "_mcount"),
    near_displacements=(
        Displacement(b"\xa7\x06", b"\xff\x0e", 2, 2, from_end=False),  # brct, brctg
        Displacement(b"\xc4\x00", b"\xff\x00", 4, 2, from_end=False),  # lrl, strl and their kin
        Displacement(b"\xc6\x00", b"\xff\x00", 4, 2, from_end=False),  # exrl, crl and their kin
        # RIE, whose opcode ends in the last byte: crj, cgrj, cij, clrj, clgrj, clij, brxhg, brxlg and their kin.
        Displacement(b"\xec\x00", b"\xff\x00", 2, 2, False, b"\x44\x45\x64\x65\x76\x77\x7c\x7d\x7e\x7f", 5),
    ),
    calls=(19, 20),
    relative32=5,
    padding=rb"(?:\x07\x07|\x07\x00|\xc0\x04\x00\x00\x00\x00|\x47\x00\x00\x00|\x00)*",
)
