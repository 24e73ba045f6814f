"""Small programs, one for every way in which code comes to rely on another body: exactly these functions.

Each program hides `body` (or what `seed` says) and lists every function that must be in the answer, with the
causes that are allowed to explain it; nothing else may be in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs_together import NOINLINE, Found, Program, answers_of, found_in, unit_of

from klpkit.compilers.flagstate import flag_state, passes_on
from klpkit.compilers.levels import Level, flags_for
from klpkit.compilers.probe import identify
from klpkit.proof import open_unit, prove_variable

pytestmark = pytest.mark.compilers

# What the tests for other compilers share.
__all__ = ["NOINLINE", "PROGRAMS", "VARIABLES", "Program", "found_in", "unit_of"]

COMPILERS = [name for name in ("gcc-11", "gcc-12") if shutil.which(name)]

BIG = "probe(x * 3) + 5 + probe(x * 5) + probe(x * 7) + probe(x * 9) + probe(x * 11)"

PROGRAMS = {
    "inline": Program(
        "int probe(int); static int body(int x) { return probe(x) + 1; } int user(int x) { return body(x); }"
        " int other(int x) { return probe(x); }",
        {"user": {"inline"}},
    ),
    "early-inline": Program(
        "extern int probe(int); static inline int body(int x) { return x + 1; }"
        " int user(int x) { return probe(body(x)); } int other(int x) { return probe(x); }",
        {"user": {"inline"}},
    ),
    "always-inline": Program(
        "int probe(int); static inline __attribute__((always_inline)) int body(int x) { return probe(x) + 1; }"
        " int user(int x) { return body(x); } int other(int x) { return probe(x); }",
        {"user": {"inline"}},
    ),
    "inline-through-another": Program(
        "int probe(int); static int body(int x) { return probe(x) + 1; }"
        " static int middle(int x) { return body(x) * 3; } int user(int x) { return middle(x) + 2; }",
        {"user": {"inline"}},
    ),
    "constprop": Program(
        f"int probe(int, int); {NOINLINE} static int body(int x, int y)"
        " { return y > 2 ? probe(x, y) : probe(y, x); }"
        " int user(int x) { return body(x, 3) + 1; } int other(int x) { return body(x, 3) + 2; }",
        {"body.constprop.0": {"constprop"}, "user": {"constprop", "isra"}, "other": {"constprop", "isra"}},
    ),
    "isra": Program(
        f"struct pair {{ int a, b; }}; int probe(int); {NOINLINE} static int body(struct pair *p)"
        " { return probe(p->a) + 1; } int user(struct pair *p) { return body(p) + p->b; }",
        {"body.isra.0": {"isra"}, "user": {"isra"}},
    ),
    "part": Program(
        "int probe(int); extern int table[100]; int body(int *p) { if (!p) return 5; int t = 0;"
        " for (int i = 0; i < 100; i++) t += probe(table[i] * *p) ^ probe(i) * probe(t);"
        " for (int i = 0; i < 100; i++) t += probe(table[i] + *p) ^ probe(i) * probe(t); return t; }"
        " int user(int *p) { return body(p) + 1; } int other(int *p) { return body(p) + 2; }",
        {"body.part.0": {"part"}, "user": {"inline"}, "other": {"inline"}},
    ),
    "icf-by-inlining": Program(
        f"int probe(int); int body(int x) {{ return {BIG}; }} int user(int x) {{ return {BIG}; }}",
        {"user": {"icf"}},
    ),
    "icf-by-alias": Program(
        f"int probe(int); static int body(int x) {{ return {BIG}; }} static int twin(int x) {{ return {BIG}; }}"
        " int (*const table[])(int) = { body }; int user(int x) { return twin(x) + probe(twin(x + 1)); }",
        {"twin": {"icf"}, "user": {"icf"}},
    ),
    "pure": Program(
        f"extern int state; int probe(int); {NOINLINE} int body(int x) {{ return state + x; }}"
        " int user(int x) { return body(x) + body(x); }",
        {"user": {"pure-const", "ipa-ra", "stack-alignment", "modref"}},
    ),
    "const": Program(
        f"{NOINLINE} int body(int x) {{ return x * x + 7; }}"
        " int user(int x) { int t = 0; for (int i = 0; i < x; i++) t += body(x); return t; }",
        {"user": {"pure-const", "ipa-ra", "stack-alignment", "modref"}},
    ),
    "useless-call": Program(
        f"int probe(int); {NOINLINE} static int body(int x) {{ return x * x + 7; }}"
        " int user(int x) { body(x); return probe(x); }",
        {"user": {"pure-const", "ipa-ra", "stack-alignment", "modref"}},
        alone=True,
    ),
    "modref": Program(
        f"struct pair {{ int a; long b; }}; {NOINLINE} void body(struct pair *p, int x) {{ p->a = x; }}"
        " long user(struct pair *p, int x) { p->b = 5; body(p, x); return p->b; }",
        {"user": {"modref", "ipa-ra", "stack-alignment"}},
    ),
    "ipa-ra": Program(
        f'{NOINLINE} static int body(int x) {{ __asm__ volatile(""); return x + 1; }}'
        " int user(int x, int y, int z) { int a = body(x); return a + y + z; }",
        {"user": {"ipa-ra", "stack-alignment"}},
    ),
    "argument-range": Program(
        f"int sink(int); {NOINLINE} static int user(int x) {{ return x < 6 ? sink(x) : sink(2); }}"
        " int other(int y) { return user(y != 0) + 1; }"
        " int body(int y) { return user(y > 4 || y < 0 ? 4 : y) + 2; }",
        {"user": {"range"}},
        assumes=("user",),
    ),
    "argument-range-under-another-name": Program(
        f"int sink(int); {NOINLINE} static int user(int x) {{ return x < 6 ? sink(x) : sink(2); }}"
        ' static int first(int) __attribute__((alias("user")));'
        " int other(int y) { return user(y != 0) + first(y == 7); }"
        " int body(int y) { return user(y > 4 || y < 0 ? 4 : y) + 2; }",
        {"user": {"range"}},
        assumes=("user",),
    ),
    "user-with-another-name": Program(
        "int probe(int); static int body(int x) { return probe(x) + 1; } int middle(int x) { return body(x) + 2; }"
        ' extern int first(int) __attribute__((alias("middle"))); int user(int x) { return middle(x) * 3; }',
        {"middle": {"inline"}, "user": {"inline"}},
    ),
    "argument-bits": Program(
        f"int sink(int); {NOINLINE} static int user(unsigned x) {{ return (x & 3) ? sink(1) : sink(2); }}"
        " int other(unsigned y) { return user(y * 8) + 1; } int body(unsigned y) { return user(y * 4) + 2; }",
        {"user": {"bit-cp"}},
        assumes=("user",),
    ),
    "argument-through-another": Program(
        f"int sink(int); {NOINLINE} static int user(int x) {{ return x < 6 ? sink(x) : sink(2); }}"
        f" {NOINLINE} static int middle(int x) {{ sink(1); return user(x) + 1; }}"
        " int body(int y) { return middle(y != 0) + 2; } int other(int y) { return middle(y == 3) + 2; }",
        {"user": {"range"}},
        assumes=("user",),
    ),
    "argument-from-an-inlined-helper": Program(
        f"int sink(int); {NOINLINE} static int user(int x) {{ return x < 6 ? sink(x) : sink(2); }}"
        " static inline int helper(int x) { return user(x) + 1; }"
        " int body(int y) { return helper(y != 0) + 2; } int other(int y) { return helper(y == 3) + 2; }",
        {"user": {"range", "bit-cp"}},
        assumes=("user",),
    ),
    "noreturn": Program(
        f"void sink(int); int probe(int); {NOINLINE} void body(int x) {{ for (;;) sink(x); }}"
        " int user(int x) { if (x > 3) body(x); return probe(x) + 1; }",
        {"user": {"noreturn"}},
    ),
    "stack-alignment": Program(
        f'{NOINLINE} static int body(int x) {{ __asm__ volatile(""); return x + 1; }}'
        " int user(int x) { return body(x) + 1; }",
        {"user": {"stack-alignment"}},
        alone=True,
    ),
    "reference": Program(
        "extern int input; static int state; void set(int x) { state = x; } int get(void) { return state; }"
        f" int other; {NOINLINE} void body(int x) {{ other = input + x; }}"
        " int user(int x) { int a = state; body(x); return a + state; }",
        {"user": {"reference", "ipa-ra", "modref", "stack-alignment"}},
    ),
    "cold-split": Program(
        "int probe(int); extern void fatal(int) __attribute__((cold, noreturn));"
        " static void body(int x) { if (x > 1000) { probe(x * 3); fatal(x + 1); } }"
        " int user(int x) { body(x); return probe(x) + probe(x + 1); } int other(int x) { return probe(x); }",
        {"user": {"inline"}, "user.cold": {"inline"}},
    ),
    "several-definitions-by-macro": Program(
        "int probe(int); \n#define MAKE(n) static int n(int x) { return probe(x) + 1; }\n"
        "#if 1\nMAKE(body)\n#else\nint body;\n#endif\n#define body(x) (body)(x)\n"
        "int user(int x) { return body(x); }",
        {"user": {"inline"}},
        alone=True,
    ),
    "old-style-definition": Program(
        "int probe(); static int body(x) int x; { return probe(x) + 1; } int user(x) int x; { return body(x); }",
        {"user": {"inline"}},
        flags=("-std=gnu89",),
    ),
    "attributes-of-its-own": Program(
        'int probe(int); static int __attribute__((cold, section(".odd"))) body(int x) { return probe(x) + 1; }'
        " int user(int x) { return body(x) + 1; }",
        {"user": {"inline"}},
    ),
    "clone-name-only": Program(
        f"int probe(int); {NOINLINE} static int body(int x, int unused) {{ return probe(x) + 1; }}"
        " int user(int x, int y) { return body(x, y) + 2; }",
        {"body.constprop.0": {"constprop"}, "body.isra.0": {"isra"}, "user": {"calls-clone", "isra", "constprop"}},
    ),
    "nothing": Program(
        f"int probe(int); {NOINLINE} int body(int x) {{ return probe(x) + 1; }}"
        " int user(int x) { return probe(x); }",
        {},
    ),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for units; klpkit's cache is beside it while the module's tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def answers(cache: Path) -> dict[str, dict[str, Found]]:
    """Every program proven with every compiler; causes are asked of the last."""
    found = {name: answers_of(PROGRAMS, name, cache / name, at_once=8) for name in COMPILERS[:-1]}
    last = COMPILERS[-1]
    return found | {last: answers_of(PROGRAMS, last, cache / last, causes=True, at_once=2)}


@pytest.mark.parametrize("compiler", ["gcc-11", "gcc-12"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_exactly_the_functions_that_rely_on_the_body_are_proven(
    answers: dict[str, dict[str, Found]], name: str, compiler: str
) -> None:
    if compiler not in COMPILERS:
        pytest.skip(f"{compiler} is not installed")
    program, found = PROGRAMS[name], answers[compiler][name]
    assert set(found.causes) <= set(program.expected), found
    assert {name for name in program.expected if "." not in name} <= set(found.causes), found
    for symbol, causes in found.causes.items():
        assert causes or compiler != COMPILERS[-1], f"{symbol} has no cause"
        assert causes <= program.expected[symbol], (symbol, causes)
    assert found.assuming == set(program.assumes)
    assert not found.elsewhere
    assert not found.warnings


UNRECORDED = {
    "pure", "const", "useless-call", "modref", "ipa-ra", "noreturn", "stack-alignment", "reference",
}  # fmt: skip


def test_records_miss_what_only_summaries_carry(answers: dict[str, dict[str, Found]]) -> None:
    missed = {name for name, found in answers[COMPILERS[-1]].items() if found.missed}
    assert missed >= UNRECORDED


def at_level(compiler: str) -> tuple[str, ...]:
    """The flags of the level `inline-clone`."""
    if compiler not in COMPILERS:
        pytest.skip(f"{compiler} is not installed")
    supported = identify((compiler,)).supported
    return tuple(flags_for("gcc", Level.INLINE_CLONE, supported=supported, stage="compile", lto=False))


@pytest.mark.parametrize("compiler", ["gcc-11", "gcc-12"])
def test_at_level_inline_clone_records_show_every_effect(cache: Path, compiler: str) -> None:
    folder = cache / f"{compiler}-levelled"
    levelled = answers_of(PROGRAMS, compiler, folder, flags=at_level(compiler), at_once=8)
    assert {name: found.missed for name, found in levelled.items() if found.missed} == {}
    for name, found in levelled.items():
        sources = {symbol for symbol in found.causes if "." not in symbol}
        assert sources <= set(PROGRAMS[name].expected), (name, found)
        assert not found.assuming, name
    assert not [name for name in UNRECORDED - {"useless-call"} if levelled[name].causes]


VARIABLES = """
int probe(int);
static int never_written, never_read, both, quiet = 4;
int user(void) { return never_written + 1; }
void writer(int x) { never_read = x; probe(x); }
int reader(void) { return both; }
void setter(int x) { both = x; }
int other(int x) { return probe(x); }
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("never_written", {"user": ("read-only-variable",)}),
        ("never_read", {"writer": ("write-only-variable",)}),
        ("both", {}),
        ("quiet", {}),
    ],
)
def test_functions_that_rely_on_a_variable_having_no_reader_or_writer(
    tmp_path: Path, name: str, expected: dict[str, tuple[str, ...]]
) -> None:
    unit = open_unit(unit_of(Program(VARIABLES, {}), tmp_path, COMPILERS[-1]))
    assert {use.symbol: use.causes for use in prove_variable(unit, name)} == expected


@pytest.mark.parametrize("compiler", ["gcc-11", "gcc-12"])
def test_what_stays_at_level_inline_clone_is_named_by_the_audit(tmp_path: Path, compiler: str) -> None:
    words = unit_of(Program(VARIABLES, {}), tmp_path, compiler, at_level(compiler))
    state = flag_state(identify((compiler,)), words.arguments, "c", tmp_path)
    named = {row.cause for row in passes_on(state) if row.affects == "code" and not row.recorded}
    unit = open_unit(words)
    uses = [use for name in ("never_written", "never_read") for use in prove_variable(unit, name)]
    assert {cause for use in uses for cause in use.causes} <= named
    assert named <= {"address-taken", "read-only-variable"}
