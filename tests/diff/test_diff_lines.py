"""Line tables: which source lines a function's code comes from, and what that says of a change."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest_pairs import Compile

from klpkit.diff import Cause, ObjectDiff, diff_files
from klpkit.diff.linetable import LineTable
from klpkit.elf import ElfFile

SOURCE = """
extern int work(int);
static inline __attribute__((always_inline)) int help(int x)
{
    return work(x) * 3;
}
int f(int x)
{
    if (x)
        x = work(x);
    return x + 3;
}
int g(int x)
{
    return help(x) + 1;
}
"""
COMPILERS = [
    ("gcc-12", "-gdwarf-5"),
    ("gcc-12", "-gdwarf-4"),
    ("clang-16", "-gdwarf-4"),
    ("clang-19", "-gdwarf-5"),
    ("clang-19", "-gdwarf-5", "--target=loongarch64-linux-gnu"),
    ("aarch64-linux-gnu-gcc", "-g"),
    ("powerpc64le-linux-gnu-gcc", "-g"),
    ("s390x-linux-gnu-gcc", "-g"),
]


@pytest.mark.parametrize("extra", [("-ffunction-sections",), ()], ids=["sections", "bundled"])
@pytest.mark.parametrize("compiler", COMPILERS, ids="-".join)
def test_a_function_begins_in_its_line_and_ends_in_its_last(
    compile_c: Compile, compiler: tuple[str, ...], extra: tuple[str, ...]
) -> None:
    elf = ElfFile.open(compile_c(SOURCE, "-O2", *compiler[1:], *extra, compiler=compiler[0]))
    table, lines = LineTable(elf), SOURCE.split("\n")
    for name, last in (("f", 11), ("g", 15)):
        symbol = elf.symbols[elf.symbols.find(name)[0]]
        rows = table.rows(symbol.section, symbol.value, symbol.value + symbol.size)
        # clang 19 leaves the opening row out where the first instruction has a line of its own.
        assert rows[0].opens or compiler[0] == "clang-19"
        assert not rows[0].opens or lines[rows[0].line - 1] in (f"int {name}(int x)", "{")
        assert {last, last + 1} & {row.line for row in rows}
        assert {row.file for row in rows} == {"unit.c"}
        assert all(0 <= row.offset < symbol.size for row in rows)


def test_an_object_without_a_table_or_with_a_broken_one_has_no_lines(compile_c: Compile) -> None:
    assert LineTable(ElfFile.open(compile_c(SOURCE, "-O2"))).rows(1, 0, 10) == []
    path = compile_c(SOURCE, "-O2", "-g")
    elf, data = ElfFile.open(path), bytearray(path.read_bytes())
    [section] = elf.sections.find(".debug_line")
    start, size = int(elf.sections.offset[section]), int(elf.sections.size[section])
    for place in range(start, start + size):
        for value in (0, 0xFF, data[place] ^ 1):
            kept, data[place] = data[place], value
            LineTable(ElfFile(bytes(data), "damaged")).rows(1, 0, 10)
            data[place] = kept


def _said(diff: ObjectDiff, name: str) -> list[tuple[Cause, str]]:
    function = next(function for function in diff.functions if function.name == name)
    return [(reason.cause, reason.detail) for reason in function.reasons]


def _pair(compile_c: Compile, old: str, new: str, *, source: bool) -> tuple[Path, Path]:
    paths = compile_c(SOURCE, "-O2", "-g"), compile_c(SOURCE.replace(old, new), "-O2", "-g")
    if not source:
        for path in paths:
            path.with_suffix(".c").unlink()
    return paths


def test_more_source_lines_are_a_reason(compile_c: Compile) -> None:
    diff = diff_files(*_pair(compile_c, "return x + 3;", "if (x > 9)\n work(9);\n return x + 3;", source=False))
    assert (Cause.LINES, "its source lines are unit.c:8-14 in place of unit.c:8-12 (line tables)") in _said(
        diff, "f"
    )
    assert diff.changed == ["f"]


def test_another_source_text_is_a_reason_where_both_are_at_hand(compile_c: Compile) -> None:
    diff = diff_files(*_pair(compile_c, "return x + 3;", "return x + 4;", source=True))
    assert [cause for cause, _ in _said(diff, "f")][:2] == [Cause.SOURCE, Cause.LINES]


def test_the_line_of_the_first_difference_is_told_and_where_it_was_inlined_from(compile_c: Compile) -> None:
    diff = diff_files(*_pair(compile_c, "work(x) * 3", "work(x ^ 77) * 3", source=False))
    assert diff.changed == ["g"]
    [(cause, said), *_] = _said(diff, "g")
    assert cause is Cause.LINES
    assert said == "first differs in code of unit.c:5, which it inlines (line tables)"


SLEEP = """
void __might_sleep(const char *, int, int);
void f(void)
{
    __might_sleep("a/unit.c", LINE, 0);
}
"""


def test_a_number_that_lies_outside_of_the_function_is_no_moved_line(compile_c: Compile) -> None:
    def build(text: str) -> Path:
        return compile_c(text, "-O2", "-g")

    before = build(SLEEP.replace("LINE", "__LINE__"))
    moved = diff_files(before, build("\n\n" + SLEEP.replace("LINE", "__LINE__")))
    assert (moved.changed, [(line.before, line.after) for line in moved.moved]) == ([], [(5, 7)])
    assert diff_files(before, build(SLEEP.replace("LINE", "238"))).changed == ["f"]
    assert diff_files(build(SLEEP.replace("LINE", "238")), before).changed == ["f"]
