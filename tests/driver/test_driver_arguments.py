"""What a call does, read from its arguments."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from klpkit.compilers.driver import arguments, words
from klpkit.compilers.driver.talk import DriverError


@pytest.mark.parametrize(
    ("line", "stage"),
    [
        ("-c a.c", "object"),
        ("a.c -o a", "link"),
        ("a.o -o a", "link"),
        ("-E a.c", "preprocess"),
        ("-E -dM -x c /dev/null", "preprocess"),
        ("-c -E a.c", "preprocess"),
        ("-M a.c", "preprocess"),
        ("-MM -c a.c", "preprocess"),
        ("-MD -c a.c", "object"),
        ("-S a.c", "assembly"),
        ("-fsyntax-only a.c", "check"),
        ("-fsyntax-only -c a.c", "check"),
        ("--version", "inform"),
        ("-dumpversion", "inform"),
        ("-print-file-name=plugin", "inform"),
        ("-###  -c a.c", "inform"),
        ("-v", "inform"),
        ("-c -x c -", "object"),
    ],
)
def test_the_stage_is_where_the_compiler_would_stop(line: str, stage: str) -> None:
    assert arguments.Call(line.split()).stage == stage


LINE = "-I a.c -include b.c -c x.c -o y.o -x c++ z -x none w.o v.S -MF q.c -lfoo"


def test_sources_objects_and_values_are_told_apart() -> None:
    call = arguments.Call(LINE.split())
    assert [(path, language) for _, path, language in call.sources] == [("x.c", "c"), ("z", "c++")]
    assert call.inputs == ["w.o", "v.S", "-lfoo"]
    assert call.output == "y.o"


@pytest.mark.parametrize(
    ("line", "lto"),
    [
        ("-flto -c a.c", True),
        ("-flto=4 -c a.c", True),
        ("-flto -fno-lto -c a.c", False),
        ("-flto-partition=one -c a.c", False),
    ],
)
def test_the_last_lto_option_counts(line: str, lto: bool) -> None:
    assert arguments.Call(line.split()).lto is lto


def test_assembler_sources_and_headers_are_not_compiled_by_us() -> None:
    call = arguments.Call(["-c", "a.S", "b.s", "-x", "assembler-with-cpp", "c", "-x", "c-header", "d"])
    assert call.sources == []


def test_an_object_without_o_is_named_after_its_source() -> None:
    assert arguments.Call(["-c", "dir/a.b.c"]).object_of("dir/a.b.c") == "a.b.o"


def fake(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_wrappers_before_the_compiler_stay_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "mycc")
    monkeypatch.setenv("PATH", str(tmp_path))
    command = words.split(["env", "A=b", "nice", "-n", "5", "distcc", "mycc", "-c", "a.c"])
    assert command.wrapper == ["env", "A=b", "nice", "-n", "5", "distcc"]
    assert (command.compiler, command.arguments) == ("mycc", ["-c", "a.c"])
    assert not command.through_ccache


def test_a_compiler_that_is_a_link_to_ccache_is_looked_up_further_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links, real = tmp_path / "links", tmp_path / "real"
    links.mkdir()
    real.mkdir()
    ccache, compiler = fake(real, "ccache"), fake(real, "mycc")
    (links / "mycc").symlink_to(ccache)
    monkeypatch.setenv("PATH", f"{links}{os.pathsep}{real}")
    command = words.split(["mycc", "-c"])
    assert command.wrapper == ["ccache"]
    assert command.path == str(compiler)


@pytest.mark.parametrize("line", ["", "-c a.c", "ccache"])
def test_no_compiler_is_a_usage_error(line: str) -> None:
    with pytest.raises(DriverError) as caught:
        words.split(line.split())
    assert caught.value.status == 2
