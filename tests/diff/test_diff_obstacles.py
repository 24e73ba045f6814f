"""What a live patch can't carry is named, with a slug; what it can is not."""

from __future__ import annotations

import pytest
from conftest_pairs import PAIRS, Compile

from klpkit.diff import ObjectDiff, Status, Verdict, diff_files

FTRACE = ("-O2", "-pg", "-mfentry", "-mrecord-mcount", "-fno-pic", "-fno-asynchronous-unwind-tables")


def _diff(compile_c: Compile, before: str, after: str, *flags: str) -> ObjectDiff:
    return diff_files(compile_c(before, *FTRACE, *flags), compile_c(after, *FTRACE, *flags))


def _slugs(diff: ObjectDiff) -> list[str]:
    return sorted({obstacle.slug for obstacle in diff.obstacles})


CASES = {
    "init-code": (
        'extern int sink; __attribute__((section(".init.text"))) int setup(void) { return sink; }',
        "return sink",
        "return sink + 1",
    ),
    "noinstr-code": (
        'extern int sink; __attribute__((section(".noinstr.text"))) int entry(void) { return sink; }',
        "return sink",
        "return sink + 1",
    ),
    "no-ftrace-location": (
        "extern int sink; __attribute__((no_instrument_function)) int bare(void) { return sink; }",
        "return sink",
        "return sink + 1",
    ),
    "changed-data": ("int limit = 5; int f(void) { return limit; }", "limit = 5", "limit = 6"),
    "changed-data-size": ("int room[4] = {1}; int *f(void) { return room; }", "room[4]", "room[6]"),
    "static-local-layout": (
        "struct s { int a; }; int use(void *); int f(void) { static struct s kept = {1}; return use(&kept); }",
        "int a; };",
        "int a, b; };",
    ),
    "changed-constant": ("const int limit = 5; int f(const int **p) { *p = &limit; return 0; }", "= 5", "= 6"),
    "registration": (
        'int f(void) { return 1; } void *p __attribute__((section("_ftrace_events"), used)) = f;',
        "used)) = f;",
        'used)) = f; void *q __attribute__((section("_ftrace_events"), used)) = f;',
    ),
    "unknown-special-section": (
        'int f(int x) { return x; } void *p __attribute__((section("__mystery"), used)) = f;',
        "return x",
        "return x * 3",
    ),
    "section-group": (
        'extern int sink; int f(void) { return sink; } asm("");',
        'asm("")',
        r"""asm(".section .text.g,\"axG\",@progbits,g,comdat\n.globl g\ng: ret\n.text")""",
    ),
    "alias-changed": (
        'extern int sink; int f(void) { return sink; } extern int g(void) __attribute__((alias("f")));',
        'extern int g(void) __attribute__((alias("f")));',
        "int g(void) { return sink + 1; }",
    ),
}


@pytest.mark.parametrize("slug", CASES)
def test_each_obstacle_has_its_slug(compile_c: Compile, slug: str) -> None:
    source, old, new = CASES[slug]
    assert old in source
    diff = _diff(compile_c, source, source.replace(old, new))
    assert slug in _slugs(diff)
    assert diff.verdict is Verdict.UNPATCHABLE
    assert all(obstacle.evidence and obstacle.advice for obstacle in diff.obstacles)


@pytest.mark.parametrize("slug", CASES)
def test_without_the_change_there_is_no_obstacle(compile_c: Compile, slug: str) -> None:
    source = CASES[slug][0]
    assert _diff(compile_c, source, source).verdict is Verdict.NO_CHANGE


def test_a_renamed_callee_of_forbidden_code_is_no_obstacle(compile_c: Compile) -> None:
    source = """
    int sink;
    static __attribute__((noinline)) int foo(int a, int b) { sink += a * b; return sink ^ b; }
    __attribute__((section(".noinstr.text"), no_instrument_function)) int entry(int x) { return foo(x, 3); }
    int zero(int x);
    """
    after = source + "int zero(int x) { return foo(x, 77) + 9; }"
    flags = ("-fipa-cp-clone", "-fno-inline", "--param=ipa-cp-eval-threshold=1")
    before = source + "int other(int x) { return foo(x, 5); }"
    diff = _diff(compile_c, before, after + "int other(int x) { return foo(x, 5); }", *flags)
    assert diff.changed == []
    assert not [obstacle for obstacle in diff.obstacles if obstacle.symbol == "entry"]


def test_a_key_of_a_module_is_an_obstacle() -> None:
    pair = [PAIRS / "x86_64" / f"static-call-issue-1165.{side}.o" for side in ("original", "patched")]
    if not pair[0].exists():
        pytest.skip("../shared/objs is absent")
    key = "__tracepoint_sched_process_exit"
    assert diff_files(*pair, symbol_owners={key: "vmlinux"}).verdict is Verdict.PATCHABLE
    diff = diff_files(*pair, symbol_owners={key: "some_module"})
    assert [(obstacle.slug, obstacle.symbol) for obstacle in diff.obstacles] == [("module-key", "do_exit")]


def test_a_key_whose_owner_nobody_knows_is_said_to_be_assumed() -> None:
    pair = [PAIRS / "x86_64" / f"static-call-issue-1165.{side}.o" for side in ("original", "patched")]
    if not pair[0].exists():
        pytest.skip("../shared/objs is absent")
    [note] = [note for note in diff_files(*pair).notes if note.startswith("taken for keys of the kernel")]
    assert "__tracepoint_sched_process_exit" in note
    assert "--symvers" in note
    names = note.partition(": ")[2].partition(" (")[0].split(", ")
    assert not any(
        note.startswith("taken") for note in diff_files(*pair, symbol_owners=dict.fromkeys(names, "vmlinux")).notes
    )


def test_a_static_local_keeps_its_state_when_its_user_changes(compile_c: Compile) -> None:
    source = """
    int use(int *); int tell(int);
    int f(int x) { static int count; static int last = 7; use(&count); return last = use(&last) + x; }
    """
    after = source.replace("use(&count);", "tell(3); use(&count); tell(4);").replace("int f", "int e;\n    int f")
    diff = _diff(compile_c, source, after)
    assert (diff.verdict, diff.changed) == (Verdict.PATCHABLE, ["f"])
    assert [data for data in diff.data if data.status is not Status.NEW] == []
    assert {data.name for data in diff.data} <= {"e"}


def test_a_gone_function_alone_can_be_carried(compile_c: Compile) -> None:
    source = "int f(void) { return 1; } int g(void) { return 2; }"
    diff = _diff(compile_c, source, source.replace("int g(void) { return 2; }", ""))
    assert (diff.verdict, diff.gone) == (Verdict.PATCHABLE, ["g"])


MOVED = """
void __might_sleep(const char *, int); int _printk(const char *, ...); int work(int, int);
#define might_sleep() __might_sleep("kernel/unit.c", __LINE__)
int f(int x) { might_sleep(); return work(x, 44); }
int g(int x) { if (x) _printk("assertion failed at %s (%d)\\n", "kernel/unit.c", __LINE__); return 0; }
int h(int x) { return work(x, __LINE__); }
"""


def test_a_moved_line_needs_the_helper_as_evidence(compile_c: Compile) -> None:
    diff = _diff(compile_c, MOVED, "\n\n" + MOVED)
    assert diff.changed == ["h"]
    assert [(line.where, line.after - line.before) for line in diff.moved] == [("f", 2), ("g", 2)]


def test_only_moved_lines_are_no_change_but_are_told(compile_c: Compile) -> None:
    source = MOVED.replace("int h(int x) { return work(x, __LINE__); }", "")
    diff = _diff(compile_c, source, "\n\n\n" + source)
    assert diff.verdict is Verdict.NO_CHANGE
    assert len(diff.moved) == 2


def test_another_argument_of_the_same_helper_is_a_change(compile_c: Compile) -> None:
    source = 'void __might_sleep(const char *, int, int); void f(void) { __might_sleep("a/b.c", 10, 20); }'
    assert _diff(compile_c, source, source.replace("20", "21")).changed == ["f"]
    assert _diff(compile_c, source, source.replace("10", "11")).changed == []


def test_a_number_that_no_source_line_has_is_a_change(compile_c: Compile) -> None:
    source = 'void __might_sleep(const char *, int, int); void f(void) { __might_sleep("a/b.c", 238, 0); }'
    assert _diff(compile_c, source, source.replace("238", "239")).changed == []
    for number in ("9502958", "65536", "0", "-1"):
        assert _diff(compile_c, source, source.replace("238", number)).changed == ["f"]
        assert _diff(compile_c, source.replace("238", number), source).changed == ["f"]
