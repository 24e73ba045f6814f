"""Functions that change only because others are then inlined differently are told from those that need a body."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from klpkit.build.command import TranslationUnit
from klpkit.programs import Completed, ProgramFailedError
from klpkit.proof import Proof, Verdict, open_unit, prove
from klpkit.proof.decisions import Decisions, difference, read_decisions, source_name
from klpkit.proof.hiders import HIDERS
from klpkit.proof.text import source_functions
from klpkit.proof.unit import ProofUnit

needs_gcc = pytest.mark.skipif(shutil.which("gcc-12") is None, reason="gcc-12 is not installed")

CALLS = " ".join(f"t += probe(x * {n}) ^ probe(t + {n});" for n in range(2, 14))
# `body` goes into `middle`, which is then too large to go into others.
GROWING = """
int probe(int);
static inline int body(int x) { int t = x; t += probe(x * 2) ^ probe(t + 2); return t; }
static INLINE int middle(int x) { int t = body(x); t += probe(x * 20) ^ probe(t + 20); return t; }
int zero(int x) { return body(x) + 9; }
int one(int x) { return middle(x) + 1; }
int two(int x) { return middle(x) + 2; }
int three(int x) { return middle(x) * 3; }
int four(int x) { return probe(x); }
"""
GROWING_INLINE = """
int probe(int);
static inline __attribute__((__gnu_inline__)) int body(int x) { int t = x; BODY return t; }
static inline __attribute__((__gnu_inline__)) int middle(int x) { int t = body(x); MIDDLE return t; }
int zero(int x) { return body(x) + 9; }
int one(int x) { return middle(x) + 1; }
int two(int x) { return middle(x) + 2; }
int three(int x) { return middle(x) * 3; }
int four(int x) { return probe(x); }
""".replace("BODY", CALLS[: CALLS.index("t += probe(x * 5)")]).replace(
    "MIDDLE", " ".join(f"t += probe(x * {n}) ^ probe(t + {n});" for n in range(20, 25))
)


def proven(folder: Path, source: str, name: str) -> Proof:
    path = folder / "program.c"
    path.write_text(source)
    words = ("-O2", "-c", "-o", "program.o", str(path))
    return prove(open_unit(TranslationUnit(folder / "program.o", path, folder, ("gcc-12",), words)), name)


@needs_gcc
@pytest.mark.parametrize("source", [GROWING.replace("INLINE", ""), GROWING_INLINE])
def test_a_caller_that_gets_smaller_and_is_inlined_affects_nobody_else(tmp_path: Path, source: str) -> None:
    proof = proven(tmp_path, source, "body")
    assert {use.symbol: use.verdict for use in proof.uses} == {
        "middle": Verdict.PROVEN,
        "zero": Verdict.PROVEN,
        "one": Verdict.KNOCK_ON,
        "two": Verdict.KNOCK_ON,
        "three": Verdict.KNOCK_ON,
    }
    assert proof.compilations == 2


@needs_gcc
def test_a_function_that_goes_into_the_hidden_one_is_not_impacted(tmp_path: Path) -> None:
    source = f"""
int probe(int);
static int helper(int x) {{ int t = x; {CALLS} return t; }}
static int body(int x) {{ return helper(x) + 7; }}
int one(int x) {{ return body(x) + 1; }}
int two(int x) {{ return body(x) + 2; }}
"""
    verdicts = {use.symbol: use.verdict for use in proven(tmp_path, source, "body").uses}
    assert verdicts == {"one": Verdict.PROVEN, "two": Verdict.PROVEN, "helper": Verdict.KNOCK_ON}


@needs_gcc
def test_a_body_that_cannot_be_hidden_is_undecided_and_counts_as_impact(tmp_path: Path) -> None:
    source = """
extern int probe(int);
static int body(int x) { __asm__("" :: "i"(x)); return probe(x); }
int user(void) { return body(3); }
"""
    proof = proven(tmp_path, source, "body")
    assert {use.symbol for use in proof.impacted} == {"user"}
    assert "asm" in proof.reason


def decisions(*pairs: tuple[str, str], clones: tuple[tuple[str, str], ...] = ()) -> Decisions:
    return Decisions(Counter(pairs), Counter(clones), frozenset(name for pair in pairs for name in pair))


def test_what_the_hidden_body_brought_along_is_no_different_decision() -> None:
    first = decisions(("helper", "body"), ("body", "user"), ("helper", "user"))
    second = decisions(("helper", "body"))
    found = difference(first, second, "body")
    assert not found.places
    assert not found.swallowed


def test_new_inlining_new_clones_and_what_was_swallowed_are_different_decisions() -> None:
    first = decisions(("body", "user"))
    second = decisions(("user", "other"), ("helper", "body"), clones=(("other", "isra"),))
    found = difference(first, second, "body")
    assert found.more == {("user", "other")}
    assert found.cloned == {"other"}
    assert found.swallowed == {"helper"}


@pytest.mark.parametrize(
    ("symbol", "name"),
    [("f", "f"), ("f.isra.0", "f"), ("f.part.0.constprop.3.cold", "f"), ("__pfx_f.isra.0", "f"), ("f.cold", "f")],
)
def test_the_source_name_of_a_symbol(symbol: str, name: str) -> None:
    assert source_name(symbol) == name


def test_functions_of_preprocessed_text_keep_their_place_and_attributes() -> None:
    text = (
        '# 1 "a.c"\n# 3 "h.h" 1\nstatic inline __attribute__((always_inline)) int f(int x) { return x; }\n'
        '# 2 "a.c" 2\n\nstatic int g(int);\nint h(int x) { return g(f(x)); }\nstatic int g(int x) { return x; }\n'
        'int again(int) __attribute__((alias("h")));\nint named(int) __asm__("other");\n'
        "int named(int x) { return x; }\n"
        'long __plain(const struct s *p) __attribute__((__alias__("__named"))); long __named(const struct s *p);\n'
        "long __named(const struct s *p) { return 1; }\n"
        "static int last(int x) { return x; }\n"
        'int at(void) { extern int block(int) __attribute__((alias("last"))); return block(1); }\n'
    )
    found = source_functions(text)
    assert (found["f"].file, found["f"].line, found["f"].static, found["f"].always_inline) == (
        "h.h",
        3,
        True,
        True,
    )
    assert (found["h"].file, found["h"].line, found["h"].static) == ("a.c", 4, False)
    assert found["h"].mentions == ("f", "g")
    assert found["h"].aliases == ("again",)
    assert found["g"].static
    assert found["named"].symbol == "other"
    assert found["__named"].aliases == ("__plain",)
    assert "alias" in found["last"].unhidable
    assert not found["h"].unhidable


def test_pins_are_redeclarations_behind_the_text() -> None:
    text = HIDERS["gcc", "c"].hidden(
        "static inline __attribute__((__gnu_inline__)) int f(int);", ["f"], {"g": "noinline"}
    )
    assert text.splitlines()[0] == "static inline int f(int);"
    assert text.splitlines()[-2:] == [
        "extern __typeof__(f) f __attribute__((noipa));",
        "extern __typeof__(g) g __attribute__((noinline));",
    ]


def test_a_body_inlined_later_is_not_in_earlier_copies(tmp_path: Path) -> None:
    node = "{0};{1};a.c;1;1".format
    rows = [("middle", "user"), ("body", "middle"), ("other", "body"), ("body", "last")]
    numbers = {name: number for number, name in enumerate(sorted({name for row in rows for name in row}))}
    dump = tmp_path / "a.c.000i.ipa-clones"
    lines = (f"Callgraph clone;{node(a, numbers[a])};{node(b, numbers[b])};inlining to\n" for a, b in rows)
    dump.write_text("".join(lines))
    found = read_decisions(dump)
    assert found.holders("body") == {"middle", "last"}
    assert found.holders("other") == {"body", "last"}


@needs_gcc
@pytest.mark.parametrize(
    ("status", "stderr"),
    [
        (-9, b""),
        (1, b"gcc: fatal error: Killed signal terminated program cc1\n"),
        (4, b"internal compiler error: x"),
    ],
)
def test_a_compiler_that_dies_has_not_answered_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, stderr: bytes
) -> None:
    path = tmp_path / "program.c"
    path.write_text(GROWING.replace("INLINE", ""))
    words = ("-O2", "-c", "-o", "program.o", str(path))
    unit = open_unit(TranslationUnit(tmp_path / "program.o", path, tmp_path, ("gcc-12",), words))

    def dies(*_: object, **__: object) -> None:
        raise ProgramFailedError(Completed(("gcc-12",), status, b"", stderr), "died")

    _ = unit.baseline
    monkeypatch.setattr(ProofUnit, "hiding", dies)
    with pytest.raises(ProgramFailedError):
        prove(unit, "body")
    assert unit.load("body") is None
