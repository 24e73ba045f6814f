"""Clang: what it can't honour is named, and nothing is compiled as if it could."""

from __future__ import annotations

import shutil

import pytest
from conftest_driver import Driver


@pytest.fixture
def clang() -> str:
    for name in ("clang-16", "clang-19", "clang"):
        if shutil.which(name):
            return name
    pytest.skip("no clang is installed")


def test_a_level_that_clang_cannot_honour_names_the_parts(driver: Driver, clang: str) -> None:
    driver.write("a.c", "int f(void) { return 1; }\n")
    done = driver(clang, "-O2", "-c", "a.c", "-fease-live-patching=none")
    assert done.returncode == 3
    assert "Clang can't honour: " in done.stderr
    assert "KLPKIT_CC_PARTIAL=1" in done.stderr
    assert not (driver.folder / "a.o").exists()


def test_on_request_clang_honours_the_rest(driver: Driver, clang: str) -> None:
    driver.write("a.c", "static int f(int x) { return x + 1; }\nint g(int x) { return f(x); }\n")
    done = driver.good(clang, "-O2", "-S", "a.c", "-fease-live-patching=none", KLPKIT_CC_PARTIAL="1")
    assert "warning: at level 'none' Clang can't honour" in done.stderr
    assert "call" in (driver.folder / "a.s").read_text() or "jmp" in (driver.folder / "a.s").read_text()


def test_the_list_is_refused_by_name(driver: Driver, clang: str) -> None:
    driver.write("a.c", "int f(void) { return 1; }\n")
    done = driver(clang, "-O2", "-c", "a.c", "-fease-live-patching", "-flive-patching-list")
    assert done.returncode == 3
    assert "listing impacted functions" in done.stderr
    assert done.stdout == ""


def test_calls_that_compile_nothing_are_clangs_own(driver: Driver, clang: str) -> None:
    assert "clang version" in driver.good(clang, "--version", "-fease-live-patching").stdout
