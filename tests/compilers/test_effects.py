"""What compilers really do between functions, seen in machine code: there at stock flags, gone at the level.

Each program of `effect_programs/` is compiled in two variants; an effect is there when a function that did not
change in the source changed in the assembly.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from klpkit.compilers import gcc
from klpkit.compilers.experiments import experiments, function_text, shows
from klpkit.compilers.levels import LEVELS, Level, flags_for
from klpkit.compilers.passes import CLANG_PASSES, GCC_PASSES, Pass
from klpkit.compilers.probe import identify

GCCS = ("gcc-11", "gcc-12")
CLANGS = ("clang-16", "clang-19")
# Not in GCC before 14, so its absence at stock flags shows nothing.
LATER = {"range-return"}
# What single flag is enough to be rid of an effect, beyond the switch of its pass.
ALSO_OFF = {
    "range": "-fno-ipa-cp", "bit-cp": "-fno-ipa-cp", "ipa-ra": "-pg", "local-calling-convention": "-pg",
    "variable-alignment": "-fno-tree-vectorize", "inline-public": "-flive-patching=inline-only-static",
    "constexpr": "-fno-inline", "stack-alignment": "-mpreferred-stack-boundary=3",
}  # fmt: skip
PROGRAMS = [(row, name) for row in GCC_PASSES for name in row.programs]


def _compiler(name: str) -> str:
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    return name


def _shown(compiler: str, program: str, *flags: str) -> bool:
    answer = shows((_compiler(compiler),), experiments()[program], flags)
    if answer is None:
        pytest.skip(f"{compiler} can't compile {program} (no C++ compiler or no 32-bit target)")
    return answer


def _level(compiler: str, level: Level) -> tuple[str, ...]:
    supported = identify((_compiler(compiler),)).supported
    kind = "clang" if compiler.startswith("clang") else "gcc"
    return flags_for(kind, level, supported=supported, stage="compile", lto=False)


@pytest.mark.parametrize("compiler", GCCS)
@pytest.mark.parametrize(("row", "program"), PROGRAMS, ids=[name for _, name in PROGRAMS])
def test_gcc_has_the_effect_at_stock_flags_and_its_switch_ends_it(compiler: str, row: Pass, program: str) -> None:
    if program not in LATER:
        assert _shown(compiler, program)
    if row.switches:
        assert not _shown(compiler, program, "-fno-" + row.switches[0].removeprefix("-f"))
    if program in ALSO_OFF:
        assert not _shown(compiler, program, ALSO_OFF[program])


@pytest.mark.parametrize("compiler", GCCS)
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_leaves_gcc_what_it_allows_and_what_no_flag_stops(compiler: str, level: Level) -> None:
    words = _level(compiler, level)
    for row, program in PROGRAMS:
        if program in LATER or program == "constexpr" or not (row.recorded or level == Level.INLINE_CLONE):
            continue  # what no record shows is off at the highest level, so at the lower ones
        answer = shows((compiler,), experiments()[program], words)
        assert answer in (None, row.allowed_at(level)), f"{program} at {level}"


def test_a_lower_level_turns_off_all_that_a_higher_one_does() -> None:
    off = {level: set(gcc.flags(level, frozenset(gcc.SWITCHES), "compile", True)) for level in LEVELS}
    assert off[Level.INLINE_CLONE] < off[Level.INLINE] < off[Level.ONLY_INLINE_STATIC]
    assert off[Level.INLINE] < off[Level.NONE]


@pytest.mark.parametrize("compiler", GCCS)
def test_gcc_evaluates_constexpr_functions_at_every_level_that_inlines(compiler: str) -> None:
    for level in LEVELS:
        assert _shown(compiler, "constexpr", *_level(compiler, level)) == (level != Level.NONE)


@pytest.mark.parametrize("compiler", GCCS)
def test_gcc_without_its_native_option_still_inlines_no_plain_public_function(compiler: str) -> None:
    supported = identify((_compiler(compiler),)).supported - {"-flive-patching"}
    words = flags_for("gcc", Level.ONLY_INLINE_STATIC, supported=supported, stage="compile", lto=False)
    assert gcc.ONLY_STATIC not in words
    assert not _shown(compiler, "inline-public", *words)


@pytest.mark.parametrize("compiler", GCCS)
def test_an_optimize_attribute_does_not_undo_a_switch(compiler: str, tmp_path: Path) -> None:
    text = experiments()["ipa-ra"].source.read_text()
    source = tmp_path / "attribute.c"
    source.write_text(text.replace("int user(", '__attribute__((optimize("O3"))) int user('))
    changed = experiments()["ipa-ra"].__class__("attribute", source, "", "user", (), False)
    assert shows((_compiler(compiler),), changed, ())
    assert not shows((compiler,), changed, ("-fno-ipa-ra",))


@pytest.mark.parametrize("compiler", CLANGS)
@pytest.mark.parametrize("row", CLANG_PASSES, ids=lambda row: row.slug)
def test_clang_keeps_at_every_level_all_but_inlining(compiler: str, row: Pass) -> None:
    for program in row.programs:
        assert _shown(compiler, program)
        assert _shown(compiler, program, *_level(compiler, Level.NONE)) == (row.slug != "inline")


def test_only_the_observed_function_is_compared() -> None:
    assembly = "\t.text\nf:\n.LFB3:\n\tnop\n.L7:\n\tjmp .L7\n\t.size f, .-f\ng:\n\tret\n\t.size g, .-g\n"
    assert function_text(assembly, "f") == ".L0:\nnop\n.L1:\njmp .L1"
    assert function_text(assembly, "g", section=True) == ".text\nret"
    assert function_text(assembly, "h") == ""
