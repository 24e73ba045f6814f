"""Finding the one compile command in a recorded line, and what its words mean."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from klpkit.build.command import (
    TranslationUnit,
    compile_command,
    compiler_family,
    output_word,
    source_word,
    split_compiler,
    without_caching,
)
from klpkit.errors import FormatError

CMD = Path("fs/.a.o.cmd")


def test_the_compiler_is_told_from_its_wrappers() -> None:
    assert split_compiler(["ccache", "/usr/bin/gcc", "-c", "a.c"]) == (("ccache", "/usr/bin/gcc"), ("-c", "a.c"))
    assert split_compiler(["klpkit-cc", "ccache", "gcc", "a.c"])[0] == ("klpkit-cc", "ccache", "gcc")
    assert without_caching(("klpkit-cc", "/usr/bin/ccache", "gcc")) == ("klpkit-cc", "gcc")


def test_a_post_processing_step_is_kept_apart() -> None:
    line = "gcc -O2 -DKBUILD_MODNAME='\"a\"' -c -o fs/a.o fs/a.c ; ./tools/objtool/objtool --orc fs/a.o"
    assert compile_command(line, CMD) == (
        ("gcc",),
        ("-O2", '-DKBUILD_MODNAME="a"', "-c", "-o", "fs/a.o", "fs/a.c"),
        "./tools/objtool/objtool --orc fs/a.o",
    )


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("cd sub && gcc -c -o a.o a.c", "cd"),
        ("gcc -c -o a.o a.c && gcc -c -o b.o b.c", "more than one"),
        ("gcc -c -o a.o a.c | tee log", "'|'"),
        ("gcc -c -o a.o a.c > log", "'>'"),
        ("X=1 gcc -c -o a.o a.c", "X=1"),
        ("gcc @args -c -o a.o a.c", "@args"),
        ("gcc -DX=`date` -c -o a.o a.c", "substitution"),
        ("gcc -c -o a.o a.c & true", "'&'"),
    ],
)
def test_a_trick_beside_the_compiler_is_refused_with_file_and_reason(line: str, word: str) -> None:
    with pytest.raises(FormatError, match=r"fs/\.a\.o\.cmd") as caught:
        compile_command(line, CMD)
    assert word in caught.value.message


def test_a_trick_is_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    with pytest.raises(FormatError):
        compile_command(f"gcc $(touch {trap}) -c -o a.o a.c", CMD)
    assert not trap.exists()


def test_other_commands_are_no_compilations() -> None:
    assert compile_command("ld -r -o a.o b.o c.o", CMD) is None
    assert compile_command("rm -f a.a; ar cDPrST a.a b.o", CMD) is None


def test_values_of_options_are_not_taken_for_the_source() -> None:
    assert source_word(["-include", "x.c", "-c", "-o", "y.c", "z.c"]) == "z.c"
    assert output_word(["-c", "-oy.o", "z.c"]) == "y.o"


@pytest.mark.parametrize(
    ("source", "arguments", "language"),
    [
        ("a.c", (), "c"),
        ("a.S", (), "assembler"),
        ("a.cc", (), "c++"),
        ("a.c", ("-x", "c++"), "c++"),
        ("a.rs", (), "other"),
    ],
)
def test_the_language_follows_the_option_then_the_suffix(
    source: str, arguments: tuple[str, ...], language: str
) -> None:
    unit = TranslationUnit(Path("/b/a.o"), Path("/s") / source, Path("/b"), ("cc",), arguments)
    assert unit.language == language


def test_the_family_is_asked_of_the_compiler_not_read_from_its_name(tmp_path: Path) -> None:
    fake = tmp_path / "gcc"
    fake.write_text(f"#!{sys.executable}\nprint('#define __clang__ 1')\nprint('#define __GNUC__ 4')\n")
    fake.chmod(0o755)
    assert compiler_family((str(fake),)) == "clang"
    assert compiler_family((str(tmp_path / "absent"),)) == "unknown"
