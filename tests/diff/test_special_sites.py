"""Entries of special sections belong to the code that they describe."""

from __future__ import annotations

import pytest
from conftest_pairs import Compile

from klpkit.diff import ObjectDiff, Verdict, diff_files

FTRACE = ("-O2", "-pg", "-mfentry", "-mrecord-mcount", "-fno-pic", "-fno-asynchronous-unwind-tables")
SOURCE = """
extern int key; extern const char text[];
int f(int x) { asm volatile("1: nop\\n2:\\n" F :: "i" (&key)); return x + 1; }
int g(int x) { asm volatile("1: nop\\n2:\\n" G :: "i" (&key)); return x + 2; }
int h(int x) { return x * 3; }
"""
RELATIVE, ABSOLUTE = ".long 1b - .", ".quad 1b"
ENTRIES = {
    ".smp_locks": RELATIVE,
    ".retpoline_sites": RELATIVE,
    ".return_sites": RELATIVE,
    ".call_sites": RELATIVE,
    ".ibt_endbr_seal": RELATIVE,
    ".kcfi_traps": RELATIVE,
    ".s390_indirect_jump": RELATIVE,
    ".s390_indirect_call": RELATIVE,
    ".s390_return_reg": RELATIVE,
    ".s390_return_mem": RELATIVE,
    "__patchable_function_entries": ABSOLUTE,
    "__ex_table": ".long 1b - ., 2b - ., 3",
    "__jump_table": ".long 1b - ., 2b - .\\n.quad key - .",
    ".static_call_sites": ".long 1b - ., key - .",
    ".parainstructions": ".quad 1b\\n.byte 7, 2, 0, 0\\n.long 0",
    "__bug_table": ".long 1b - ., text - .\\n.word 7, 0",
    "__barrier_nospec_fixup": ".quad 1b - .",
    "__lwsync_fixup": ".quad 1b - .",
    "__rfi_flush_fixup": ".quad 1b - .",
}
ALTERNATIVE = (
    '.pushsection .altinstructions,\\"a\\"\\n.long 1b - ., 661f - .\\n.word 5, 0\\n.byte 1, 1\\n.popsection\\n'
    '.pushsection .altinstr_replacement,\\"ax\\"\\n661: CODE\\n.popsection\\n'
)


def _asm(section: str, entry: str, times: int = 1) -> str:
    flags = "aw" if section in ("__jump_table", "__bug_table") else "a"
    lines = (entry + "\\n") * times
    return f'".pushsection {section},\\"{flags}\\"\\n{lines}.popsection\\n"'


def _diff(compile_c: Compile, before: str, after: str, other: str) -> ObjectDiff:
    paths = [compile_c(SOURCE, *FTRACE, f"-DF={f}", f"-DG={other}") for f in (before, after)]
    return diff_files(*paths)


@pytest.mark.parametrize("section", ENTRIES)
def test_another_entry_changes_the_function_that_it_describes_alone(compile_c: Compile, section: str) -> None:
    once, twice = (_asm(section, ENTRIES[section], times) for times in (1, 2))
    diff = _diff(compile_c, once, twice, once)
    assert (diff.verdict, diff.changed) == (Verdict.PATCHABLE, ["f"])
    assert section in diff.functions[0].reasons[0].detail


@pytest.mark.parametrize("section", ENTRIES)
def test_the_same_entries_are_no_change_however_often_they_are_compiled(compile_c: Compile, section: str) -> None:
    entry = _asm(section, ENTRIES[section])
    source = SOURCE.replace("int h(int x) { return x * 3; }", "")
    moved = "int h(int x) { return x * 3; }" + source
    paths = [compile_c(text, *FTRACE, f"-DF={entry}", f"-DG={entry}") for text in (SOURCE, moved)]
    diff = diff_files(*paths)
    assert (diff.verdict, diff.changed, diff.new) == (Verdict.NO_CHANGE, [], [])


def test_another_alternative_changes_its_function(compile_c: Compile) -> None:
    before, after = (f'"{ALTERNATIVE.replace("CODE", code)}"' for code in ("cld", "std"))
    diff = _diff(compile_c, before, after, before)
    assert diff.changed == ["f"]


@pytest.mark.parametrize("flags", ["a", "aw"])
def test_an_unknown_section_that_refers_to_changed_code_is_refused_with_a_hint(
    compile_c: Compile, flags: str
) -> None:
    entry = f'".pushsection __mystery_sites,\\"{flags}\\"\\n.quad 1b\\n.popsection\\n"'
    paths = [
        compile_c(text, *FTRACE, f"-DF={entry}", f"-DG={entry}")
        for text in (SOURCE, SOURCE.replace("x + 1", "x - 9"))
    ]
    diff = diff_files(*paths)
    [obstacle] = [obstacle for obstacle in diff.obstacles if obstacle.slug == "unknown-special-section"]
    assert obstacle.symbol == "f"
    assert "__mystery_sites" in obstacle.advice


PPC_FIXUP = """.pushsection __ftr_alt_97,\\"ax\\"\\n3: CODE\\n4:\\n.popsection\\n\
.pushsection __ftr_fixup,\\"a\\"\\n661: .quad 1, 2, 1b - 661b, 2b - 661b, 3b - 661b, 4b - 661b\\n.popsection\\n"""
S390_EXPOLINE = """.pushsection .s390_indirect_call,\\"a\\"\\n.long 1b - .\\n.popsection\\n"""


@pytest.mark.parametrize(
    ("compiler", "before", "after"),
    [
        ("powerpc64le-linux-gnu-gcc", PPC_FIXUP.replace("CODE", "nop"), PPC_FIXUP.replace("CODE", "isync")),
        ("powerpc64le-linux-gnu-gcc", PPC_FIXUP.replace("CODE", "nop"), PPC_FIXUP.replace("CODE", "nop\\nnop")),
        ("s390x-linux-gnu-gcc", S390_EXPOLINE, S390_EXPOLINE * 2),
    ],
    ids=["feature-fixup", "longer-feature-fixup", "expoline"],
)
def test_fixups_of_other_machines_belong_to_their_function(
    compile_c: Compile, compiler: str, before: str, after: str
) -> None:
    source = """
    int f(int x) { asm volatile("1: nop\\n2:\\n" F); return x + 1; }
    int g(int x) { asm volatile("1: nop\\n2:\\n" G); return x + 2; }
    """.replace("nop", "nopr" if compiler.startswith("s390x") else "nop")
    flags = ("-O2", "-fno-asynchronous-unwind-tables")
    paths = [
        compile_c(source, *flags, f'-DF="{text}"', f'-DG="{before}"', compiler=compiler)
        for text in (before, after)
    ]
    diff = diff_files(*paths)
    assert diff.changed == ["f"]
    assert {obstacle.slug for obstacle in diff.obstacles} == {"no-ftrace-location"}


def test_every_line_number_of_a_bug_table_is_told(compile_c: Compile) -> None:
    entry = ".long 1b - ., text - .\\n.word LINE, 0"
    lines = [7, 9, 7]
    paths = []
    for changed in (9, 11):
        twice = "\\n".join(entry.replace("LINE", str(changed if n == 9 else n)) for n in lines)
        paths.append(compile_c(SOURCE, *FTRACE, f"-DF={_asm('__bug_table', twice)}", "-DG="))
    for sides, told in ((paths, (9, 11)), (paths[::-1], (11, 9))):
        diff = diff_files(*sides)
        assert diff.verdict is Verdict.NO_CHANGE
        assert [(line.where, line.before, line.after) for line in diff.moved] == [("f", *told)]


def test_a_line_number_of_a_record_without_a_function_is_told(compile_c: Compile) -> None:
    entry = '".pushsection __bug_table,\\"aw\\"\\n.long text - ., text - .\\n.word LINE, 0\\n.popsection\\n"'
    paths = [compile_c(SOURCE, *FTRACE, f"-DF={entry.replace('LINE', n)}", "-DG=") for n in ("9", "11")]
    diff = diff_files(*paths)
    assert [(line.where, line.before, line.after) for line in diff.moved] == [("a record in __bug_table", 9, 11)]
