"""Small C++ programs, one for every way in which code comes to rely on another body: exactly these functions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from test_causes import NOINLINE, Program, found_in, unit_of

from klpkit.errors import UserError
from klpkit.proof import Answer, open_unit, together
from klpkit.proof.model import Method
from klpkit.proof.unit import ProofUnit

pytestmark = pytest.mark.compilers

ALL = ("g++-11", "g++-12", "clang++-16", "clang++-19")
COMPILERS = [name for name in ALL if shutil.which(name)]
WITH_CAUSES = {"g++-12", "clang++-19"}
EXPLAINED = ("nothrow", "devirtualisation", "constexpr")
SUMMARIES = {"pure-const", "reference", "modref", "ipa-ra", "stack-alignment", "unknown"}
MAKES = """
struct Base { virtual int act(int x); };
struct Derived : Base { Derived(int x); int act(int x) override; int a; };
extern "C" int probe(int);
"""


def cxx(source: str, expected: dict[str, set[str]], seed: str = "body", **more: tuple[str, ...]) -> Program:
    return Program(source, expected, seed=seed, language="c++", **more)


PROGRAMS = {
    # The code of `quiet` is the same to the last byte: only its exception table tells that `body` may throw.
    "nothrow": cxx(
        'extern "C" int probe(int) noexcept; struct Guard { ~Guard(); };'
        f" {NOINLINE} static int body(int x) {{ return probe(x) + 1; }}"
        " int quiet(int x) noexcept { return body(x) + 2; } int user(int x) { Guard g; return body(x) + 2; }"
        " int other(int x) { Guard g; return probe(x); }",
        {"quiet(int)": {"nothrow"}, "user(int)": {"nothrow"}},
    ),
    "declared-noexcept": cxx(
        'extern "C" int probe(int); struct Guard { ~Guard(); };'
        f" {NOINLINE} int body(int x) noexcept {{ return probe(x) + 1; }}"
        " int user(int x) { Guard g; return body(x) + 2; } int other(int x) noexcept { return body(x) + 3; }",
        {},
    ),
    "devirtualisation-by-a-constructor": cxx(
        MAKES + "inline Derived::Derived(int x) : a(x) {} Base *shared;"
        " int user(int x) { Base *b = new Derived(x); shared = b; return b->act(x); }"
        " int other(Base *b, int x) { return b->act(x); }",
        {"user(int)": {"inline"}},
        seed="Derived::Derived",
    ),
    "devirtualisation-over-a-call": cxx(
        "struct Base { virtual int act(int x); }; struct Derived : Base { int act(int x) override; };"
        f" Base *shared; int state; {NOINLINE} int body(int x) {{ return x * x + state; }}"
        " int user(int x) { Base *b = new Derived; shared = b; int y = body(x); return b->act(y); }"
        " int other(Base *b, int x) { return b->act(x); }",
        {"user(int)": SUMMARIES},
    ),
    "member-of-a-namespace": cxx(
        'extern "C" int probe(int); namespace ns { struct S { int body(int x) const { return probe(x) + 1; } };'
        " int body(long x) { return probe(x) + 2; } } int user(const ns::S &s) { return s.body(3); }"
        " int other(int x) { return ns::body(4L); }",
        {"user(ns::S const&)": {"inline"}},
        seed="ns::S::body",
    ),
    "one-overload": cxx(
        'extern "C" int probe(int); static int body(int x) { return probe(x) + 1; }'
        " static int body(long x) { return probe(x) + 2; } int user(int x) { return body(x); }"
        " int other(long x) { return body(x); }",
        {"user(int)": {"inline"}},
        seed="body(int)",
    ),
    "all-instances-of-a-template": cxx(
        f'extern "C" int probe(int); template<class T> {NOINLINE} static T body(T x) {{ return probe(x) + 1; }}'
        " int user(int x) { return body(x) + body<char>(x); } int other(int x) { return probe(x); }",
        {"char body<char>(char)": {"same-text"}},
        seed="body<int>",
    ),
    "constexpr-where-a-call-would-do": cxx(
        'extern "C" int probe(int); constexpr int body(int x) { return x * 3; }'
        " int user() { return probe(body(4)); } int other(int x) { return probe(x); }"
        " int last(int x) { return body(x); }",
        {"user()": {"inline", "unknown"}, "last(int)": {"inline", "unknown"}},
    ),
    "operator": cxx(
        'extern "C" int probe(int); struct S { int operator()(int x) { return probe(x) + 1; }'
        " explicit operator int() { return probe(9); } }; int user(S &s) { return s(2); }"
        " int other(S &s) { return (int) s; }",
        {"user(S&)": {"inline"}},
        seed="S::operator()",
    ),
    "virtual-and-final": cxx(
        'extern "C" int probe(int); struct S final { virtual int body(int x) { return probe(x) + 1; } };'
        " int user(S *s) { return s->body(3); } int other(int x) { return probe(x); }",
        {"user(S*)": {"inline"}},
        seed="S::body",
    ),
}
GCC_ONLY = {
    "lambda": cxx(
        'extern "C" int probe(int); int user(int x) { auto f = [x](int y) { return probe(x + y); }; return f(3); }'
        " int other(int x) { return probe(x); }",
        {"user(int)": {"inline"}},
        seed="user(int)::{lambda(int)#1}::operator()",
    )
}
CASES = [(name, compiler) for name in PROGRAMS for compiler in ALL]
CASES += [(name, compiler) for name in GCC_ONLY for compiler in ALL if compiler.startswith("g++")]


def explained(name: str, compiler: str) -> bool:
    """Whether causes are asked for, which takes many compilations."""
    return compiler in WITH_CAUSES and name.startswith(EXPLAINED)


def titled(unit: ProofUnit, answer: Answer) -> dict[str, set[str]]:
    """What was found, under the names in C++; a cold part counts as its function."""
    found: dict[str, set[str]] = {}
    for symbol, causes in found_in(answer).items():
        name = symbol.partition(".")[0]
        title = unit.functions[name].title if name in unit.functions else name
        found.setdefault(title, set()).update(causes)
    return found


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], tuple[ProofUnit, Answer]]]:
    """Every program proven with every compiler, side by side."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("programs")

        def answer(key: tuple[str, str]) -> tuple[ProofUnit, Answer]:
            name, compiler = key
            place = folder / f"{name}-{compiler}"
            place.mkdir()
            program = {**PROGRAMS, **GCC_ONLY}[name]
            unit = open_unit(unit_of(program, place, compiler))
            return unit, together(unit, [program.seed], jobs=1, causes=explained(name, compiler))

        keys = [key for key in CASES if key[1] in COMPILERS]
        with ThreadPoolExecutor(4) as pool:
            yield dict(zip(keys, pool.map(answer, keys), strict=True))


@pytest.mark.parametrize(("name", "compiler"), CASES)
def test_exactly_the_functions_that_rely_on_the_body_are_proven_in_cxx(
    answers: dict[tuple[str, str], tuple[ProofUnit, Answer]], name: str, compiler: str
) -> None:
    if compiler not in COMPILERS:
        pytest.skip(f"{compiler} is not installed")
    program = {**PROGRAMS, **GCC_ONLY}[name]
    if name.startswith("constexpr") and compiler.startswith("clang"):
        pytest.skip("Clang's IR has nothing of calls that were computed: undecided, in a test below")
    unit, answer = answers[name, compiler]
    found = titled(unit, answer)
    assert set(found) == set(program.expected), found
    for title, causes in found.items():
        assert causes or not explained(name, compiler), f"{title} has no cause"
        assert causes <= program.expected[title], (title, causes)
    assert not answer.undecided
    assert not answer.warnings


LOCAL_CLASSES = cxx(
    'extern "C" int probe(int); namespace { struct Base { virtual int act(int x) { return probe(x); } };'
    " struct Derived : Base { int act(int x) override { return probe(x) + 2; } }; }"
    f' extern "C" {NOINLINE} void *body(int x) {{ return new Base; }}'
    " int user(int x) { return static_cast<Base *>(body(x))->act(x); } int other(int x) { return probe(x); }",
    {"user(int)": {"devirtualisation"}},
)


@pytest.mark.parametrize("compiler", ALL)
def test_who_takes_for_granted_which_classes_are_made_is_named(tmp_path: Path, compiler: str) -> None:
    if compiler not in COMPILERS:
        pytest.skip(f"{compiler} is not installed")
    unit = open_unit(unit_of(LOCAL_CLASSES, tmp_path, compiler))
    answer = together(unit, ["body"], jobs=1, causes=False)
    expected = LOCAL_CLASSES.expected if compiler.startswith("g++") else {}
    assert titled(unit, answer) == expected
    assert {item.symbol for item in answer.undecided} == ({"_Z4useri"} if expected else set())


CONSTANT = cxx(
    "constexpr int body(int x) { return x + 1; } constexpr int through(int x) { return body(x) * 2; }"
    ' extern "C" int probe(int); int user() { constexpr int k = through(3); return probe(k); }'
    " int other(int x) { return probe(body(x)); }",
    {},
)


@pytest.mark.parametrize("compiler", ALL)
def test_a_constant_that_may_be_anywhere_makes_everything_undecided(tmp_path: Path, compiler: str) -> None:
    if compiler not in COMPILERS:
        pytest.skip(f"{compiler} is not installed")
    answer = together(open_unit(unit_of(CONSTANT, tmp_path, compiler)), ["body"], jobs=1, causes=False)
    assert {item.symbol for item in answer.undecided} >= {"_Z4userv", "_Z5otheri"}
    assert "constexpr" in answer.warnings[0]


@pytest.mark.skipif("g++-12" not in COMPILERS, reason="g++-12 is not installed")
def test_what_the_compiler_makes_itself_is_undecided_with_the_reason(tmp_path: Path) -> None:
    source = (
        'extern "C" int probe(int); struct A { ~A() { probe(1); } }; struct B { A a; };'
        " int user() { B b; return probe(2); }"
    )
    unit = open_unit(unit_of(cxx(source, {}), tmp_path, "g++-12"))
    answer = together(unit, ["B::~B"], jobs=1, causes=False)
    assert answer.proofs[0].method is not Method.HIDDEN
    assert "_Z4userv" in {item.symbol for item in answer.impacted}


@pytest.mark.skipif("g++-12" not in COMPILERS, reason="g++-12 is not installed")
def test_functions_go_by_symbol_or_by_as_much_of_the_name_as_tells_them_apart(tmp_path: Path) -> None:
    program = replace(PROGRAMS["member-of-a-namespace"], flags=("-O0",))
    unit = open_unit(unit_of(program, tmp_path, "g++-12"))
    symbol = "_ZNK2ns1S4bodyEi"
    for name in (symbol, "ns::S::body", "ns::S::body(int) const", "S::body"):
        if name == "S::body":
            assert not unit.defines(name)
        else:
            assert unit.function(name).name == symbol
    with pytest.raises(UserError, match=r"body is 2 functions: .*ns::body\(long\)"):
        unit.function("body")
    assert unit.function(symbol).file.endswith("program.cc")
    assert unit.function(symbol).line == 1
