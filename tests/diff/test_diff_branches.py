"""Branches that the assembler resolved: their distance is no difference, everything else of them is."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest_pairs import Compile

from klpkit.diff import diff_elf
from klpkit.elf import ElfFile

SOURCE = """
extern int sink;
static __attribute__((noinline)) int low(int x) { sink += x; return sink; }
int middle(int x) { return low(x) * 5 ^ sink; }
int high(int x) { return low(x + 2) * 3; }
"""
COMPILERS = {
    "x86_64": "gcc-12",
    "aarch64": "aarch64-linux-gnu-gcc",
    "ppc64le": "powerpc64le-linux-gnu-gcc",
    "s390x": "s390x-linux-gnu-gcc",
}


def _object(compile_c: Compile, arch: str, source: str = SOURCE) -> Path:
    return compile_c(source, "-O2", "-fno-pic", "-fno-asynchronous-unwind-tables", compiler=COMPILERS[arch])


@pytest.mark.parametrize("arch", COMPILERS)
def test_a_function_in_between_moves_no_caller(compile_c: Compile, arch: str) -> None:
    paths = [_object(compile_c, arch, text) for text in (SOURCE, SOURCE.replace("^ sink", "* sink + 11 * x"))]
    assert diff_elf(*map(ElfFile.open, paths)).changed == ["middle"]


@pytest.mark.parametrize("arch", COMPILERS)
def test_every_bit_of_a_caller_counts(compile_c: Compile, arch: str) -> None:
    path = _object(compile_c, arch)
    plain, data = ElfFile.open(path), path.read_bytes()
    symbol = plain.symbols[plain.symbols.find("high")[0]]
    start = int(plain.sections.offset[symbol.section]) + symbol.value
    # A step that every place of a bit in a word is met with.
    for bit in range(0, 8 * symbol.size, 7):
        damaged = bytearray(data)
        damaged[start + bit // 8] ^= 1 << bit % 8
        diff = diff_elf(plain, ElfFile(bytes(damaged), "damaged"))
        assert diff.functions or diff.obstacles, f"bit {bit % 8} of byte {bit // 8}"


def test_a_jump_in_place_of_a_call_is_a_change(compile_c: Compile) -> None:
    path = _object(compile_c, "aarch64")
    plain, data = ElfFile.open(path), bytearray(path.read_bytes())
    symbol = plain.symbols[plain.symbols.find("high")[0]]
    start = int(plain.sections.offset[symbol.section]) + symbol.value
    code = data[start : start + symbol.size]
    [call] = [at for at in range(0, symbol.size, 4) if code[at + 3] & 0xFC == 0x94]
    data[start + call + 3] ^= 0x80
    assert diff_elf(plain, ElfFile(bytes(data), "damaged")).changed == ["high"]
