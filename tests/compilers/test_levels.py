"""Levels: the words, their order, and the flags that each means."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from klpkit.compilers import clang, gcc
from klpkit.compilers.levels import LEVELS, Level, flags_for, unhonoured_parts
from klpkit.compilers.passes import GCC_PASSES

EVERYTHING = frozenset(gcc.SWITCHES) | {"-flive-patching"}


def flags(
    level: Level, *, supported: frozenset[str] = EVERYTHING, stage: str = "compile", lto: bool = False
) -> set[str]:
    return set(flags_for("gcc", level, supported=supported, stage=stage, lto=lto))


def test_a_level_is_found_by_its_word_and_is_that_word() -> None:
    assert Level("inline") is Level.INLINE
    assert Level.INLINE == "inline"
    assert f"{Level.INLINE}" == "inline"
    assert list(Level) == list(LEVELS)


def test_an_unknown_word_names_the_levels() -> None:
    with pytest.raises(ValueError, match="none, only-inline-static, inline, inline-clone"):
        Level("all")


def test_each_level_allows_what_the_one_before_it_allows() -> None:
    for lower, higher in itertools.pairwise(LEVELS):
        assert all(higher.allows(lowest) for lowest in gcc.SWITCHES.values() if lower.allows(lowest))
        assert not lower.allows(higher)


def test_no_level_allows_what_no_record_shows() -> None:
    unrecorded = {s for row in GCC_PASSES if not row.recorded for s in row.switches}
    for level in LEVELS:
        assert {"-fno-" + switch.removeprefix("-f") for switch in unrecorded} <= flags(level)


def test_only_what_the_compiler_knows_is_turned_off() -> None:
    assert flags(Level.NONE, supported=frozenset({"-fipa-ra"})) == {"-fno-ipa-ra"}


def test_a_link_needs_flags_only_with_lto() -> None:
    assert not flags(Level.NONE, stage="link")
    assert flags(Level.NONE, stage="link", lto=True) == flags(Level.NONE, lto=True)


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="use compile or link"):
        flags(Level.NONE, stage="assemble")


def test_the_native_option_is_left_out_where_gcc_refuses_or_lacks_it() -> None:
    level = Level.ONLY_INLINE_STATIC
    assert gcc.ONLY_STATIC in flags(level)
    for words in (flags(level, lto=True), flags(level, supported=frozenset(gcc.SWITCHES))):
        assert gcc.ONLY_STATIC not in words
        assert "-fno-inline-small-functions" in words
    assert gcc.needs_marking(level, EVERYTHING, True)
    assert gcc.needs_marking(level, gcc.SWITCHES, False)
    assert not gcc.needs_marking(level, EVERYTHING, False)


def test_clang_names_what_it_cannot_honour_at_every_level() -> None:
    for level in LEVELS:
        assert unhonoured_parts("clang", level)
        assert not unhonoured_parts("gcc", level)
    assert flags_for("clang", Level.NONE, supported=frozenset(clang.SWITCHES), stage="compile", lto=False) == (
        "-fno-inline",
    )


def test_the_hot_path_imports_only_its_own_tables() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "from klpkit.compilers.levels import Level, flags_for\n"
        "flags_for('gcc', Level.NONE, supported=(), stage='compile', lto=False)\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {
        "__future__", "klpkit", "klpkit.compilers", "klpkit.compilers.levels", "klpkit.compilers.gcc",
    }  # fmt: skip
