"""Changes that tools of this kind have missed or mixed up: each must come out right, from real compilations."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest_pairs import Compile, compared

from klpkit.diff import Cause, ObjectDiff, Status, Verdict, diff_files

KERNEL = (
    "-O2",
    "-pg",
    "-mfentry",
    "-mrecord-mcount",
    "-fno-pic",
    "-mcmodel=kernel",
    "-fno-asynchronous-unwind-tables",
)
SECTIONS = ("-ffunction-sections", "-fdata-sections")
BOTH = pytest.mark.parametrize("extra", [SECTIONS, ()], ids=["sections", "bundled"])


def _diff(compile_c: Compile, before: str, after: str, *flags: str) -> ObjectDiff:
    return diff_files(compile_c(before, *KERNEL, *flags), compile_c(after, *KERNEL, *flags))


SWITCH = """
int other(int);
int pick(int x)
{
    switch (x) {
    case 0: return 11; case 1: return 74; case 2: return 33; case 3: return 4190; case 4: return 5;
    case 5: return 77;
    default: return 0;
    }
}
int user(int x) { return other(x) + 1; }
"""


@BOTH
def test_only_a_constant_of_a_switch_table_changes(compile_c: Compile, extra: tuple[str, ...]) -> None:
    diff = _diff(compile_c, SWITCH, SWITCH.replace("4190", "4191"), *extra)
    assert (diff.verdict, diff.changed) == (Verdict.PATCHABLE, ["pick"])
    assert any("CSWTCH" in reason.detail for function in diff.functions for reason in function.reasons)


RATE = """
struct ratelimit_state { int lock; int interval; int burst; };
int ___ratelimit(struct ratelimit_state *, const char *);
int noisy(int x)
{
    static struct ratelimit_state _rs = { 0, 5000, 10 };
    return ___ratelimit(&_rs, "noisy") ? x : 0;
}
int quiet(int x) { static int calls = 3; return calls++ + x; }
"""


@BOTH
@pytest.mark.parametrize(("old", "new"), [("5000", "500"), ("calls = 3", "calls = 4")])
def test_only_the_initialiser_of_a_static_local_changes(
    compile_c: Compile, extra: tuple[str, ...], old: str, new: str
) -> None:
    diff = _diff(compile_c, RATE, RATE.replace(old, new), *extra)
    assert diff.verdict is Verdict.UNPATCHABLE
    assert [obstacle.slug for obstacle in diff.obstacles] == ["changed-data"]
    assert [(data.status, data.what) for data in diff.data] == [(Status.CHANGED, "initialiser")]
    assert diff.data[0].name.startswith(("_rs", "calls"))


CLONES = """
int sink;
static int foo(int a, int b)
{{
    int i, s = sink;
    for (i = 0; i < b; i++) s += a * i + sink;
    sink = s;
    return s * b;
}}
{first}
int one(int x) {{ return foo(x, 3) + 1; }}
int two(int x) {{ return foo(x, 5) + 2; }}
int three(int x) {{ return foo(x, 9) + 3; }}
{last}
"""
CLONING = ("-fipa-cp-clone", "-fno-inline", "-fno-partial-inlining", "--param=ipa-cp-eval-threshold=1")
CALLER = "int zero(int x) { return foo(x, 77) + 9; }"


@BOTH
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_new_caller_that_renumbers_clones_changes_nobody_else(
    compile_c: Compile, extra: tuple[str, ...], place: str
) -> None:
    before = CLONES.format(first="", last="")
    after = CLONES.format(**({"first": "", "last": ""} | {place: CALLER}))
    diff = _diff(compile_c, before, after, *CLONING, *extra)
    assert diff.changed == []
    assert "zero" in diff.new
    clones = [name for name in diff.new if name.startswith("foo.constprop")]
    assert len(clones) == 1


@BOTH
def test_callers_that_swap_their_clones_are_changed(compile_c: Compile, extra: tuple[str, ...]) -> None:
    before = CLONES.format(first="", last="")
    after = (
        before.replace("foo(x, 3)", "foo(x, 0)")
        .replace("foo(x, 5)", "foo(x, 3)")
        .replace("foo(x, 0)", "foo(x, 5)")
    )
    diff = _diff(compile_c, before, after, *CLONING, *extra)
    assert diff.changed == ["one", "two"]
    assert not diff.new


def test_a_changed_clone_with_another_number_is_changed_and_its_callers_are_not(compile_c: Compile) -> None:
    before = CLONES.format(first="", last="")
    after = CLONES.format(first=CALLER, last="").replace("s += a * i + sink", "s += a * i - sink")
    diff = _diff(compile_c, before, after, *CLONING, *SECTIONS)
    assert all(name.startswith("foo") for name in diff.changed)
    assert len(diff.changed) == 3
    assert not diff.gone


LATE = """
extern void use(int *, int *);
{new}
int first(void) {{ static int kept; {more} use(&kept, &kept); return kept; }}
int second(void) {{ static int kept; use(&kept, 0); return kept; }}
"""


@BOTH
def test_a_reference_that_resolves_after_one_that_does_not(compile_c: Compile, extra: tuple[str, ...]) -> None:
    before = LATE.format(new="", more="")
    after = LATE.format(new="", more="static int fresh; use(&fresh, 0);")
    diff = _diff(compile_c, before, after, *extra)
    assert (diff.verdict, diff.changed) == (Verdict.PATCHABLE, ["first"])
    assert [(data.name.split(".")[0], data.status) for data in diff.data] == [("fresh", Status.NEW)]


@BOTH
def test_two_static_locals_that_swap_roles_change_their_user(compile_c: Compile, extra: tuple[str, ...]) -> None:
    source = """
    int peek(int *); int poke(int *);
    int f(void) { static int a, b; return peek(&a) + poke(&b); }
    int g(void) { static int c; return peek(&c); }
    """
    diff = _diff(compile_c, source, source.replace("peek(&a) + poke(&b)", "peek(&b) + poke(&a)"), *extra)
    assert diff.changed == ["f"]
    assert not diff.data


@BOTH
def test_a_callee_of_the_same_size_in_another_place_is_a_change(
    compile_c: Compile, extra: tuple[str, ...]
) -> None:
    source = """
    extern int sink;
    static __attribute__((noinline)) int up(int x) { sink += x; return sink; }
    static __attribute__((noinline)) int down(int x) { sink -= x; return sink; }
    int f(int x) { return up(x) * 3; }
    int g(int x) { return down(x) * 5 + up(x); }
    """
    diff = _diff(compile_c, source, source.replace("return up(x) * 3", "return down(x) * 3"), *extra)
    assert diff.changed == ["f"]


@BOTH
def test_a_function_that_grows_moves_no_other(compile_c: Compile, extra: tuple[str, ...]) -> None:
    source = """
    extern int sink;
    static __attribute__((noinline)) int low(int x) { sink += x; return sink; }
    int middle(int x) { return sink ^ x; }
    static __attribute__((noinline)) int high(int x) { sink -= x; return low(x); }
    int f(int x) { return low(x) * 3 + high(x); }
    """
    diff = _diff(compile_c, source, source.replace("sink ^ x", "sink ^ x * 7 + low(x) * 11"), *extra)
    assert diff.changed == ["middle"]


def test_only_a_string_changes(compile_c: Compile) -> None:
    source = 'int say(const char *); int f(void) { return say("left %d"); } int g(void) { return say("right"); }'
    diff = _diff(compile_c, source, source.replace("left", "lost"))
    assert diff.changed == ["f"]
    assert [reason.cause for reason in diff.functions[0].reasons] == [Cause.REFERENCE]


def test_a_changed_constant_reaches_its_users_through_pointers(compile_c: Compile) -> None:
    source = """
    static const int table[4] = { 1, 2, 3, 4 };
    static const int *const tables[2] = { table, table + 2 };
    const int *pick(int i) { return tables[i]; }
    int other(int i) { return i * 2; }
    """
    diff = _diff(compile_c, source, source.replace("3, 4", "3, 5"), *SECTIONS)
    assert diff.changed == ["pick"]


def test_changed_data_behind_a_writable_pointer_is_an_obstacle(compile_c: Compile) -> None:
    source = "static const int table[4] = { 1, 2, 3, 4 }; const int *where = table; int f(void) { return *where; }"
    diff = _diff(compile_c, source, source.replace("3, 4", "3, 5"), *SECTIONS)
    assert diff.verdict is Verdict.UNPATCHABLE
    assert "where" in {data.name for data in diff.data}


def _objects(compile_c: Compile, source: str) -> tuple[Path, Path]:
    return compile_c(source, *KERNEL), compile_c(source, *KERNEL, "-frandom-seed=other")


def test_another_random_seed_is_no_change(compile_c: Compile) -> None:
    source = RATE + SWITCH + CLONES.format(first="", last="")
    assert compared(*_objects(compile_c, source)).verdict is Verdict.NO_CHANGE
