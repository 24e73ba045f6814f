"""Two versions of a function side by side, from the first difference, with names in place of addresses.

x86 is decoded by iced-x86, aarch64, ppc64le and s390x by capstone; words of other instruction sets are shown in
hexadecimal.  Both libraries are imported only here and only on demand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

from klpkit.diff.decoders import capstone, iced
from klpkit.diff.graph import Graph
from klpkit.diff.why import label
from klpkit.elf import constants as c

CONTEXT = 3
"""How many equal instructions are shown around differences."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One decoded instruction: its offset in the function, text with names, and the text that is compared."""

    offset: int
    text: str
    key: str


@dataclass(frozen=True, slots=True)
class Row:
    """Two instructions next to each other; None where one side has none.  `same` tells whether they agree."""

    left: Instruction | None
    right: Instruction | None
    same: bool


def side_by_side(original: Graph, left: int, patched: Graph, right: int) -> list[Row | None]:
    """The rows around all differences of two functions; None stands for equal rows left out."""
    a, b = list(decoded(original, left)), list(decoded(patched, right))
    rows: list[Row] = []
    matcher = SequenceMatcher(None, [x.key for x in a], [y.key for y in b], autojunk=False)
    for tag, a0, a1, b0, b1 in matcher.get_opcodes():
        rows += [Row(x, y, tag == "equal") for x, y in zip_longest(a[a0:a1], b[b0:b1])]
    return _near_differences(rows)


def _near_differences(rows: list[Row]) -> list[Row | None]:
    differing = [index for index, row in enumerate(rows) if not row.same]
    wanted: set[int] = set()
    for index in differing:
        wanted.update(range(max(0, index - CONTEXT), index + CONTEXT + 1))
    shown: list[Row | None] = []
    for index, row in enumerate(rows):
        if index in wanted:
            shown.append(row)
        elif shown and shown[-1] is not None:
            shown.append(None)
    return shown


def decoded(graph: Graph, entity: int) -> Iterator[Instruction]:
    """The instructions of one function."""
    code = graph.bytes_of(entity)
    names = _names(graph, entity)
    for offset, size, mnemonic, operands, jump in _READERS.get(graph.elf.machine, _words)(graph, code):
        found = [names[place] for place in range(offset, offset + size) if place in names]
        if jump is not None and not found:
            inside = 0 <= jump < len(code)
            text = f"{mnemonic} +{jump:#x}" if inside else f"{mnemonic} {jump:#x}"
            yield Instruction(offset, text, f"{mnemonic} {jump - offset if not inside else 'inside'}")
            continue
        text = f"{mnemonic} {operands}".rstrip()
        if found:
            text = f"{mnemonic} {found[0]}" if jump is not None else f"{text} <{', '.join(found)}>"
        yield Instruction(offset, text, text)


def _names(graph: Graph, entity: int) -> dict[int, str]:
    """Place of a reference → what is there, in words."""
    references, span = graph.references, graph.references_of(entity)
    found: dict[int, str] = {}
    for index in range(span.start, span.stop):
        target, offset = int(references.target[index]), int(references.offset[index])
        name = label(graph, target)
        if offset:
            name += f"{offset:+#x}"
        found.setdefault(int(references.at[index]), name)
    return found


_Decoded = tuple[int, int, str, str, int | None]


def _x86(graph: Graph, code: bytes) -> Iterator[_Decoded]:
    x86 = iced()
    FlowControl = x86.FlowControl  # noqa: N806
    formatter = x86.Formatter(x86.FormatterSyntax.GAS)
    formatter.rip_relative_addresses = True
    flows = (FlowControl.CALL, FlowControl.UNCONDITIONAL_BRANCH, FlowControl.CONDITIONAL_BRANCH)
    for instruction in x86.Decoder(64, code):
        mnemonic = formatter.format_mnemonic(instruction)
        near = instruction.flow_control in flows and instruction.near_branch_target
        jump = instruction.near_branch_target if near else None
        operands = formatter.format_all_operands(instruction)
        yield instruction.ip, instruction.len, mnemonic, operands, jump


def _capstone(graph: Graph, code: bytes) -> Iterator[_Decoded]:
    library = capstone()

    big = graph.elf.byte_order == ">"
    arch, mode = {
        c.EM_AARCH64: (library.CS_ARCH_ARM64, 0),
        c.EM_PPC64: (library.CS_ARCH_PPC, library.CS_MODE_64),
        c.EM_S390: (library.CS_ARCH_SYSZ, 0),
    }[graph.elf.machine]
    reader = library.Cs(arch, mode | (library.CS_MODE_BIG_ENDIAN if big else 0))
    reader.skipdata = True
    for offset, size, mnemonic, operands in reader.disasm_lite(code, 0):
        last = operands.rsplit(",", 1)[-1].strip().lstrip("#")
        jump = int(last, 16) if mnemonic.startswith(("b", "j", "cb", "tb")) and last.startswith("0x") else None
        yield offset, size, mnemonic, operands, jump


def _words(graph: Graph, code: bytes) -> Iterator[_Decoded]:
    step = graph.facts.step
    for offset in range(0, len(code), step):
        yield offset, step, ".word", "0x" + code[offset : offset + step][::-1].hex(), None


_READERS = {
    c.EM_X86_64: _x86,
    c.EM_AARCH64: _capstone,
    c.EM_PPC64: _capstone,
    c.EM_S390: _capstone,
}
