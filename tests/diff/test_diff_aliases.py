"""Several symbols on one body."""

from __future__ import annotations

from conftest_pairs import Compile

from klpkit.diff import Verdict, diff_elf
from klpkit.elf import ElfFile
from klpkit.elf.model import ElfObject

SOURCE = """
int whole(int x) { return x * 3; }
extern int other(int x) __attribute__((alias("whole")));
"""


def test_an_alias_that_spans_other_bytes_is_reported(compile_c: Compile) -> None:
    path = compile_c(SOURCE, "-O2")
    for name in ("whole", "other"):
        model = ElfObject.read(path)
        symbol = next(symbol for symbol in model.symbols if symbol.name == name)
        symbol.size = 1
        sides = [ElfFile.open(path), ElfFile(model.to_bytes(), "damaged")]
        for pair in (sides, sides[::-1]):
            diff = diff_elf(*pair)
            assert diff.verdict is not Verdict.NO_CHANGE
            assert any(name in reason.detail for f in diff.functions for reason in f.reasons)


def test_a_symbol_of_another_size_is_reported_though_the_bytes_are_the_same(compile_c: Compile) -> None:
    path = compile_c("int room[2] = {1, 2}; int f(int x) { return x * 3; }", "-O2", "-fdata-sections")
    for name in ("f", "room"):
        model = ElfObject.read(path)
        next(symbol for symbol in model.symbols if symbol.name == name).size = 0
        sides = [ElfFile.open(path), ElfFile(model.to_bytes(), "damaged")]
        for pair in (sides, sides[::-1]):
            diff = diff_elf(*pair)
            assert diff.verdict is Verdict.UNPATCHABLE
            assert name in {*diff.changed, *(data.name for data in diff.data)}
