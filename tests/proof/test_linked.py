"""Units compiled with `-flto`: effects between them, by doing the link again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_causes import found_in

from klpkit.build.command import TranslationUnit
from klpkit.cli.main import cli
from klpkit.errors import RefusedError, UserError
from klpkit.programs import run
from klpkit.proof import Answer, together
from klpkit.proof.decisions import Decisions, difference, joined
from klpkit.proof.linkcommand import read_link
from klpkit.proof.linked import LinkedUnit, open_program
from klpkit.proof.linkers import _kept, _reassembled

pytestmark = pytest.mark.compilers

FILES = {
    "h.h": "#define NOINLINE __attribute__((noinline))\nint probe(int);\n"
    "static NOINLINE int shared(int x) { return probe(x * 7) + 5; }\n",
    "a.c": '#include "h.h"\nint narrow(int);\nextern int state;\n'
    "static NOINLINE int helper(int x) { return probe(x) + 1; }\n"
    "int body(int x) { return probe(x) + 3; }\n"
    "NOINLINE int summary(int x) { return x * x + state; }\n"
    "NOINLINE int caller(int y) { return narrow(y != 0) + 1; }\n"
    "NOINLINE int local(int x) { return helper(x) + shared(x) + 2; }\n",
    "b.c": '#include "h.h"\nint body(int), summary(int), local(int), caller(int);\nint state;\n'
    "static NOINLINE int helper(int x) { return probe(x) + 77; }\n"
    "NOINLINE int narrow(int x) { return x < 6 ? probe(x) : probe(2); }\n"
    "NOINLINE int user(int x) { return body(x) * 2; }\n"
    "NOINLINE int second(int x) { int a = state; int y = summary(x); return a + y + state; }\n"
    "NOINLINE int third(int x) { return helper(x) + shared(x); }\n"
    "NOINLINE int other(int x) { state = x; return narrow(x == 3); }\n"
    "int (*volatile table[])(int) = { user, second, third, other, local, caller };\n"
    "int main(int c, char **v) { return table[c](c); }\n",
    "c.c": 'int probe(int x) { __asm__ volatile(""); return x; }\n',
}
NOTHING: dict[str, set[str]] = {}


@dataclass(frozen=True)
class Setting:
    """A compiler and the flags of its units and link; `expected` are the impacted functions of a function."""

    compiler: str
    flags: tuple[str, ...]
    expected: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    assumed: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        return " ".join((self.compiler, *self.flags))


STACK = {"stack-alignment", "ipa-ra", "unknown"}
WHOLE = {
    "body": {"user": {"inline"}},
    "summary": {"second": {"stack-alignment", "pure-const", "ipa-ra", "modref", "reference", "unknown"}},
    "a.c:helper": NOTHING,
    "b.c:helper": NOTHING,
    "caller": {"narrow": {"range", "bit-cp", "unknown"}},
}
# `narrow` is impacted, and `other` relies on its body: the stack, or registers, where one run makes both.
TOGETHER = {**WHOLE, "caller": {**WHOLE["caller"], "other": STACK}}
THIN = {**WHOLE, "summary": NOTHING, "caller": NOTHING}
# Compilers that need no second look at everything.
BETWEEN = {name: WHOLE[name] for name in ("body", "summary")}
BETWEEN_THIN = {name: THIN[name] for name in ("body", "summary")}
NARROW = frozenset({"narrow"})
SETTINGS = [
    Setting("gcc-11", ("-flto",), BETWEEN),
    Setting("gcc-12", ("-flto",), TOGETHER, NARROW),
    Setting("gcc-12", ("-flto", "-flto-partition=1to1"), TOGETHER, NARROW),
    Setting("clang-16", ("-flto",), BETWEEN),
    Setting("clang-16", ("-flto=thin",), BETWEEN_THIN),
    Setting("clang-19", ("-flto",), WHOLE, NARROW),
    Setting("clang-19", ("-flto=thin",), THIN),
]
WITH_CAUSES = {("gcc-12 -flto", "body"), ("gcc-12 -flto", "summary")}


def project(folder: Path, setting: Setting) -> tuple[dict[str, TranslationUnit], str]:
    """The units of the program in `folder`, and its link command; only the object without LTO is there."""
    folder.mkdir(exist_ok=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    run([setting.compiler, "-O2", "-c", "-o", "c.o", "c.c"], cwd=folder)
    units = {}
    for name in ("a", "b"):
        words = ("-O2", *setting.flags, "-c", "-o", f"{name}.o", f"{name}.c")
        source = folder / f"{name}.c"
        units[f"{name}.c"] = TranslationUnit(folder / f"{name}.o", source, folder, (setting.compiler,), words)
    lld = " -fuse-ld=lld" if setting.compiler.startswith("clang") else ""
    return units, f"{setting.compiler} -O2 {' '.join(setting.flags)}{lld} a.o b.o c.o -o program"


def program(folder: Path, setting: Setting) -> LinkedUnit:
    units, command = project(folder, setting)
    return open_program(units, read_link(command, folder))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Answer]]:
    """Every question to every program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        found = {}
        for number, setting in enumerate(SETTINGS):
            if shutil.which(setting.compiler):
                opened = program(tmp_path_factory.mktemp("programs") / str(number), setting)
                for name in setting.expected:
                    causes = (setting.key, name) in WITH_CAUSES
                    found[setting.key, name] = together(opened, [name], jobs=1, causes=causes)
        yield found


CASES = [
    pytest.param(setting, name, id=f"{setting.key} {name}") for setting in SETTINGS for name in setting.expected
]


@pytest.mark.parametrize(("setting", "name"), CASES)
def test_exactly_the_functions_of_the_program_that_rely_on_the_body_are_proven(
    answers: dict[tuple[str, str], Answer], setting: Setting, name: str
) -> None:
    if not shutil.which(setting.compiler):
        pytest.skip(f"{setting.compiler} is not installed")
    answer, expected = answers[setting.key, name], setting.expected[name]
    found = found_in(answer)
    assert set(found) == set(expected), found
    for symbol, causes in found.items():
        assert causes <= expected[symbol], (symbol, causes)
        assert causes or (setting.key, name) not in WITH_CAUSES
    assert set(answer.not_callable) == (setting.assumed if name == "caller" else set())
    assert not answer.undecided
    assert not answer.warnings


@pytest.mark.skipif(shutil.which("gcc-12") is None, reason="gcc-12 is not installed")
def test_a_header_s_function_that_several_units_have_is_one_of_each(tmp_path: Path) -> None:
    opened = program(tmp_path / "p", SETTINGS[1])
    with pytest.raises(UserError, match=r"shared is 2 functions: a\.c:shared, b\.c:shared"):
        opened.function("shared")
    answer = together(opened, ["a.c:shared"], jobs=1, causes=False)
    # Both copies are one in the program, and the other's caller relies on that.
    assert {name for name in found_in(answer) if "shared" not in name} == {"third"}
    assert opened.own_functions()[:2] == ["a.c:helper", "body"]


@pytest.mark.skipif(shutil.which("gcc-12") is None, reason="gcc-12 is not installed")
def test_a_link_without_lto_and_one_of_other_objects_are_refused(tmp_path: Path) -> None:
    units, command = project(tmp_path / "p", Setting("gcc-12", ()))
    with pytest.raises(RefusedError, match=r"the link made no code.*\[proof-lto\]"):
        _ = open_program(units, read_link(command, tmp_path / "p")).baseline
    with pytest.raises(UserError, match="names no object"):
        open_program(units, read_link("gcc-12 -flto z.o -o program", tmp_path / "p"))


@pytest.mark.skipif(shutil.which("gcc-12") is None, reason="gcc-12 is not installed")
def test_cxx_units_are_refused(tmp_path: Path) -> None:
    unit = TranslationUnit(tmp_path / "a.o", tmp_path / "a.cc", tmp_path, ("g++-12",), ("-c", "-o", "a.o", "a.cc"))
    with pytest.raises(RefusedError, match=r"a\.cc is not C.*\[proof-lto\]"):
        open_program({"a.cc": unit}, read_link("g++-12 -flto a.o -o program", tmp_path))


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("", "no command"),
        ("gcc-12 -flto a.o b.o", "no link command"),
        ("gcc-12 -c a.c -o a.o", "no link command"),
        ("gcc-12 @objects -o program", "from a file"),
        ("gcc-12 a.o -o program && strip program", "not a plain link command"),
    ],
)
def test_commands_that_are_no_plain_link_are_refused(tmp_path: Path, command: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_link(command, tmp_path)


def test_a_link_command_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "link").write_text("gcc-12 -flto a.o -Wl,-Map=map -o program\n")
    found = read_link("link", tmp_path)
    assert found.compiler == ("gcc-12",)
    assert tmp_path / "a.o" in found.inputs


def test_functions_made_with_others_than_before_are_a_different_decision() -> None:
    parts = [
        {"f": frozenset({"f", "g"}), "g": frozenset({"f", "g"})},
        {"f": frozenset({"f"}), "g": frozenset({"g"})},
    ]
    first, second = (joined([], partitions) for partitions in parts)
    assert difference(first, second, "body").places == {"f", "g"}
    assert difference(first, second, "g").places == {"g"}
    assert not difference(first, first, "body").places


def test_decisions_of_several_runs_are_followed_through() -> None:
    runs = [Decisions(joined([]).inlined, joined([]).clones, frozenset()) for _ in range(2)]
    runs[0].inlined["body", "middle"] += 1
    runs[1].inlined["middle", "user"] += 1
    assert joined(runs).holders("body") == {"middle", "user"}
    assert joined(runs).renamed({"user": "a.c:user"}).holders("body") == {"middle", "a.c:user"}


def test_kept_functions_join_those_that_are_used_already() -> None:
    text = 'define weak i32 @f() {\n}\n@llvm.used = appending global [1 x ptr] [ptr @g], section "llvm.metadata"\n'
    assert "[2 x ptr] [ptr @f, ptr @g], section" in _kept(text, ["f"])
    assert _kept('define weak i32 @"a.c:f"() {\n}\n', ["a.c:f"]).endswith(
        '@llvm.used = appending global [1 x ptr] [ptr @"a.c:f"], section "llvm.metadata"\n'
    )


@pytest.mark.skipif(shutil.which("gcc-12") is None, reason="gcc-12 is not installed")
def test_names_that_partitions_share_stay_local(tmp_path: Path) -> None:
    sources = []
    for name in ("one", "two"):
        sources.append(tmp_path / f"{name}.s")
        sources[-1].write_text(
            f"\t.type\tf, @function\nf:\n\tret\n\t.type\t{name}, @function\n{name}:\n\tcall f\n"
        )
    made = _reassembled(read_link("gcc-12 -o program a.o", tmp_path), sources)
    names = run(["nm", *map(str, made)]).stdout.decode()
    assert names.count(" t f") == 2
    assert " T one" in names


@pytest.mark.skipif(shutil.which("gcc-12") is None, reason="gcc-12 is not installed")
def test_the_command_line_takes_the_link_and_leaves_the_tree_alone(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    units, command = project(folder, SETTINGS[1])
    rows = [
        {"directory": str(folder), "file": name, "arguments": [*unit.compiler, *unit.arguments]}
        for name, unit in units.items()
    ]
    (folder / "compile_commands.json").write_text(json.dumps(rows))
    before = sorted(path.name for path in folder.iterdir())
    words = ["impact", "--prove", "body", "--no-causes", "--build", str(folder / "compile_commands.json")]
    result = CliRunner().invoke(cli, [*words, "--link", command])
    assert result.exit_code == 0, result.output
    assert "user" in result.output
    assert sorted(path.name for path in folder.iterdir()) == before
    refused = CliRunner().invoke(cli, words)
    assert refused.exit_code != 0
    assert "--link" in refused.output + str(refused.exception)
