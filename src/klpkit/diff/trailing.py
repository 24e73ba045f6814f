"""How many bytes of an x86 instruction follow its RIP-relative field.

Such a field counts from the end of its instruction, so the place meant by `section + addend` depends on whether an
immediate follows (`cmpl $5, x(%rip)` has four more bytes).  The opcode before the field decides (Intel SDM vol. 2,
appendix A); where an escape byte, a VEX or an EVEX prefix could be meant, the function is decoded from its start.
"""

from __future__ import annotations

import numpy as np

from klpkit.diff.decoders import iced
from klpkit.diff.graph import Flat
from klpkit.diff.pool import Ints, among
from klpkit.elf import ElfFile

# Opcodes of the one-byte map with a ModRM byte and an immediate of 1 byte, or of 4 (2 with prefix 66).
_ONE = {0x80: 1, 0x81: 4, 0x83: 1, 0xC0: 1, 0xC1: 1, 0xC6: 1, 0xC7: 4, 0x69: 4, 0x6B: 1, 0xF6: 1, 0xF7: 4}
_ESCAPED = {0x70, 0x71, 0x72, 0x73, 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6}

_IMMEDIATE = np.zeros(256, np.int64)
for _opcode, _size in _ONE.items():
    _IMMEDIATE[_opcode] = _size
_SUSPECT = np.zeros(256, bool)
_SUSPECT[list(_ESCAPED | set(_ONE))] = True


def trailing_bytes(elf: ElfFile, flat: Flat, at: Ints, section: Ints) -> Ints:
    """For each field at flat position `at`, how many bytes of its instruction follow the field's four."""
    data = np.frombuffer(flat.data, np.uint8)
    modrm, opcode = data[at - 1], data[at - 2]
    escape = data[at - 3]
    memory = (modrm & 0xC7) == 0x05
    plain = memory & (_IMMEDIATE[opcode] > 0)
    # F6 and F7 have an immediate only as TEST (reg 0 and 1).
    plain &= ~((opcode >= 0xF6) & ((modrm & 0x38) > 0x08))
    size = np.where(plain, _IMMEDIATE[opcode], 0)
    short = plain & (size == 4) & ((escape == 0x66) | ((data[at - 4] == 0x66) & ((escape & 0xF0) == 0x40)))
    size[short] = 2
    vector = among(data[at - 4], (0xC5, 0x62)) | among(data[at - 5], (0xC4, 0x62)) | (data[at - 6] == 0x62)
    escaped = among(escape, (0x0F, 0x3A, 0x38))
    doubtful = memory & ((_SUSPECT[opcode] & (escaped | vector)) | (escape == 0x3A) | (vector & escaped))
    for row in np.flatnonzero(doubtful).tolist():
        size[row] = _decoded(elf, flat, int(at[row]), int(section[row]), int(size[row]))
    return size


def _decoded(elf: ElfFile, flat: Flat, at: int, section: int, guess: int) -> int:
    """The answer for one field, by decoding from the function that holds it."""
    symbols = elf.symbols
    here = (symbols.section == section) & ((symbols.type == 2) | (symbols.type == 10))
    starts = symbols.value[here].astype(np.int64) + int(flat.base[section])
    starts = starts[starts < at]
    start = int(starts.max()) if len(starts) else int(flat.base[section])
    limit = int(flat.base[section] + flat.sizes[section])
    for instruction in iced().Decoder(64, flat.data[start : min(limit, at + 16)], ip=start):
        end = instruction.ip + instruction.len
        if end > at:
            return end - at - 4 if instruction.ip <= at and end >= at + 4 else guess
    return guess
