"""The instruction at which two bodies of one function part, in words."""

from __future__ import annotations

from klpkit.diff.decoders import iced


def instruction_at(code: bytes, offset: int, start: int = 0) -> str:
    """The x86-64 instruction of `code` that covers `offset`, with `start` as the address of the first byte.

    Code is decoded from its beginning, as instructions have no mark of their own.  "" past the end.
    """
    x86 = iced()
    formatter = x86.Formatter(x86.FormatterSyntax.GAS)
    decoder = x86.Decoder(64, code, ip=start)
    for instruction in decoder:
        if instruction.ip - start <= offset < instruction.ip - start + instruction.len:
            text: str = formatter.format(instruction)
            return text
    return ""
