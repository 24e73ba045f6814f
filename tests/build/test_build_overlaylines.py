"""Line directives: unchanged lines keep their numbers, and directives stand only where they may."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from klpkit.build.overlaylines import with_line_directives

OLD = """\
#include <x.h>

int first(int a)
{
	return a;
}

int second(int a)
{
	warn(a, __LINE__);
	return a;
}
"""


def numbers(folder: Path, text: str, compiler: str = "gcc") -> dict[str, int]:
    """`mark(NAME, __LINE__)` in preprocessed `text`: the name and the line that the compiler says."""
    path = folder / "x.c"
    path.write_text(text)
    argv = [compiler, "-E", "-P", "-pedantic-errors", "-Werror", str(path)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    return {name: int(line) for name, line in re.findall(r"mark\((\w+), (\d+)\)", done.stdout)}


def test_lines_after_a_hunk_keep_their_numbers() -> None:
    new = OLD.replace("\treturn a;\n}\n\nint second", "\tif (a)\n\t\ta++;\n\treturn a;\n}\n\nint second")
    text = with_line_directives(OLD, new)
    assert text == new.replace("\treturn a;\n}\n\nint second", "#line 5\n\treturn a;\n}\n\nint second")


def test_a_hunk_that_keeps_the_count_needs_no_directive() -> None:
    new = OLD.replace("return a;", "return 1;")
    assert with_line_directives(OLD, new) == new


def test_what_is_no_c_file_or_numbers_itself_is_left_alone() -> None:
    assert with_line_directives("a\nb\n", "x\na\nb\n", "Kconfig") == "x\na\nb\n"
    own = '# 7 "other.y"\n' + OLD
    assert with_line_directives(own, "\n" + own) == "\n" + own


PLACES = {
    "in a comment": "int a;\n/* one\nNEW\ntwo\nthree */\nint b;\n",
    "in the arguments of a macro": "int a;\nCALL(x,\nNEW\ny,\nz);\nint b;\n",
    "in a continued line": "int a;\n#define M 1 + \\\nNEW \\\n2 + \\\n3\nint b;\n",
    "in a statement": "int a =\nNEW\n1\n+ 2;\nint b;\n",
    "between a macro's name and its arguments": "int a;\nCALL\nNEW\n(x);\nint b;\n",
    "in an array": "int a[] = {\n1,\nNEW\n2,\n3,\n};\nint b;\n",
}


@pytest.mark.parametrize("text", PLACES.values(), ids=PLACES.keys())
def test_no_directive_stands(text: str) -> None:
    old, new = text.replace("NEW\n", "").replace("NEW \\\n", ""), text.replace("NEW", "4,")
    lines = with_line_directives(old, new).split("\n")
    directives = [i for i, line in enumerate(lines) if line.startswith("#line")]
    assert directives == [len(lines) - 3]
    assert lines[-2] == "int b;"
    assert lines[-3] == f"#line {old.split(chr(10)).index('int b;') + 1}"


def test_a_directive_is_repeated_after_a_branch_that_may_be_skipped(tmp_path: Path) -> None:
    old = "int a;\n#ifdef X\nint b;\nint c;\n#else\nmark(e, __LINE__);\n#endif\nmark(d, __LINE__);\n"
    new = old.replace("int b;\n", "int b;\nint n1;\nint n2;\n")
    assert numbers(tmp_path, with_line_directives(old, new)) == numbers(tmp_path, old)
    defined = "#define X\n"
    assert numbers(tmp_path, with_line_directives(defined + old, defined + new)) == numbers(
        tmp_path, defined + old
    )


def test_a_bracket_opened_in_both_branches_is_still_open_after_them(tmp_path: Path) -> None:
    old = "f(1,\n#ifdef X\n#else\n#endif\nmark(a, __LINE__);\n"
    old = "#ifdef X\nint v = f(\n#else\nint v = g(\n#endif\n1,\nmark(a, 0));\n\nint w;\nmark(d, __LINE__);\n"
    new = old.replace("1,\n", "2,\n1,\n")
    text = with_line_directives(old, new)
    assert "2,\n1,\nmark" in text
    assert numbers(tmp_path, text) == numbers(tmp_path, old)


BLOCKS = st.sampled_from(
    (
        *("mark(NAME, __LINE__);\n", "/* a\n b */\n", "{\nmark(NAME, __LINE__);\n}\n", "\n", "v =\n\n1;\n"),
        *("f(1,\n\n2);\n", "#define M \\\n 1\n", "#if 0\n", "#if 1\n", "#else\n", "#endif\n"),
    )
)


def assembled(blocks: list[str], prefix: str) -> list[str]:
    """Blocks with names of their own, and conditionals balanced."""
    found, depth, other = [], 0, [False]
    for index, block in enumerate(blocks):
        if block.startswith("#if"):
            depth += 1
            other.append(False)
        elif block == "#else\n":
            if not depth or other[-1]:
                continue
            other[-1] = True
        elif block == "#endif\n":
            if not depth:
                continue
            depth -= 1
            other.pop()
        if block.startswith("#def"):
            block = block.replace("M", f"M_{prefix}{index}")
        found.append(block.replace("NAME", f"{prefix}{index}"))
    return found + ["#endif\n"] * depth


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(BLOCKS, max_size=25), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=4))
@example(["\n", "mark(NAME, __LINE__);\n"], [(0, 0), (1, 1)])
def test_every_unchanged_line_at_a_boundary_keeps_its_number(
    tmp_path: Path, blocks: list[str], edits: list[tuple[int, int]]
) -> None:
    """Insertions and removals at random places; the compiler itself says what the numbers are."""
    old = assembled(blocks, "m")
    new = list(old)
    for where, count in edits:
        if count:
            new.insert(min(where, len(new)), "int added;\n" * count)
        elif where < len(new) and not new[where].startswith("#"):
            del new[where]
    before = numbers(tmp_path, "".join(old))
    text = with_line_directives("".join(old), "".join(new))
    after = numbers(tmp_path, text)
    assert {name: line for name, line in after.items() if before[name] != line} == {}
