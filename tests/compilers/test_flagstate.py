"""What the exact flags of a unit mean, asked of the compilers at hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from klpkit.compilers import flagstate
from klpkit.compilers.flagstate import FlagState, flag_state, passes_on, telling_flags
from klpkit.compilers.levels import LEVELS, Level, flags_for
from klpkit.compilers.probe import Compiler, compiler_key, identify, unwrapped
from klpkit.errors import EnvironmentLackError, UserError


def _compiler(name: str) -> Compiler:
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    return identify((name,))


def _state(name: str, *flags: str, language: str = "c") -> FlagState:
    return flag_state(_compiler(name), flags, language, Path("/"))


def _on(name: str, *flags: str, language: str = "c") -> set[str]:
    return {row.slug for row in passes_on(_state(name, *flags, language=language))}


@pytest.mark.parametrize("name", ["gcc-11", "gcc-12"])
def test_stock_flags_turn_on_what_gcc_documents_for_o2(name: str) -> None:
    on = _on(name, "-O2")
    assert {"inline", "constprop", "isra", "part", "ipa-ra", "pure-const", "modref", "icf", "range"} <= on
    assert not {"pta", "whole-program", "devirtualisation", "nothrow", "local-calling-convention"} & on


@pytest.mark.parametrize("name", ["gcc-11", "gcc-12"])
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_s_flags_leave_on_only_what_it_allows(name: str, level: Level) -> None:
    compiler = _compiler(name)
    words = flags_for("gcc", level, supported=compiler.supported, stage="compile", lto=False)
    for language in ("c", "c++"):
        state = flag_state(compiler, ("-O2", *words), language, Path("/"))
        assert all(row.allowed_at(level) for row in passes_on(state))


def test_the_driver_s_option_counts_as_the_flags_that_it_stands_for() -> None:
    assert _on("gcc-12", "-O2", "-fease-live-patching=none", "-flive-patching-list=all") == {
        "unreachable-function", "address-taken-variable", "variable-alignment",
    }  # fmt: skip
    with pytest.raises(UserError, match="is not a level"):
        _state("gcc-12", "-O2", "-fease-live-patching=some")


def test_the_last_of_two_contradicting_flags_counts() -> None:
    assert "ipa-ra" not in _on("gcc-12", "-O2", "-fipa-ra", "-fno-ipa-ra")
    assert "ipa-ra" in _on("gcc-12", "-O2", "-fno-ipa-ra", "-fipa-ra")


def test_nothing_is_on_without_optimisation() -> None:
    assert not _on("gcc-12", "-O0")
    assert not _on("gcc-12")


def test_conditions_that_no_switch_shows_are_taken_from_the_flags() -> None:
    assert "ipa-ra" not in _on("gcc-12", "-O2", "-pg")
    assert "address-taken-function" in _on("gcc-12", "-O2", "-fcf-protection=branch")
    assert "address-taken-function" not in _on("gcc-12", "-O2", "-fcf-protection=none")
    assert "address-taken-function" not in _on("gcc-12", "-O2", "-fcf-protection=return")
    assert "local-calling-convention" in _on("gcc-12", "-O2", "-m32")
    assert "stack-alignment" not in _on("gcc-12", "-O2", "-mpreferred-stack-boundary=3")
    assert "stack-alignment" in _on("gcc-12", "-O2", "-mpreferred-stack-boundary=4")
    assert {"nothrow", "devirtualisation", "constexpr"} <= _on("gcc-12", "-O2", language="c++")
    assert "nothrow" not in _on("gcc-12", "-O2", "-fno-exceptions", language="c++")
    assert {"range", "bit-cp"}.isdisjoint(_on("gcc-12", "-O2", "-fno-ipa-cp"))


def test_gcc_s_own_option_keeps_public_functions_from_being_inlined() -> None:
    assert "inline-public" not in _on("gcc-12", "-O2", "-flive-patching=inline-only-static")
    assert "inline-public" in _on("gcc-12", "-O2", "-flive-patching=inline-clone")


def test_clang_has_its_own_table() -> None:
    assert {"inline", "argument-removal", "attribute-inference"} <= _on("clang-16", "-O2")
    assert "inline" not in _on("clang-16", "-O2", "-fno-inline")
    assert not _on("clang-16", "-O0")


def test_lto_is_told_by_the_last_flag_of_its_kind() -> None:
    assert _state("gcc-12", "-O2", "-flto=auto").lto
    assert not _state("gcc-12", "-O2", "-flto", "-fno-lto").lto


def test_only_flags_that_choose_code_make_a_set() -> None:
    words = ("-Iinclude", "-DX=1", "-O2", "-Wall", "-fipa-ra", "-o", "x.o", "--param", "max-inline-insns-auto=9")
    noise = ("-fmacro-prefix-map=/a=/b", "-frandom-seed=7", "-fdump-ipa-clones", "-c", "x.c")
    kept = ("-O2", "-fipa-ra", "--param", "max-inline-insns-auto=9")
    assert telling_flags(_compiler("gcc-12"), (*words, *noise)) == kept


def test_the_compiler_is_asked_once_for_a_set_of_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    first = _state("gcc-12", "-O2", "-DA")
    monkeypatch.setattr(flagstate, "_asked", lambda *_: pytest.fail("asked again"))
    assert _state("gcc-12", "-O2", "-DB") == first


def test_a_compiler_is_known_through_its_wrappers() -> None:
    assert unwrapped(("/usr/bin/ccache", "klpkit-cc", "gcc-12")) == ("gcc-12",)
    compiler = identify(("ccache", _compiler("gcc-12").words[0]))
    assert (compiler.kind, compiler.words) == ("gcc", ("gcc-12",))
    assert {"-fipa-ra", "-flive-patching", "-fwhole-program"} <= compiler.supported
    assert _compiler("clang-16").kind == "clang"


def test_a_changed_compiler_is_another_one(tmp_path: Path) -> None:
    program = tmp_path / "cc"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    before = compiler_key((str(program),))
    os.utime(program, ns=(1, 1))
    assert compiler_key((str(program),)) != before


def test_what_is_no_compiler_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "cc"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    with pytest.raises(UserError, match="neither GCC nor Clang"):
        identify((str(program),))
    with pytest.raises(EnvironmentLackError, match="not found"):
        identify((str(tmp_path / "missing"),))
