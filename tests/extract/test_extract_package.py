"""What the folder's Makefile tells the compiler, and the head of a C file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_extract_draft import draft

from klpkit.extract.package import Wanted, own_flags, write_package

SOURCE = Path("/src/linux")


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (["-I/src/linux/arch/x86/include", "-I/src/linux/include/uapi", "-I./include", "-I", "./fs/xfs"], []),
        (["-I/src/linux/fs/xfs", "-I", "/src/linux/fs/xfs"], ["-I$(SOURCE)/fs/xfs"]),
        (["-D__KERNEL__", "-DMODULE", '-DKBUILD_MODNAME="xfs"', "-D__KBUILD_MODNAME=x", "-DCC_USING_FENTRY"], []),
        (["-DDEBUG", '-DWHAT="a b"'], ["-DDEBUG", "'-DWHAT=\"a b\"'"]),
        (["-DCOST=$5#"], ["'-DCOST=$$5\\#'"]),
    ],
)
def test_the_makefile_has_what_the_source_s_own_makefile_gives(arguments: list[str], flags: list[str]) -> None:
    found = own_flags(SOURCE / "fs/xfs/libxfs/a.c", arguments, SOURCE)
    assert found == ["-iquote $(SOURCE)/fs/xfs/libxfs", *flags]


@pytest.mark.parametrize("says", [True, False])
def test_messages_keep_the_name_of_their_module(tmp_path: Path, says: bool) -> None:
    text = "#define who() KBUILD_MODNAME\nconst char *f(void) { return who(); }\nint g(void) { return 3; }\n"
    made = draft(tmp_path, text, "f" if says else "g", flags=('-DKBUILD_MODNAME="tun"',))
    made = replace(made, home="tun")
    written = write_package([(made, [Wanted("f", "asked for")])] if says else [(made, [Wanted("g", "asked for")])],
                            tmp_path / "out", "fix", release="6.1", source=tmp_path)  # fmt: skip
    lines = written[0].read_text()
    assert ('#undef KBUILD_MODNAME\n#define KBUILD_MODNAME "tun"\n' in lines) == says
