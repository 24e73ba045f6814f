"""What a diff must know of each instruction set: data, keyed by the ELF machine number.

`bias` is what to add to an addend in code to get the place that the instruction means: relocations relative to
the place of the field count from the field, instructions from their end (x86: plus what follows the field) or
from their start (s390).  `padding` matches what an assembler or a linker puts between functions.
Sources: the psABI of each architecture; GNU as, `md_*` nop tables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from klpkit.elf import constants as c

BRANCH = 1 << 20
"""Reference types at and above this are branches that the assembler resolved, not relocations."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One architecture.  `none` are relocation types without a target that may be skipped."""

    name: str
    bias: dict[int, int]
    padding: re.Pattern[bytes]
    step: int
    none: tuple[int, ...] = (0,)
    call: tuple[int, ...] = ()
    trailing: tuple[int, ...] = ()


_X86_NOPS = (
    rb"(?:\x66{0,12}(?:\x2e)?\x0f\x1f(?:\x00|\x40\x00|\x44\x00\x00|\x80\x00{4}|\x84\x00{5})|\x66*\x90|\xcc|\x00"
    rb"|\x8d\x76\x00|\x8d\xb4\x26\x00{4}|\x8d\x74\x26\x00|\x8d\xb6\x00{4})*"
)


def _words(*words: bytes) -> re.Pattern[bytes]:
    return re.compile(b"(?:" + b"|".join(re.escape(word) for word in words) + b")*")


_X86_64 = Machine(
    "x86_64",
    bias={2: 4, 4: 4, 9: 4, 13: 2, 15: 1, 19: 4, 20: 4, 22: 4, 34: 4, 41: 4, 42: 4},
    padding=re.compile(_X86_NOPS),
    step=1,
    call=(2, 4),
    trailing=(2, 4, 9, 41, 42),
)
_AARCH64 = Machine(
    "aarch64",
    bias={},
    padding=_words(b"\x1f\x20\x03\xd5", b"\0\0\0\0"),
    step=4,
    none=(0, 256),
    call=(282, 283),
)
_PPC64 = Machine("ppc64le", bias={}, padding=_words(b"\0\0\0\x60", b"\0\0\0\0", b"\0"), step=4, call=(10, 116))
_S390 = Machine(
    "s390x",
    bias={16: -2, 17: -2, 19: -2, 20: -2, 26: -2, 62: -2, 63: -2, 64: -2, 65: -2},
    padding=re.compile(rb"(?:\x07\x07|\x07\x00|\xc0\x04\x00\x00\x00\x00|\x47\x00\x00\x00|\x00)*"),
    step=2,
    call=(19, 20),
)
_LOONGARCH = Machine(
    "loongarch64", bias={}, padding=_words(b"\0\0\x40\x03", b"\0\0\0\0"), step=4, none=(0, 100), call=(66,)
)

MACHINES = {
    c.EM_X86_64: _X86_64,
    c.EM_AARCH64: _AARCH64,
    c.EM_PPC64: _PPC64,
    c.EM_S390: _S390,
    c.EM_LOONGARCH: _LOONGARCH,
}
