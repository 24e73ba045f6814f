"""Through ccache: a hit delivers the list, and the compiler's own words, as a miss does."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from conftest_driver import Driver
from hypothesis import given
from hypothesis import strategies as st

from klpkit.compilers.driver.inner import MARK, packed, unpacked

LEVEL = "-fease-live-patching"
SOURCE = "int ext(int);\nstatic int f(int x) { int unused; return ext(x); }\nint h(int x) { return f(x); }\n"


@pytest.fixture
def cached(driver: Driver) -> Driver:
    if not shutil.which("ccache"):
        pytest.skip("ccache is not installed")
    driver.env["CCACHE_DIR"] = str(driver.folder / "home" / "ccache")
    driver.env.pop("CCACHE_DISABLE", None)
    driver.write("a.c", SOURCE)
    return driver


def hits(driver: Driver) -> tuple[int, int]:
    """(hits, misses)"""
    text = subprocess.run(
        ["ccache", "--print-stats"], env=driver.env, capture_output=True, text=True, check=True
    ).stdout
    found = {name: int(number) for name, number in re.findall(r"(\S+)\t(\d+)", text)}
    return found["direct_cache_hit"] + found["preprocessed_cache_hit"], found["cache_miss"]


def test_a_hit_delivers_list_warnings_and_object(cached: Driver, gcc12: str) -> None:
    words = ("ccache", gcc12, "-O2", "-Wall", "-c", "a.c", LEVEL, "-flive-patching-list")
    first = cached.good(*words)
    data = (cached.folder / "a.o").read_bytes()
    (cached.folder / "a.o").unlink()
    second = cached.good(*words)
    assert hits(cached) == (1, 1)
    assert first.stdout == second.stdout
    assert "a.o\tf\ta.c:2\th\ta.c:3\tinline\tsymbol\t-" in second.stdout
    assert "unused variable" in first.stderr
    assert first.stderr == second.stderr
    assert "klpkit-records" not in second.stderr
    assert (cached.folder / "a.o").read_bytes() == data


def test_the_direct_way_and_ccache_give_one_list(cached: Driver, gcc12: str) -> None:
    words = (gcc12, "-O2", "-c", "a.c", LEVEL, "-flive-patching-list")
    assert cached.good("ccache", *words).stdout == cached.good(*words).stdout


def test_entries_stay_apart_from_those_of_ccache_alone(cached: Driver, gcc12: str) -> None:
    words = ("-O2", "-c", "a.c")
    cached.good("ccache", gcc12, *words, LEVEL)
    plain = subprocess.run(
        ["ccache", gcc12, *words], cwd=cached.folder, env=cached.env, capture_output=True, text=True, check=True
    )
    assert "klpkit" not in plain.stderr


def test_levels_have_entries_of_their_own(cached: Driver, gcc12: str) -> None:
    for level in ("none", "inline", "none"):
        cached.good("ccache", gcc12, "-O2", "-c", "a.c", f"{LEVEL}={level}")
    assert hits(cached) == (1, 2)


def test_an_error_passes_through_ccache_with_its_status(cached: Driver, gcc12: str) -> None:
    cached.write("a.c", "int f(\n")
    done = cached("ccache", gcc12, "-c", "a.c", LEVEL, "-flive-patching-list=all,list")
    assert done.returncode == 1
    assert "a.c:1:" in done.stderr
    assert not (cached.folder / "list").exists()


def test_a_cache_that_knows_no_records_costs_a_compilation_and_no_record(cached: Driver, gcc12: str) -> None:
    words = (gcc12, "-O2", "-c", "a.c", LEVEL, "-flive-patching-list")
    expected = cached.good(*words).stdout
    bin_folder = cached.folder / "bin"
    bin_folder.mkdir()
    cached.program("bin/ccache", 'exec "$@"')
    assert cached.good("bin/ccache", *words).stdout == expected


@given(st.binary(max_size=2000))
def test_packed_records_are_one_marked_line(dump: bytes) -> None:
    line = packed(dump)
    assert line.startswith(MARK)
    assert line.count(b"\n") == 1
    assert unpacked(line.rstrip(b"\n")) == dump
