"""Numbers of the DWARF format: tags, attributes and forms (DWARF 5, section 7.5), with the GNU and LLVM additions.

A *form* says how an attribute's value is stored.  For walking over values only their extent matters: `Format.size`
gives the fixed sizes, `VARIABLE` how the others end.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

TAG_ARRAY_TYPE = 0x01
TAG_CLASS_TYPE = 0x02
TAG_ENUMERATION_TYPE = 0x04
TAG_COMPILE_UNIT = 0x11
TAG_STRUCTURE_TYPE = 0x13
TAG_SUBROUTINE_TYPE = 0x15
TAG_UNION_TYPE = 0x17
TAG_INLINED_SUBROUTINE = 0x1D
TAG_SUBPROGRAM = 0x2E
TAG_PARTIAL_UNIT = 0x3C
TAG_CALL_SITE = 0x48
TAG_SKELETON_UNIT = 0x4A
TAG_GNU_CALL_SITE = 0x4109

AT_SIBLING = 0x01
AT_NAME = 0x03
AT_STMT_LIST = 0x10
AT_LOW_PC = 0x11
AT_LANGUAGE = 0x13
AT_COMP_DIR = 0x1B
AT_INLINE = 0x20
AT_ABSTRACT_ORIGIN = 0x31
AT_CALLING_CONVENTION = 0x36
AT_DECL_COLUMN = 0x39
AT_DECL_FILE = 0x3A
AT_DECL_LINE = 0x3B
AT_DECLARATION = 0x3C
AT_SPECIFICATION = 0x47
AT_ENTRY_PC = 0x52
AT_RANGES = 0x55
AT_CALL_FILE = 0x58
AT_CALL_LINE = 0x59
AT_LINKAGE_NAME = 0x6E
AT_STR_OFFSETS_BASE = 0x72
AT_ADDR_BASE = 0x73
AT_RNGLISTS_BASE = 0x74
AT_DWO_NAME = 0x76
AT_MIPS_LINKAGE_NAME = 0x2007
AT_GNU_DWO_NAME = 0x2130
AT_GNU_ADDR_BASE = 0x2133

CC_NOCALL = 3

FORM_ADDR = 0x01
FORM_STRING = 0x08
FORM_SDATA = 0x0D
FORM_STRP = 0x0E
FORM_REF_ADDR = 0x10
FORM_REF4 = 0x13
FORM_INDIRECT = 0x16
FORM_LINE_STRP = 0x1F
FORM_REF_SIG8 = 0x20
FORM_IMPLICIT_CONST = 0x21
FORM_RNGLISTX = 0x23

# Forms that keep a number (unsigned unless `FORM_SDATA` or `FORM_IMPLICIT_CONST`) or a section offset.
NUMBERS = frozenset({0x05, 0x06, 0x07, 0x0B, 0x0C, 0x0D, 0x0F, 0x17, 0x19})
LOCAL_REFERENCES = frozenset({0x11, 0x12, 0x13, 0x14, 0x15})
STRING_INDEXES = frozenset({0x1A, 0x25, 0x26, 0x27, 0x28, 0x1F02})
ADDRESS_INDEXES = frozenset({0x1B, 0x29, 0x2A, 0x2B, 0x2C, 0x1F01})
# Forms whose value lies in a file that dwz made for several images (`.gnu_debugaltlink`, `.debug_sup`).
ALTERNATE = frozenset({0x1C, 0x1D, 0x24, 0x1F20, 0x1F21})


class Ending:
    """How a value of variable size ends; `DONE` and `SIBLING` are for programs made of these (`_dwarfshapes`).

    Plain integers: they are compared for every value that is walked past.
    """

    DONE = 0
    LEB = 1
    STRING = 2
    BLOCK1 = 3
    BLOCK2 = 4
    BLOCK4 = 5
    BLOCK_LEB = 6
    SIBLING = 7
    LEB_AND_4 = 8


VARIABLE = MappingProxyType(
    {
        0x03: Ending.BLOCK2,
        0x04: Ending.BLOCK4,
        0x08: Ending.STRING,
        0x09: Ending.BLOCK_LEB,
        0x0A: Ending.BLOCK1,
        0x0D: Ending.LEB,
        0x0F: Ending.LEB,
        0x15: Ending.LEB,
        0x18: Ending.BLOCK_LEB,
        0x1A: Ending.LEB,
        0x1B: Ending.LEB,
        0x22: Ending.LEB,
        0x23: Ending.LEB,
        0x1F01: Ending.LEB,
        0x1F02: Ending.LEB,
        0x2001: Ending.LEB_AND_4,
    }
)

_FIXED = {
    0x05: 2, 0x06: 4, 0x07: 8, 0x0B: 1, 0x0C: 1, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x19: 0, 0x1C: 4, 0x1E: 16,
    0x20: 8, 0x21: 0, 0x24: 8, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4,
}  # fmt: skip
_OFFSETS = frozenset({0x0E, 0x10, 0x17, 0x1D, 0x1F, 0x1F20, 0x1F21})


@dataclass(frozen=True, slots=True)
class Format:
    """What the size of a value depends on besides its form, in bytes; `version` is the unit's."""

    version: int
    offset_size: int
    address_size: int

    def size(self, form: int) -> int | None:
        """The size of a value of `form`; None where it varies; `KeyError` for a form that is not known."""
        if form in VARIABLE:
            return None
        if form == FORM_ADDR or (form == FORM_REF_ADDR and self.version == 2):
            return self.address_size
        return self.offset_size if form in _OFFSETS else _FIXED[form]
