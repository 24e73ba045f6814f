"""Objects that are equal in all that counts are recognised before anything is taken apart."""

from __future__ import annotations

import pytest
from conftest_pairs import Compile, compared

import klpkit.diff.engine as engine
from klpkit.diff import Verdict, diff_files
from klpkit.diff.equal import same_objects
from klpkit.elf import ElfFile
from klpkit.elf.model import ElfObject

SOURCE = """
int say(const char *, const int *); static int calls = 3;
int f(int x) { static const int table[] = { 1, 2, 3 }; return say("text", table + x) + calls++; }
int room[8];
"""
FLAGS = ("-O2", "-g", "-ffunction-sections")


@pytest.fixture
def no_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise AssertionError("an equal object was taken apart")

    monkeypatch.setattr(engine, "load", load)


@pytest.mark.usefixtures("no_comparison")
def test_debug_information_and_comments_make_no_difference(compile_c: Compile) -> None:
    plain, moved = compile_c(SOURCE, *FLAGS), compile_c("\n\n\n" + SOURCE, *FLAGS)
    assert ElfFile.open(plain).sections.find(".debug_line")
    assert plain.read_bytes() != moved.read_bytes()
    diff = diff_files(plain, moved)
    assert (diff.verdict, diff.compared) == (Verdict.NO_CHANGE, (1, 1))


def test_the_quick_answer_is_the_long_one(compile_c: Compile) -> None:
    path = compile_c(SOURCE, *FLAGS)
    assert diff_files(path, path) == compared(path, path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("calls = 3", "calls = 4"),
        ('"text"', '"tent"'),
        ("1, 2, 3", "1, 2, 4"),
        ("return say", "return -say"),
        ("room[8]", "room[9]"),
        ("int room[8];", ""),
        ("int room", "static int room"),
        ("table + x", "table - x"),
    ],
)
def test_whatever_counts_makes_objects_unequal(compile_c: Compile, old: str, new: str) -> None:
    sides = [ElfFile.open(compile_c(text, *FLAGS)) for text in (SOURCE, SOURCE.replace(old, new))]
    assert not same_objects(*sides)


def test_a_changed_relocation_or_symbol_alone_makes_objects_unequal(compile_c: Compile) -> None:
    path = compile_c(SOURCE, *FLAGS)
    model = ElfObject.read(path)
    text = next(section for section in model.sections if section.name == ".text.f")
    text.relocate().entries[0].addend += 1
    assert not same_objects(ElfFile.open(path), ElfFile(model.to_bytes(), "damaged"))
    model = ElfObject.read(path)
    next(symbol for symbol in model.symbols if symbol.name == "room").name = "rook"
    assert not same_objects(ElfFile.open(path), ElfFile(model.to_bytes(), "renamed"))
