"""The levels hold, and what breaks them is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest_driver import Driver, pairs

from klpkit.compilers.driver import attributes, promise
from klpkit.compilers.driver.attributes import Attributes
from klpkit.compilers.levels import Level
from klpkit.records.clonelines import parse_dump

SOURCE = """\
extern int ext(int);
static int helper(int x) { int i, s = 0; for (i = 0; i < x; i++) s += ext(i) * ext(x); return s; }
static inline __attribute__((always_inline)) int forced(int x) { return ext(x) + 1; }
extern inline __attribute__((gnu_inline)) int gnu(int x) { return ext(x) * 2; }
static int small(int x) { return x + 1; }
int public_small(int x) { return x * 3; }
int one(int x) { return forced(x) + helper(3) + helper(3) + small(x); }
int two(int x) { return gnu(x) + public_small(x) + helper(3); }
"""


def listed(driver: Driver, gcc: str, level: str) -> set[tuple[str, str, str]]:
    driver.write("a.c", SOURCE)
    done = driver.good(gcc, "-O2", "-c", "a.c", f"-fease-live-patching={level}", "-flive-patching-list")
    assert done.stderr == ""
    return {row for row in pairs(done.stdout) if row[2] != "self"}


def test_none_inlines_only_what_the_language_demands(driver: Driver, gcc: str) -> None:
    assert listed(driver, gcc, "none") == {("forced", "one", "inline(always_inline)")}


def test_only_inline_static_keeps_public_functions_apart(driver: Driver, gcc: str) -> None:
    found = listed(driver, gcc, "only-inline-static")
    assert ("small", "one", "inline") in found
    assert ("gnu", "two", "inline(gnu_inline)") in found
    assert not any(row[0] == "public_small" for row in found)
    assert {row[2].partition("(")[0] for row in found} == {"inline"}


def test_inline_makes_no_clone(driver: Driver, gcc: str) -> None:
    found = listed(driver, gcc, "inline")
    assert ("public_small", "two", "inline") in found
    assert {row[2] for row in found} == {"inline"}


def test_inline_clone_makes_clones_and_lists_who_calls_them(driver: Driver, gcc: str) -> None:
    driver.write(
        "a.c",
        "int ext(int);\n"
        "static __attribute__((noinline)) int work(int x, int k) { int s = 0; for (int i = 0; i < x; i++)"
        " s += ext(i) * k; return s; }\n"
        "int one(int x) { return work(x, 3); }\nint two(int x) { return work(x, 3); }\n",
    )
    done = driver.good(gcc, "-O2", "-c", "a.c", "-fease-live-patching=inline-clone", "-flive-patching-list=work")
    found = pairs(done.stdout)
    clones = {row[1] for row in found if row[2] in ("constprop", "isra")}
    assert clones
    assert {("work", "one", "calls-clone"), ("work", "two", "calls-clone")} <= found
    rows = {row.split("\t")[3]: row.split("\t")[6] for row in done.stdout.splitlines()[1:]}
    assert {rows[clone] for clone in clones} == {"callers"}
    assert rows["work"] == "gone"


@pytest.mark.parametrize("level", ["none", "only-inline-static"])
def test_cxx_functions_are_judged_by_their_linkage(driver: Driver, level: str) -> None:
    if not shutil.which("g++-12"):
        pytest.skip("g++-12 is not installed")
    driver.write(
        "a.cc",
        "namespace { int hidden(int x) { return x + 1; } }\n"
        "struct S { int m(int); int n(int x) { return x; } static int s(int x) { return x * 5; } };\n"
        "__attribute__((always_inline)) inline int forced(int x) { return x * 3; }\n"
        "int S::m(int x) { return hidden(x) + n(x) + forced(x) + s(x); }\n",
    )
    done = driver.good("g++-12", "-O2", "-c", "a.cc", f"-fease-live-patching={level}", "-flive-patching-list")
    found = {row for row in pairs(done.stdout) if row[2] != "self"}
    assert ("_Z6forcedi", "_ZN1S1mEi", "inline(always_inline)") in found
    hidden = ("_ZN12_GLOBAL__N_16hiddenEi", "_ZN1S1mEi", "inline")
    assert (hidden in found) == (level == "only-inline-static")
    assert len(found) == (2 if level == "only-inline-static" else 1)
    assert done.stderr == ""


def test_an_attribute_hidden_in_a_macro_is_asked_of_the_compiler_once(driver: Driver, gcc12: str) -> None:
    driver.write("m.h", "#define MAKE(name) QUAL int name(int x) { return x + 1; }\n"
                 "#define QUAL static inline FORCE\n"
                 "#define FORCE __attribute__((always_inline))\nMAKE(made)\n")  # fmt: skip
    driver.write("a.c", '#include "m.h"\nint one(int x) { return made(x); }\n')
    words = (gcc12, "-O2", "-c", "a.c", "-fease-live-patching=none", "-flive-patching-list")
    done = driver.good(*words)
    assert ("made", "one", "inline(always_inline)") in pairs(done.stdout)
    assert done.stderr == ""
    cached = Path(driver.env["XDG_CACHE_HOME"], "klpkit/driver/attributes-1").read_text()
    assert "m.h" in cached
    assert driver.good(*words).stdout == done.stdout


# A GCC that does not keep the level: it inlines and clones all the same.
LIAR = """\
case "$*" in
*-fdump-ipa-clones=*-fno-*|*-fno-*-fdump-ipa-clones=*)
  for w; do case $w in -fno-*|-flive-patching*) ;; *) set -- "$@" "$w";; esac; shift; done;;
esac
exec gcc-12 "$@"
"""


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("none", "a.c:5:12: warning: inline 'small' into 'one', which level 'none' forbids"),
        ("only-inline-static", "a.c:6:5: warning: inline 'public_small' into 'two'"),
        ("inline", "a.c:2:12: warning: constprop 'helper.constprop.0' of 'helper', which level 'inline' forbids"),
    ],
)
def test_a_record_that_the_level_forbids_is_told_with_its_place(
    driver: Driver, gcc12: str, level: str, told: str
) -> None:
    driver.write("a.c", SOURCE)
    driver.program("liar", LIAR)
    done = driver.good("./liar", "-O2", "-c", "a.c", f"-fease-live-patching={level}")
    assert told in done.stderr
    assert "[level-not-honoured]" in done.stderr
    assert "forced" not in done.stderr
    assert "gnu" not in done.stderr


def test_a_function_that_nobody_can_judge_is_told() -> None:
    dump = parse_dump(b"Callgraph clone;f;1;gone.c;1;5;g;2;gone.c;2;5;inlining to\n", "d")
    broken, excused = promise.check(Level.NONE, dump, lambda symbol: None, Attributes(lambda: ("", "")))
    assert [(body[0], user[0], cause) for body, user, cause in broken] == [("f", "g", "inline")]
    assert excused == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("static int f(void)", {"static"}),
        ("static inline __attribute__((always_inline)) int f(void)", {"static", "always_inline"}),
        ("int g(void) { static int x; } int f(void)", set()),
        ("/* static */ int f(void)", set()),
        ("int f(void) /* always_inline */", set()),
        ("MAKE(f)", set()),
    ],
)
def test_only_the_words_of_the_declaration_itself_count(text: str, expected: set[str]) -> None:
    column = text.replace("/* static */", "            ").index("f(" if "f(" in text else "f") + 1
    assert attributes.words_before([text], 1, column, "f") == expected


def test_a_declaration_may_begin_on_lines_above() -> None:
    lines = ["int x; // static", "static", "int", "f(void)"]
    assert attributes.words_before(lines, 4, 1, "f") == {"static"}
    assert attributes.words_before(["#define static", "int f(void)"], 2, 5, "f") == set()
