"""`.cmd` files: both spellings, relative and absolute targets, and broken ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kbuild_samples import write_cmd

from klpkit.build.cmdfile import parse_head, read_unit
from klpkit.errors import FormatError


@pytest.mark.parametrize("prefix", ["cmd_", "savedcmd_"])
def test_both_spellings_are_read(tmp_path: Path, prefix: str) -> None:
    path = write_cmd(tmp_path, "fs/ext4/inode.o", "/src/fs/ext4/inode.c", prefix=prefix)
    unit = read_unit(path, owner="vmlinux")
    assert unit is not None
    assert unit.object == tmp_path / "fs/ext4/inode.o"
    assert unit.source == Path("/src/fs/ext4/inode.c")
    assert unit.directory == tmp_path
    assert unit.compiler == ("gcc",)
    assert unit.arguments[-4:] == ("-c", "-o", "fs/ext4/inode.o", "/src/fs/ext4/inode.c")
    assert '-DKBUILD_MODNAME="inode"' in unit.arguments


def test_headers_are_absolute_and_configuration_entries_are_not_among_them(tmp_path: Path) -> None:
    path = write_cmd(
        tmp_path, "a.o", "/src/a.c", headers=["/src/include/x.h", "include/generated/y.h", "sub/../z.h"]
    )
    unit = read_unit(path)
    assert unit is not None
    expected = (Path("/src/include/x.h"), tmp_path / "include/generated/y.h", tmp_path / "z.h")
    assert unit.headers == expected


def test_an_in_tree_build_spells_its_source_relative(tmp_path: Path) -> None:
    unit = read_unit(write_cmd(tmp_path, "fs/namei.o", "fs/namei.c"))
    assert unit is not None
    assert unit.source == tmp_path / "fs/namei.c"


def test_an_absolute_target_needs_the_folder_that_its_command_ran_in(tmp_path: Path) -> None:
    path = write_cmd(tmp_path, str(tmp_path / "mod.o"), str(tmp_path / "mod.c"))
    with pytest.raises(FormatError, match="where the command ran"):
        read_unit(path)
    unit = read_unit(path, directory=Path("/headers"))
    assert unit is not None
    assert unit.directory == Path("/headers")
    assert unit.object == tmp_path / "mod.o"


def test_makes_escapes_are_taken_off(tmp_path: Path) -> None:
    path = write_cmd(tmp_path, "a.o", "a.c", flags="-O2 -c '-DX=$$1$(pound)2'")
    unit = read_unit(path)
    assert unit is not None
    assert "-DX=$1#2" in unit.arguments


def test_a_post_processing_tool_does_not_hide_the_compiler(tmp_path: Path) -> None:
    path = write_cmd(tmp_path, "a.o", "a.c", tail="; ./tools/objtool/objtool --hacks=jump_label a.o")
    unit = read_unit(path)
    assert unit is not None
    assert unit.arguments[-1] == "a.c"


def test_a_program_of_the_build_with_dependencies_alone_is_no_compilation() -> None:
    text = b"# cannot find fixdep (/out/tools/x//fixdep)\n# using basic dep data\n\n/out/fixdep.o: \\\n fixdep.c\n"
    assert parse_head(text, Path("tools/x/.fixdep.o.cmd")) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"\x7fELF\x02\x01\x01\0\0\0", "not a Kbuild"),
        (b"savedcmd_a.o := gcc -c -o a.o a", "no end"),
        (b"savedcmd_a.o := gcc -D$(HOME) -c -o a.o a.c\n\nsource_a.o := a.c\n\n", "Make variable"),
        (b"savedcmd_a.o := gcc `id` -c -o a.o a.c\n\nsource_a.o := a.c\n\n", "substitution"),
        (b"savedcmd_x/a.o := gcc -c -o x/a.o a.c\n\nsource_x/a.o := a.c\n\n", "elsewhere"),
    ],
)
def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / ".a.o.cmd"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=problem) as caught:
        read_unit(path)
    assert str(path) in caught.value.message


@given(st.binary(max_size=300))
def test_no_bytes_cause_anything_but_a_format_error(content: bytes) -> None:
    for text in (content, b"savedcmd_a.o := gcc -c -o " + content):
        try:
            head = parse_head(text, Path(".a.o.cmd"))
        except FormatError:
            continue
        assert head is None or head.target


def test_every_truncation_is_an_error_or_no_unit_of_another_command(tmp_path: Path) -> None:
    path = write_cmd(tmp_path, "a.o", "a.c", headers=["x.h"])
    whole = path.read_bytes()
    command = read_unit(path)
    for size in range(0, whole.index(b"\n\ndeps_"), 7):
        path.write_bytes(whole[:size])
        try:
            unit = read_unit(path)
        except FormatError:
            continue
        assert unit is None or unit == command
