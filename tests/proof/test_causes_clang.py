"""The small programs again, with Clang, whose passes between functions are others: exactly these functions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from programs_together import NOINLINE, Found, Program, answers_of, found_in, unit_of
from test_causes import PROGRAMS, VARIABLES

from klpkit.build.command import TranslationUnit
from klpkit.errors import RefusedError, UserError
from klpkit.proof import ProofUnit, open_unit, pipeline, prove_variable, together
from klpkit.proof.hiders import hider_of
from klpkit.proof.hiding import HidingError
from klpkit.proof.interposing import Interposing

pytestmark = pytest.mark.compilers

COMPILERS = [name for name in ("clang-16", "clang-19") if shutil.which(name)]

# Of the shared programs: the functions that rely on the body (or are its callees that assume arguments).
SHARED: dict[str, set[str]] = {
    "inline": {"user"},
    "always-inline": {"user"},
    "inline-through-another": {"user"},
    "constprop": {"user", "other"},
    "icf-by-alias": set(),
    "pure": {"user"},
    "const": {"user"},
    "modref": set(),
    "ipa-ra": set(),
    "argument-through-another": {"user"},
    "noreturn": {"user"},
    "reference": {"user"},
    "nothing": set(),
}
ASSUMING = {"constprop": {"body"}, "argument-through-another": {"user"}}

OWN = {
    "argument-range": Program(
        f"int sink(int); {NOINLINE} static int user(int x) {{ return x < 6 ? sink(x) : sink(2); }}"
        " int other(int y) { return user(1) + 1; } int body(int y) { return user(3) + 2; }",
        {"user": set()},
        assumes=("user",),
    ),
    "return-range": Program(
        f"int sink(int); {NOINLINE} static int body(int x) {{ sink(x); return x > 4 ? 3 : 5; }}"
        " int user(int x) { int r = body(x); return r > 9 ? sink(1) : r; } int other(int x) { return sink(x); }",
        {"user": set()},
    ),
    "dead-argument": Program(
        f"int sink(int); {NOINLINE} static int body(int x, int unused) {{ return sink(x) + 1; }}"
        " int user(int x, int y) { return body(x, y * y * 77) + 2; }",
        {"user": set()},
    ),
    "dead-return": Program(
        f"int sink(int); {NOINLINE} static int body(int x) {{ return sink(x) * 77; }}"
        " void user(int x) { body(x); sink(3); }",
        {},
        assumes=("body",),
    ),
    "returned-argument": Program(
        f"int sink(int); {NOINLINE} static int body(int x) {{ sink(x); return x; }}"
        " int user(int x) { return body(x) + 2; }",
        {"user": set()},
    ),
    "static-variable-through-a-writer": Program(
        "int probe(int); static int state; void body(int x) { state = 0; probe(x); }"
        " int user(int x) { return probe(state + x); }",
        {},
    ),
    "a-label-for-the-assembler": Program(
        'int probe(int); int body(int) __asm__("labelled"); int body(int x) { return probe(x) + 1; }'
        " int user(int x) { return body(x); }",
        {"user": set()},
    ),
    "an-alias": Program(
        "int probe(int); int body(int x) { return probe(x) + 1; }"
        ' extern int twin(int) __attribute__((alias("body"))); int user(int x) { return twin(x) + 2; }',
        {"user": set()},
    ),
    "a-landing-pad": Program(
        f"int probe(int); {NOINLINE} static int body(int x) {{ return probe(x) + 1; }}"
        " int user(int x) { return body(x) + 2; }",
        {},
        flags=("-fcf-protection=branch",),
    ),
}

KERNEL_FLAGS = """
    -std=gnu11 -Wall -Werror -fno-strict-aliasing -mno-sse -mno-red-zone -mcmodel=kernel -fno-pie -pg -mfentry
    -fcf-protection=branch -fno-jump-tables -fstack-protector-strong -ftrivial-auto-var-init=zero
    -mstack-alignment=8 -mretpoline-external-thunk -mfunction-return=thunk-extern -falign-functions=16 -g
"""
OWN["a-kernel's-flags"] = Program(
    f"int probe(int); void fill(char *); int (*hook)(int); {NOINLINE} static int body(int x)"
    " { char b[64]; fill(b); return b[x]; } int caller(int x) { return body(x) + hook(x); }"
    " int user(int x) { switch (x) { case 0: return probe(1); case 1: return probe(7); case 2: return body(x) + 3;"
    " case 3: return probe(3); case 4: return probe(9); } return body(x) + 2; }",
    {},
    flags=tuple(KERNEL_FLAGS.split()),
)

EVERY = {name: (PROGRAMS[name], names, ASSUMING.get(name, set())) for name, names in SHARED.items()} | {
    name: (program, set(program.expected), set(program.assumes)) for name, program in OWN.items()
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Found]]]:
    """Every program proven with every compiler; to start Clang takes longer than to compile them."""
    programs = {name: program for name, (program, _, _) in EVERY.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("programs")
        yield {name: answers_of(programs, name, folder / name, at_once=12) for name in COMPILERS}


@pytest.mark.parametrize("compiler", ["clang-16", "clang-19"])
@pytest.mark.parametrize("name", EVERY)
def test_exactly_the_functions_that_rely_on_the_body_are_proven_with_clang(
    answers: dict[str, dict[str, Found]], name: str, compiler: str
) -> None:
    if compiler not in COMPILERS:
        pytest.skip(f"{compiler} is not installed")
    _, expected, assuming = EVERY[name]
    found = answers[compiler][name]
    assert set(found.causes) == expected
    assert found.assuming == assuming
    assert not found.elsewhere
    assert not found.warnings


@pytest.mark.parametrize("compiler", ["clang-16", "clang-19"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [("never_written", {"user"}), ("never_read", {"writer"}), ("both", set()), ("quiet", set())],
)
def test_functions_that_rely_on_a_variable_with_clang(
    tmp_path: Path, name: str, expected: set[str], compiler: str
) -> None:
    if compiler not in COMPILERS:
        pytest.skip(f"{compiler} is not installed")
    unit = open_unit(unit_of(Program(VARIABLES, {}), tmp_path, compiler))
    assert {use.symbol for use in prove_variable(unit, name)} == expected


CAUSED = f"""
int sink(int);
{NOINLINE} static int ranged(int x) {{ sink(x); return x > 4 ? 3 : 5; }}
int ranged_user(int x) {{ int r = ranged(x); return r > 9 ? sink(1) : r; }}
{NOINLINE} static int removed(int x, int unused) {{ return sink(x) + 1; }}
int removed_user(int x, int y) {{ return removed(x, y * y * 77) + 2; }}
extern int input; int elsewhere; static int state;
{NOINLINE} void left_alone(int x) {{ elsewhere = input + x; }}
int left_alone_user(int x) {{ int a = state; left_alone(x); return a + state; }}
void set(int x) {{ state = x; }}
{NOINLINE} int pure(int x) {{ return input + x; }}
int pure_user(int x) {{ return pure(x) + pure(x); }}
{NOINLINE} void endless(int x) {{ for (;;) sink(x); }}
int endless_user(int x) {{ if (x > 3) endless(x); return sink(x) + 1; }}
{NOINLINE} static int assumes(int x) {{ return x < 6 ? sink(x) : sink(2); }}
int passes(int y) {{ return assumes(3) + 2; }}
int passes_too(int y) {{ return assumes(1) + 1; }}
"""
CAUSES = {
    "ranged": ("ranged_user", {"range"}),
    "removed": ("removed_user", {"isra"}),
    "left_alone": ("left_alone_user", {"reference"}),
    "pure": ("pure_user", {"pure-const"}),
    "endless": ("endless_user", {"noreturn"}),
    "passes": ("assumes", {"range"}),
}


def opened(compiler: str, folder: Path) -> ProofUnit:
    if compiler not in COMPILERS:
        pytest.skip(f"{compiler} is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        return open_unit(unit_of(Program(CAUSED, {}), folder, compiler))


@pytest.mark.parametrize("compiler", ["clang-16", "clang-19"])
def test_causes_are_found_by_leaving_passes_out_of_llvm_s_pipeline(tmp_path: Path, compiler: str) -> None:
    unit = opened(compiler, tmp_path)
    if not pipeline.available(unit.unit):
        pytest.skip(f"no opt beside {compiler}")
    with ThreadPoolExecutor(2) as pool:
        answers = dict(zip(CAUSES, pool.map(lambda name: together(unit, [name], jobs=1), CAUSES), strict=True))
    assert {name: found_in(answer) for name, answer in answers.items()} == {
        name: {user: causes} for name, (user, causes) in CAUSES.items()
    }


def test_without_opt_only_inlining_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "available", lambda unit: False)
    unit = opened("clang-19", tmp_path)
    assert found_in(together(unit, ["pure"], jobs=1)) == {"pure_user": {"unknown"}}


def test_a_pipeline_that_makes_other_code_names_no_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_pipeline", lambda opt, level: "function(sroa)")
    unit = opened("clang-19", tmp_path)
    assert found_in(together(unit, ["pure"], jobs=1)) == {"pure_user": {"unknown"}}


@pytest.mark.parametrize(
    ("names", "left"),
    [
        ((), "a,b<x;y<1>>,require<c>,cgscc(devirt<4>(d,f<skip>,function<eager>(g))),h"),
        (("b", "h"), "a,require<c>,cgscc(devirt<4>(d,f<skip>,function<eager>(g)))"),
        (("require<c>", "f", "g"), "a,b<x;y<1>>,cgscc(devirt<4>(d)),h"),
        (("require", "d", "f", "g"), "a,b<x;y<1>>,h"),
    ],
)
def test_passes_and_what_gets_empty_are_left_out_of_a_pipeline(names: tuple[str, ...], left: str) -> None:
    text = "a,b<x;y<1>>,require<c>,cgscc(devirt<4>(d,f<skip>,function<eager>(g))),h"
    assert pipeline.without(text, names) == left


def test_a_pipeline_in_another_notation_is_not_taken_for_a_shorter_one() -> None:
    with pytest.raises(ValueError, match="is no pass"):
        pipeline.without("a,b[x],c", ["a"])


def test_the_level_is_the_last_one_of_the_command(tmp_path: Path) -> None:
    levels = {
        "-O1 -O2": "O2", "-Os": "Os", "-Ofast": "O3", "-O": "O1", "-O2 -O0": "O0", "": "O0", "-Og": "O1",
    }  # fmt: skip
    for words, level in levels.items():
        unit = TranslationUnit(tmp_path / "a.o", tmp_path / "a.c", tmp_path, ("clang-19",), tuple(words.split()))
        assert pipeline.level_of(unit) == level


def test_a_function_that_the_ir_lacks_is_refused() -> None:
    with pytest.raises(HidingError, match="no definition of body"):
        Interposing().hidden("declare i32 @body(i32)\n", ["body"], {})


def test_pins_become_attributes_before_the_group() -> None:
    text = "define internal i32 @near(i32 noundef %0) #0 {\n}\n"
    pinned = Interposing().hidden(text, [], {"near": "noinline, noclone"})
    assert pinned == "define internal i32 @near(i32 noundef %0) noinline #0 {\n}\n"


def test_what_gets_another_use_has_no_order_of_uses() -> None:
    text = "@v = internal global i32 0\nuselistorder ptr @v, { 1, 0 }\nuselistorder ptr @other, { 1, 0 }\n"
    escaped = Interposing().hidden_variable("\n" + text, "v")
    assert "uselistorder ptr @v" not in escaped
    assert "uselistorder ptr @other, { 1, 0 }" in escaped
    assert escaped.endswith("@__klpkit_escapes_v = global ptr @v\n")


def test_a_language_without_a_row_is_refused() -> None:
    with pytest.raises(UserError, match="no proof for other with gcc"):
        hider_of("gcc", "other")


@pytest.mark.parametrize("flags", [("-flto",), ("-flto=thin",), ("-fno-lto", "-flto=auto")])
def test_units_whose_link_optimises_are_refused(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with pytest.raises(RefusedError, match=r"the link decides .*\[proof-lto\]"):
        open_unit(unit_of(Program("int probe(int);", {}, flags=flags), tmp_path, "gcc-12"))
