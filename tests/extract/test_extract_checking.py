"""Drafts held against the code of a module that stands for the running kernel."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from klpkit.build.command import TranslationUnit
from klpkit.build.replays import replay
from klpkit.elf import ElfFile
from klpkit.extract.checking import Checked, Checker, Sameness, alone
from klpkit.extract.making import UnitReader
from klpkit.extract.unitsource import UnitSource
from klpkit.target.module import Module

SOURCE = """\
int outside(int), other(int);
static int state = 7;
__attribute__((noinline)) static int helper(int a) { return outside(a) + state++; }
__attribute__((noinline)) static int pure(int a) { return a * a + 1; }
static inline int small(int a) { return a > LIMIT ? other(a) : a; }
int target(int a)
{
    static int calls;

    return helper(a) + small(a) + ++calls;
}
__attribute__((noinline)) static int quiet(int a) { return other(a + 1) * 3; }
int knowing(int *p) { int x = pure(*p + 1); return *p + x; }
int unaliased(int *p) { int x = state; *p = 1; return x + state; }
int loud(int a) { return quiet(a) + outside(a); }
int gone(int a) { return small(a); }
#define MARK(name) static int __attribute__((section(".data.once"), unused)) name
#define once() ({ MARK(__said); int before = __said; __said = 1; !before; })
#define two(a) ({ MARK(__x); MARK(__y); outside(a + __x++) + other(__y++); })
#define same(a) ({ MARK(__x); MARK(__y); outside(a - __x++) + other(__x++); })
int noisy(int a) { return (once() ? outside(a) : 0) + (once() ? other(a) : 0); }
int rare(int a) { return once() ? other(a) * 2 : a; }
int seldom(int a) { return (once() ? outside(a) * 3 : a) + two(a); }
int twice(int a) { return same(a); }
int says(const char *);
int first_said(int a) { return says(__func__) + a; }
int then_said(int a) { return says(__func__) - a; }
/* Where
   things are. */
int lined(int a)
{
    static int times;
#ifdef CONFIG_NONE
    a = says("nothing of this");
#endif
    return other(__LINE__) + a + times++ + says(__FILE__) +
#ifdef CONFIG_NONE
        12 +
#endif
        __LINE__;
}
"""
FLAGS = (
    "-O2",
    "-fcf-protection=branch",
    "-fno-pic",
    "-mcmodel=kernel",
    "-DLIMIT=3",
    "-c",
    "-o",
    "unit.o",
    "unit.c",
)


class Everything:
    """A kernel that has every symbol of the unit and of others."""

    def exporter(self, name: str) -> str | None:
        return None

    def find(self, name: str) -> tuple[str, str, int]:
        return "toy", name, 0


class Toy:
    """A module made from `SOURCE`, and its unit to make drafts of."""

    def __init__(self, folder: Path) -> None:
        source = folder / "unit.c"
        source.write_text(SOURCE)
        self.folder = folder
        self.unit = TranslationUnit(folder / "unit.o", source, folder, ("gcc",), FLAGS)
        self.original = replay(self.unit, workdir=folder / "original").object
        module = folder / "toy.ko"
        subprocess.run(["ld", "-r", "-o", module, self.original], check=True)
        self.target: Any = SimpleNamespace(object=lambda _: Module.read(module))

    def check(
        self, *functions: str, change: tuple[str, str] = ("", ""), by_itself: bool = False
    ) -> dict[str, Checked]:
        """The comparison of a draft that was made after a slip: text of the source exchanged."""
        if change[0]:
            assert change[0] in SOURCE
            self.unit.source.write_text(SOURCE.replace(*change))
        reader = UnitReader(UnitSource(self.unit), self.original, Everything(), home="toy")
        work = self.folder / "work"
        work.mkdir()
        draft = reader.draft(functions, work)
        found = Checker(self.target).check(draft, self.original, narrowed={"takes"})
        if by_itself:
            self.unit.source.write_text(SOURCE)
            found = alone(
                found, draft, reader.alone(draft), reader.original_alone(self.folder / "alone", keys_as_data=False)
            )
        return {each.function: each for each in found}


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


def test_a_draft_compiles_to_the_code_of_the_kernel(toy: Toy) -> None:
    found = toy.check("target", "loud", "gone")
    assert {name: each.sentence for name, each in found.items()} == dict.fromkeys(
        ("target", "loud", "gone"), "code as in the kernel"
    )


def test_a_landing_pad_that_static_functions_lack_is_no_difference(toy: Toy) -> None:
    found = toy.check("quiet")
    assert found["quiet"].sameness is Sameness.EQUAL


@pytest.mark.parametrize(
    "change",
    [
        ("a > LIMIT", "a >= LIMIT"),
        ("helper(a) + small(a)", "helper(a) - small(a)"),
        ("? other(a)", "? outside(a)"),
        ("+ ++calls", "+ ++state"),
    ],
)
def test_a_slip_of_the_extraction_shows(toy: Toy, change: tuple[str, str]) -> None:
    found = toy.check("target", change=change)
    assert found["target"].sameness is Sameness.DIFFERS
    assert "code differs at +0x" in found["target"].sentence


def test_what_only_the_kernel_s_compiler_saw_is_named(toy: Toy) -> None:
    found = toy.check("knowing")["knowing"]
    assert found.sameness is Sameness.DIFFERS
    assert found.known == ("pure",)
    assert "that can be since the kernel's compiler saw all there is of pure" in found.sentence


def test_a_variable_that_only_the_kernel_s_compiler_knew_whole_is_named(toy: Toy) -> None:
    found = toy.check("unaliased", by_itself=True)["unaliased"]
    assert (found.sameness, found.known) == (Sameness.DIFFERS, ("state",))


def test_what_macros_make_once_a_use_may_lie_elsewhere(toy: Toy) -> None:
    """The unit has the marks of `rare` between those of the others, the draft does not."""
    found = toy.check("noisy", "seldom", "twice")
    assert {each.sentence for each in found.values()} == {"code as in the kernel"}


@pytest.mark.parametrize(
    ("function", "change"),
    [
        ("noisy", ("int before = __said; __said = 1", "int before = __said; __said = 2")),
        ("noisy", ("MARK(__said);", "MARK(__said) = 5;")),
        ("seldom", ("other(__y++)", "other(__x++)")),
        ("twice", ("other(__x++)", "other(__y++)")),
    ],
)
def test_a_slip_with_what_macros_make_once_a_use_shows(toy: Toy, function: str, change: tuple[str, str]) -> None:
    assert toy.check("noisy", "seldom", "twice", change=change)[function].sameness is Sameness.DIFFERS


@pytest.mark.parametrize("function", ["first_said", "then_said"])
def test_a_constant_that_the_compiler_numbers_is_known_by_its_content(toy: Toy, function: str) -> None:
    # Alone in the draft, it has another number there than in the unit.
    assert toy.check(function)[function].sentence == "code as in the kernel"


def test_lines_keep_their_numbers_for_the_comparison(toy: Toy) -> None:
    found = toy.check("lined", "gone")
    assert found["lined"].sentence == "code as in the kernel"


def test_another_line_is_a_difference(toy: Toy) -> None:
    found = toy.check("lined", change=("/* Where", "\n/* Where"))
    assert found["lined"].sameness is Sameness.DIFFERS


def test_a_constant_of_other_content_is_a_difference(toy: Toy) -> None:
    found = toy.check("then_said", change=("says(__func__) - a", "says(__func__ + 1) - a"))
    assert (found["then_said"].sameness, found["then_said"].known) == (Sameness.DIFFERS, ())


def test_a_function_without_code_of_its_own_is_not_compared(toy: Toy) -> None:
    found = toy.check("small", "target")
    assert found["small"].sameness is Sameness.UNKNOWN
    assert found["target"].sameness is Sameness.EQUAL


@pytest.mark.parametrize("function", ["knowing", "small"])
def test_function_by_function_the_draft_is_the_source(toy: Toy, function: str) -> None:
    found = toy.check(function, "target", by_itself=True)
    assert found[function].sameness is Sameness.EQUAL_ALONE
    assert found[function].sentence.startswith("code as in the source, function by function; the kernel")
    assert found["target"].sameness is Sameness.EQUAL


@pytest.mark.parametrize(
    "change", [("int x = pure(", "int x = -pure("), ("*p + 1", "*p + 2"), ("return *p", "return -*p")]
)
def test_function_by_function_a_slip_shows_too(toy: Toy, change: tuple[str, str]) -> None:
    found = toy.check("knowing", change=change, by_itself=True)
    assert found["knowing"].sameness is Sameness.DIFFERS


def test_a_function_that_relies_on_its_callers_is_said_to() -> None:
    found = Checked("takes", Sameness.DIFFERS, 4, "the code differs", narrowed=True)
    assert found.sentence.endswith("(that can be since the kernel's takes for granted what its callers pass)")


def test_without_the_kernel_s_code_nothing_is_said(toy: Toy) -> None:
    toy.target = SimpleNamespace(object=lambda _: SimpleNamespace(name="toy"))
    assert toy.check("target")["target"].sentence == "code not compared: no code of the kernel is at hand"


def test_the_names_of_the_draft_become_the_kernel_s(toy: Toy) -> None:
    toy.check("target")
    renamed = ElfFile.open(toy.folder / "work" / "unit-as-shipped.o")
    names = {symbol.name for symbol in renamed.symbols}
    assert {"target", "helper"} <= names
    assert not any(name.startswith("klpp_") for name in names)
