"""Line numbers in code: is a changed constant a `__LINE__` that moved?

The evidence is the helper that the constant goes to: `__might_sleep(file, line, …)` takes its second argument
from `__LINE__` and from nowhere else; `printk("%s:%d", __FILE__, __LINE__)` shows a source path and a number side
by side in its format.  Without such evidence a constant that differs is a change.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from klpkit.diff.decoders import iced
from klpkit.diff.graph import Graph
from klpkit.diff.lines_fields import LAST_LINE
from klpkit.diff.model import MovedLine
from klpkit.elf import constants as c
from klpkit.elf.special import Role

# Function → the number of its argument that is a source line, from the declarations in the kernel's headers.
LINE_ARGUMENT = {
    "__might_sleep": 1,
    "___might_sleep": 1,
    "__might_resched": 1,
    "__might_fault": 1,
    "__cant_sleep": 1,
    "__cant_migrate": 1,
    "lockdep_rcu_suspicious": 1,
    "lockdep_init_map_waits": -1,
    "warn_slowpath_null": 1,
    "warn_slowpath_fmt": 1,
    "warn_slowpath_fmt_taint": 1,
    "__warn": 1,
    "__rcu_read_lock_trace": -1,
    "__ext4_journal_start_sb": 2,
    "__ext4_journal_stop": 1,
    "__ext4_journal_get_write_access": 1,
    "__ext4_handle_dirty_metadata": 1,
    "__ext4_std_error": 2,
    "__ext4_error": 2,
    "__ext4_error_inode": 2,
    "__ext4_error_file": 2,
    "__ext4_warning": 2,
    "__ext4_warning_inode": 2,
    "__ext4_forget": 1,
    "__ext4_grp_locked_error": 1,
    "__ext4_abort": 2,
    "__btrfs_abort_transaction": 2,
    "__btrfs_handle_fs_error": 2,
    "__btrfs_panic": 2,
    "xfs_assert": -1,
    "__fscache_assert": -1,
    "__static_call_bug": -1,
}
LINE_ARGUMENT = {name: argument for name, argument in LINE_ARGUMENT.items() if argument >= 0}

# Function → the number of its format argument.
FORMATTED = {
    "printk": 0,
    "_printk": 0,
    "__warn_printk": 0,
    "_printk_deferred": 0,
    "panic": 0,
    "__dynamic_pr_debug": 1,
    "seq_printf": 1,
}

# `%s` that a source path goes to, next to a number: "%s:%d", "%s (%d)", "at %s, line %u".
_CONVERSION = re.compile(r"%(?:[-+ #0]*)(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|z|t|j|L|q)?([a-zA-Z%])")
_BETWEEN = re.compile(r"^(?:[ :,(@\[#-]|line|LINE)*$")
_SOURCE = re.compile(r"^[\w./+-]+\.(?:c|h|S|rs|cc|inc)$")

WINDOW = 24
"""How many instructions a constant may be from the call that it goes to."""


@dataclass(frozen=True, slots=True)
class Constant:
    """An instruction that sets argument register number `argument` to `value`; it ends at `end`.

    `form` is what else the instruction says.
    """

    start: int
    end: int
    argument: int
    value: int
    form: int


@dataclass(frozen=True, slots=True)
class Registers:
    """How the words of one instruction set load a constant and name registers."""

    arguments: dict[int, int]
    constant: Callable[[bytes], tuple[int, int, int] | None]
    """Bytes → `(register, value, the other bits)`."""
    names: Callable[[bytes], frozenset[int]]
    """Bytes → the registers that the instruction may write."""
    length: Callable[[bytes, int], int]
    jump: Callable[[bytes], int | None]
    """Bytes → the distance of an unconditional jump."""


def moved_lines(original: Graph, row: int, patched: Graph, other: int) -> list[MovedLine] | None:
    """The moved lines that explain every differing byte of two functions; None where something is unexplained.

    `row` and `other` are entities whose references were found to be equal.
    """
    a, b = original.bytes_of(row), patched.bytes_of(other)
    differing = _differing(original.compared_bytes(row), patched.compared_bytes(other))
    if not differing:
        return None
    reader = _x86_constants if original.elf.machine == c.EM_X86_64 else _word_constants
    left, right = reader(original, a, differing), reader(patched, b, differing)
    if left is None or right is None or len(left) != len(right):
        return None
    sides = _Code(original, row, a), _Code(patched, other, b)
    found = []
    for before, after in zip(left, right, strict=True):
        if replace(before, value=0) != replace(after, value=0) or before.value == after.value:
            return None
        if not (0 < before.value <= LAST_LINE and 0 < after.value <= LAST_LINE):
            return None
        helper = _helper(sides[0], before)
        if helper is None or helper != _helper(sides[1], after):
            return None
        found.append(MovedLine(original.names[row], before.value, after.value, helper))
    return found


def _differing(a: bytes, b: bytes) -> list[int]:
    """The places where two bodies of one length differ; none where the lengths do."""
    if len(a) != len(b):
        return []
    places: list[int] = (np.frombuffer(a, np.uint8) != np.frombuffer(b, np.uint8)).nonzero()[0].tolist()
    return places


class _Code:
    """The code of one function, with the names of what it refers to."""

    def __init__(self, graph: Graph, row: int, code: bytes) -> None:
        self.graph, self.row, self.code = graph, row, code
        references, span = graph.references, graph.references_of(row)
        places, self._targets = references.at[span].tolist(), references.target[span].tolist()
        self._places, self._offsets = places, references.offset[span].tolist()
        named = [(place, graph.names[target]) for place, target in zip(places, self._targets, strict=True)]
        self.names = {place: name for place, name in named if name}
        """Place of a reference → the name of its target."""
        kinds = zip(places, references.type[span].tolist(), strict=True)
        self.calls = {place for place, kind in kinds if kind in graph.facts.calls and place in self.names}
        """The places of references by which the function calls another."""

    def strings_between(self, low: int, high: int) -> list[str]:
        """The literals that the code refers to at places from `low` to before `high`."""
        found = []
        for place, target, offset in zip(self._places, self._targets, self._offsets, strict=True):
            if low <= place < high and self.graph.entities.role[target] == Role.STRINGS:
                text = self.graph.bytes_of(target)[offset:].rstrip(b"\0")
                found.append(text.decode("utf-8", "replace").lstrip("\x01"))
        return list(dict.fromkeys(found))


def _helper(code: _Code, constant: Constant) -> str | None:
    """What the constant goes to, in words, where that proves it a line number."""
    walk = _x86_call if code.graph.elf.machine == c.EM_X86_64 else _word_call
    call = walk(code, constant)
    if call is None:
        return None
    name, places = call
    if LINE_ARGUMENT.get(name) == constant.argument:
        return f"argument {constant.argument + 1} of {name}"
    if name in FORMATTED and _printed_line(code, places, constant.argument - FORMATTED[name]):
        return f"printed by {name} beside a source path"
    return None


def _printed_line(code: _Code, places: tuple[int, int], position: int) -> bool:
    """Whether conversion number `position` of the call's format (from 1) is a number right after a source path."""
    strings = code.strings_between(*places)
    formats = [text for text in strings if "%" in text]
    if len(formats) != 1 or not any(_SOURCE.match(text) for text in strings):
        return False
    conversions = [match for match in _CONVERSION.finditer(formats[0]) if match.group(1) != "%"]
    if not 2 <= position <= len(conversions):
        return False
    path, number = conversions[position - 2], conversions[position - 1]
    between = formats[0][path.end() : number.start()]
    return path.group(1) == "s" and number.group(1) in "diu" and bool(_BETWEEN.match(between))


# --- x86 ---------------------------------------------------------------------------------------------------


def _x86_constants(graph: Graph, code: bytes, differing: list[int]) -> list[Constant] | None:
    x86 = iced()
    Code, Decoder, Register = x86.Code, x86.Decoder, x86.Register  # noqa: N806
    registers = {
        Register.EDI: 0, Register.ESI: 1, Register.EDX: 2, Register.ECX: 3, Register.R8D: 4, Register.R9D: 5
    }  # fmt: skip
    wanted, found = set(differing), []
    for instruction in Decoder(64, code):
        start, end = instruction.ip, instruction.next_ip
        hit = wanted.intersection(range(start, end))
        if not hit:
            continue
        argument = registers.get(instruction.op0_register) if instruction.op_count else None
        if instruction.code != Code.MOV_R32_IMM32 or argument is None or min(hit) < end - 4:
            return None
        found.append(Constant(start, end, argument, instruction.immediate32, 0))
        wanted -= hit
    return None if wanted else found


def _x86_call(body: _Code, constant: Constant) -> tuple[str, tuple[int, int]] | None:
    """The function called next with the constant still in its register, and where its arguments are set."""
    x86 = iced()
    FlowControl, OpAccess, Register = x86.FlowControl, x86.OpAccess, x86.Register  # noqa: N806
    names, code = body.names, body.code
    order = (Register.RDI, Register.RSI, Register.RDX, Register.RCX, Register.R8, Register.R9)
    info = x86.InstructionInfoFactory()
    place, low = constant.end, constant.start
    for _ in range(WINDOW):
        decoder = x86.Decoder(64, code[place:], ip=place)
        if not decoder.can_decode:
            return None
        instruction = decoder.decode()
        tail = instruction.flow_control == FlowControl.UNCONDITIONAL_BRANCH and instruction.next_ip - 4 in names
        if instruction.flow_control == FlowControl.CALL or tail:
            name = names.get(instruction.next_ip - 4)
            return (name, (max(0, low - 32), instruction.next_ip)) if name else None
        if instruction.flow_control == FlowControl.UNCONDITIONAL_BRANCH and instruction.op_count:
            place = low = instruction.near_branch_target
            if not 0 <= place < len(code):
                return None
            continue
        if instruction.flow_control != FlowControl.NEXT:
            return None
        for used in info.info(instruction).used_registers():
            full = x86.RegisterExt.full_register(used.register)
            if full == order[constant.argument] and used.access not in (OpAccess.READ, OpAccess.COND_READ):
                return None
        place = instruction.next_ip
    return None


# --- other instruction sets --------------------------------------------------------------------------------


def _word(code: bytes) -> int:
    return int.from_bytes(code[:4], "little")


def _ppc_constant(code: bytes) -> tuple[int, int, int] | None:
    word = _word(code)
    if word >> 26 != 14 or (word >> 16) & 31:
        return None
    return (word >> 21) & 31, word & 0xFFFF, word >> 16


def _ppc_names(code: bytes) -> frozenset[int]:
    word = _word(code)
    return frozenset(((word >> 21) & 31, (word >> 16) & 31))


def _ppc_jump(code: bytes) -> int | None:
    word = _word(code)
    if word & 0xFC000003 != 0x48000000:
        return None
    distance = word & 0x03FFFFFC
    return distance - (1 << 26) if distance & (1 << 25) else distance


def _arm_constant(code: bytes) -> tuple[int, int, int] | None:
    word = _word(code)
    if word & 0x7FE00000 != 0x52800000:
        return None
    return word & 31, (word >> 5) & 0xFFFF, word & ~(0xFFFF << 5)


def _arm_names(code: bytes) -> frozenset[int]:
    return frozenset((_word(code) & 31,))


def _arm_jump(code: bytes) -> int | None:
    word = _word(code)
    if word & 0xFC000000 != 0x14000000:
        return None
    distance = (word & 0x03FFFFFF) << 2
    return distance - (1 << 28) if distance & (1 << 27) else distance


def _loong_constant(code: bytes) -> tuple[int, int, int] | None:
    word = _word(code)
    if word >> 22 not in (0x0A, 0x0B, 0x0E) or (word >> 5) & 31:
        return None
    return word & 31, (word >> 10) & 0xFFF, word & ~(0xFFF << 10)


def _loong_jump(code: bytes) -> int | None:
    word = _word(code)
    if word & 0xFC000000 != 0x50000000:
        return None
    distance = (((word & 0x3FF) << 16) | ((word >> 10) & 0xFFFF)) << 2
    return distance - (1 << 28) if distance & (1 << 27) else distance


def _s390_constant(code: bytes) -> tuple[int, int, int] | None:
    if code[0] == 0xA7 and code[1] & 15 in (8, 9):
        return code[1] >> 4, int.from_bytes(code[2:4], "big"), code[1]
    if code[0] == 0xC0 and code[1] & 15 in (1, 15):
        return code[1] >> 4, int.from_bytes(code[2:6], "big"), code[1]
    return None


def _s390_names(code: bytes) -> frozenset[int]:
    return frozenset((code[1] >> 4, code[3] >> 4 if len(code) > 3 else code[1] >> 4))


def _s390_jump(code: bytes) -> int | None:
    if code[0] == 0xA7 and code[1] == 0xF4:
        return 2 * int.from_bytes(code[2:4], "big", signed=True)
    if code[0] == 0xC0 and code[1] == 0xF4:
        return 2 * int.from_bytes(code[2:6], "big", signed=True)
    return None


def _four(code: bytes, place: int) -> int:
    return 4


def _s390_length(code: bytes, place: int) -> int:
    return (2, 4, 4, 6)[code[place] >> 6]


_REGISTERS = {
    c.EM_PPC64: Registers({3 + i: i for i in range(8)}, _ppc_constant, _ppc_names, _four, _ppc_jump),
    c.EM_AARCH64: Registers({i: i for i in range(8)}, _arm_constant, _arm_names, _four, _arm_jump),
    c.EM_LOONGARCH: Registers({4 + i: i for i in range(8)}, _loong_constant, _arm_names, _four, _loong_jump),
    c.EM_S390: Registers({2 + i: i for i in range(5)}, _s390_constant, _s390_names, _s390_length, _s390_jump),
}

# A relocation of a call lies this far into its instruction.
_FIELD = {c.EM_S390: 2}


def _word_constants(graph: Graph, code: bytes, differing: list[int]) -> list[Constant] | None:
    registers = _REGISTERS[graph.elf.machine]
    found, place, last = [], 0, -1
    for wanted in differing:
        if wanted <= last:
            continue
        while (end := place + registers.length(code, place)) <= wanted:
            place = end
        constant = registers.constant(code[place:end])
        if constant is None or constant[0] not in registers.arguments or end > len(code):
            return None
        found.append(Constant(place, end, registers.arguments[constant[0]], *constant[1:]))
        place, last = end, end - 1
    return found


def _word_call(body: _Code, constant: Constant) -> tuple[str, tuple[int, int]] | None:
    registers, code = _REGISTERS[body.graph.elf.machine], body.code
    register = next(r for r, argument in registers.arguments.items() if argument == constant.argument)
    field = _FIELD.get(body.graph.elf.machine, 0)
    place, low = constant.end, constant.start
    for _ in range(WINDOW):
        if not 0 <= place < len(code):
            return None
        end = place + registers.length(code, place)
        if place + field in body.calls:
            return body.names[place + field], (max(0, low - 48), end)
        jump = registers.jump(code[place:end])
        if jump is not None:
            place = low = place + jump
            continue
        if register in registers.names(code[place:end]):
            return None
        place = end
    return None
