"""ULEB128, the variable-length numbers of DWARF (section 7.6) and of LLVM's tables of symbols."""

from __future__ import annotations

from collections.abc import Iterable


def decode_all(data: bytes) -> list[int]:
    """All numbers in `data`; a number that is cut short counts as it stands."""
    found, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            found.append(value)
            value = shift = 0
    return [*found, value] if shift else found


def encode_all(numbers: Iterable[int]) -> bytes:
    """`numbers` one after the other."""
    out = bytearray()
    for number in numbers:
        while number > 0x7F:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        out.append(number)
    return bytes(out)
