"""The levels hold, and what breaks them is told."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest_driver import Driver, pairs

from klpkit.compilers.driver import attributes, features, promise
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


HIDDEN = """\
#define QUAL static inline FORCE
#define FORCE __attribute__((always_inline))
#define GNU extern inline __attribute__((gnu_inline)) int
#define MAKE(name) QUAL int name(int x) { return x + 1; }
MAKE(made)
static int local(int x) { return x * 3; }
#define LOCAL(name) static inline int name(int x) { return local(x) + 2; }
LOCAL(small)
GNU borrowed(int x) { return x + 7; }
"""
USER = '#include "m.h"\nint one(int x) { return made(x) + small(x) + borrowed(x); }\n'


@pytest.mark.parametrize("level", ["none", "only-inline-static"])
@pytest.mark.parametrize("own", [(), ("-fdump-tree-optimized=own",)])
def test_attributes_hidden_in_macros_are_known(driver: Driver, gcc: str, level: str, own: tuple[str, ...]) -> None:
    driver.write("m.h", HIDDEN)
    driver.write("a.c", USER)
    driver.program("counted", f'case "$*" in *-c*) echo once >> calls;; esac\nexec {gcc} "$@"')
    words = ("./counted", "-O2", "-c", "a.c", *own, f"-fease-live-patching={level}", "-flive-patching-list")
    done = driver.good(*words)
    found = {row for row in pairs(done.stdout) if row[1] == "one" and row[2] != "self"}
    assert done.stderr == ""
    if level == "none":
        assert ("made", "one", "inline(always_inline)") in found
        assert {row[0] for row in found} <= {"made", "borrowed"}
    else:
        assert ("made", "one", "inline") in found, "it is static, which this level allows"
        assert ("small", "one", "inline") in found
        assert ("borrowed", "one", "inline(gnu_inline)") in found
    assert driver.good(*words).stdout == done.stdout


def test_answers_of_one_more_compilation_are_kept(driver: Driver, gcc12: str) -> None:
    driver.write("m.h", HIDDEN)
    driver.write("a.c", USER)
    driver.good(gcc12, "-O2", "-c", "a.c", "-fdump-tree-optimized=own", "-fease-live-patching=none")
    cached = Path(driver.env["XDG_CACHE_HOME"], "klpkit/driver/attributes-1").read_text()
    assert f"{driver.folder}/m.h:5:1:made:" in cached


@pytest.mark.parametrize("level", list(Level))
def test_the_object_is_the_one_that_the_compiler_alone_makes(driver: Driver, gcc: str, level: Level) -> None:
    driver.write("m.h", HIDDEN)
    driver.write("a.c", USER)
    words = [gcc, "-O2", "-g", "-frecord-gcc-switches", "-c", "a.c"]
    driver.good(*words, f"-fease-live-patching={level}", "-o", "ours.o")
    flags = features.of(shutil.which(gcc) or gcc).flags_for(level, "compile", lto=False)
    subprocess.run([*words, *flags, "-o", "theirs.o"], cwd=driver.folder, check=True)
    assert (driver.folder / "ours.o").read_bytes() == (driver.folder / "theirs.o").read_bytes()


def test_a_function_that_has_no_symbol_yet_is_known_by_its_name() -> None:
    cfg = (
        ";; Function vprintf (<unset-asm-name>, funcdef_no=0, decl_uid=1021, cgraph_uid=1, symbol_order=0)\n\n"
        "__attribute__((gnu_inline))\n__attribute__((nonnull (1), format (printf, 1, 0)))\n"
        "int vprintf (const char * restrict __fmt, struct  * __arg)\n{\n  always_inline\n}\n\n"
        ";; Function S::n (_ZN1S1nEi, funcdef_no=1, decl_uid=7)\n\nint S::n (int x)\n{\n}\n"
    )
    assert attributes.parsed(cfg, "") == {
        "vprintf": frozenset(("gnu_inline",)),
        "_ZN1S1nEi": frozenset(("plain",)),
    }


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


STANDARD_INLINES = """\
#include <stdio.h>
#include <stdlib.h>
static int by_value(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
int converted(const char *text) { return atoi(text); }
int *looked_up(int *key, int *all, size_t count) { return bsearch(key, all, count, sizeof *all, by_value); }
int shown(int c) { return putchar(c); }
"""
FROM_GLIBC = {
    ("atoi", "converted", "inline(gnu_inline)"),
    ("bsearch", "looked_up", "inline(gnu_inline)"),
    ("putchar", "shown", "inline(gnu_inline)"),
}


@pytest.mark.parametrize("more", [(), ("-D_FORTIFY_SOURCE=2",), ("-fdump-tree-optimized=own",), ("-std=gnu89",)])
def test_the_c_librarys_own_inline_functions_are_excused(driver: Driver, gcc: str, more: tuple[str, ...]) -> None:
    driver.write("a.c", STANDARD_INLINES)
    level = "-fease-live-patching=only-inline-static"
    done = driver.good(gcc, "-O2", *more, "-c", "a.c", level, "-flive-patching-list")
    assert pairs(done.stdout) >= FROM_GLIBC
    assert done.stderr == ""


@pytest.mark.parametrize("more", [(), ("-flto",), ("-fdump-tree-optimized=own",)])
def test_a_source_from_standard_input_can_be_asked_twice(driver: Driver, gcc: str, more: tuple[str, ...]) -> None:
    level = "-fease-live-patching=only-inline-static"
    words = (gcc, "-O2", *more, "-c", "-x", "c", "-", "-o", "a.o", level)
    done = driver(*words, stdin=STANDARD_INLINES, XDG_CACHE_HOME=f"{driver.folder}/cache")
    assert done.returncode == 0
    assert done.stderr == ""


IMPLICIT = "extern inline int doubled(int x) { return 2 * x; }\nint user(int x) { return doubled(x); }\n"


@pytest.mark.parametrize("dialect", [("-std=gnu89",), ("-std=c99", "-ansi"), ("-std=c11", "-fgnu89-inline")])
def test_extern_inline_of_old_c_is_gnu_inline(driver: Driver, gcc: str, dialect: tuple[str, ...]) -> None:
    driver.write("a.c", IMPLICIT.replace(" inline ", " __inline "))
    level = "-fease-live-patching=only-inline-static"
    for more in ((), ("-fdump-tree-optimized=own",)):
        done = driver.good(gcc, "-O2", *dialect, *more, "-c", "a.c", level, "-flive-patching-list")
        assert ("doubled", "user", "inline(gnu_inline)") in pairs(done.stdout)
        assert done.stderr == ""


@pytest.mark.parametrize("dialect", ["-std=gnu17", "-fno-gnu89-inline"])
def test_an_inline_definition_of_new_c_breaks_the_level(driver: Driver, gcc: str, dialect: str) -> None:
    driver.write("a.c", IMPLICIT.replace("extern inline", "inline"))
    done = driver.good(gcc, "-O2", dialect, "-c", "a.c", "-fease-live-patching=only-inline-static")
    assert "inline 'doubled' into 'user', which level 'only-inline-static' forbids" in done.stderr


def test_no_answer_is_kept_for_a_place_that_is_no_file(driver: Driver, gcc12: str) -> None:
    head = '#line 1 "nowhere.c"\n#define Q static inline __attribute__((always_inline))\n'
    driver.write("a.c", head + "Q int f(int x) { return x; }\nint u(int x) { return f(x); }\n")
    words = ("-O2", "-c", "a.c", "-fdump-tree-optimized=own", "-fease-live-patching=none")
    assert driver.good(gcc12, *words).stderr == ""
    cached = Path(driver.env["XDG_CACHE_HOME"], "klpkit/driver/attributes-1")
    assert not cached.exists() or "nowhere.c" not in cached.read_text()
