"""Drafts with and without the numbers of their lines."""

from __future__ import annotations

from klpkit.extract.numbering import LEFT_OUT, marked, numbered, plain

TEXT = "\n".join(
    ["#include <a.h>", "", marked("int a;", 7), "int b;", LEFT_OUT, marked("", 12), f"{LEFT_OUT} int c;"]
)


def place(number: int) -> tuple[str, int]:
    return ('say "a".c', number) if number < 10 else ("b.c", number - 10)


def test_people_see_no_numbers() -> None:
    assert plain(TEXT) == "#include <a.h>\n\nint a;\nint b;\n\n int c;"


def test_the_compiler_sees_each_line_where_it_was() -> None:
    assert numbered(TEXT, place).split("\n") == [
        *("#include <a.h>", "", '# 7 "say \\"a\\".c"', "int a;", "int b;", ""),
        *('# 2 "b.c"', "", " int c;"),
    ]


def test_a_directive_carries_no_number() -> None:
    assert marked("  # define A", 3) == "  # define A"
