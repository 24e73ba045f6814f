"""The table of passes agrees with the switches, the causes and the experiments."""

from __future__ import annotations

from klpkit.compilers import clang, gcc
from klpkit.compilers.experiments import experiments
from klpkit.compilers.flagstate import CONDITIONS
from klpkit.compilers.levels import LEVELS
from klpkit.compilers.passes import CLANG_PASSES, GCC_PASSES, lowest_level
from klpkit.records.causes import cause


def test_every_switch_belongs_to_exactly_one_pass() -> None:
    named = [switch for row in GCC_PASSES for switch in (*row.switches, *row.helpers)]
    assert sorted(named) == sorted(gcc.SWITCHES)


def test_the_switches_of_one_pass_have_one_lowest_level() -> None:
    for row in GCC_PASSES:
        assert len({gcc.SWITCHES[switch] for switch in row.switches}) <= 1, row.slug


def test_every_cause_condition_and_program_exists_and_slugs_are_unique() -> None:
    for table in (GCC_PASSES, CLANG_PASSES):
        assert len({row.slug for row in table}) == len(table)
        for row in table:
            assert cause(row.cause).slug == row.cause
            assert set(row.when) <= set(CONDITIONS)
            assert set(row.programs) <= set(experiments())
            assert row.remedy


def test_every_experiment_is_evidence_for_a_pass() -> None:
    assert {name for row in GCC_PASSES for name in row.programs} | {"dead-argument"} == set(experiments())


def test_gcc_s_passes_are_turned_off_by_switches_and_llvm_s_in_its_pipeline() -> None:
    assert not [row.slug for row in GCC_PASSES if row.ir_passes]
    assert not [row.slug for row in CLANG_PASSES if row.ir_passes and row.switches]


def test_what_no_flag_stops_is_not_the_level_s_to_forbid() -> None:
    for row in GCC_PASSES:
        for level in LEVELS:
            assert row.allowed_at(level) == (row.flagless or level.allows(lowest_level(row)))


def test_clang_says_of_every_unrecorded_pass_that_it_is_not_honoured() -> None:
    said = " ".join(clang.UNHONOURED["none"])
    for row in CLANG_PASSES:
        if row.flagless and not row.recorded and row.slug not in ("nothrow", *_OF_THE_SOURCE):
            assert any(word in said for word in _WORDS[row.slug]), row.slug


_OF_THE_SOURCE = ("address-taken-function", "address-taken-variable", "local-calling-convention")
_WORDS = {
    "argument-propagation": ("propagation of arguments",),
    "argument-removal": ("removal, promotion",),
    "return-propagation": ("returned values",),
    "attribute-inference": ("function attributes",),
    "static-variables": ("static variables",),
    "static-aliases": ("static variables",),
}
