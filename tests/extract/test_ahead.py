"""What `klpkit extract` does before the records are there may save time, and may change nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_place import Place

from klpkit.build.command import TranslationUnit
from klpkit.extract import ahead
from klpkit.extract.expected import ExpectedOriginal
from klpkit.extract.unitsource import UnitSource
from klpkit.programs import ProgramFailedError, StoppedError

DRAFT = ("target", "--only")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of drafts that are compiled."""
    texts: list[str] = []
    compile_text = UnitSource._compile

    def noted(self: UnitSource, text: str, work: Path) -> Path:
        texts.append(text)
        return compile_text(self, text, work)

    monkeypatch.setattr(UnitSource, "_compile", noted)
    monkeypatch.setattr(ahead, "default_jobs", lambda: 2)
    return texts


def draft_of(place: Place) -> str:
    result = place.run(*DRAFT)
    assert result.exit_code == 0, result.exception
    assert "code as in the kernel" in result.stdout
    return (place.out / "a.c").read_text()


def test_a_draft_that_was_expected_is_compiled_once(place: Place, compiled: list[str]) -> None:
    text = draft_of(place)
    assert len(compiled) == 1
    assert "int klpp_target(int x)" in compiled[0]
    assert "int klpp_target(int x)" in text


def test_one_processor_expects_nothing(place: Place, compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "default_jobs", lambda: 1)
    monkeypatch.setattr(UnitSource, "begin", None)
    draft_of(place)
    assert len(compiled) == 1


@pytest.mark.parametrize("answer", [False, True])
def test_a_wrong_expectation_changes_nothing(
    place: Place, compiled: list[str], monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    right = draft_of(place)
    compiled.clear()
    place.out = place.root.parent / "again"
    # A copy of `helper` with a `state` of its own compiles, and so does a reference to the `step` of no kernel.
    monkeypatch.setattr(ExpectedOriginal, "function", lambda self, name: answer)
    assert draft_of(place) == right
    assert len(set(compiled)) == 2


def test_an_expected_draft_that_does_not_compile_is_nobodys_error(
    place: Place, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
) -> None:
    right = draft_of(place)
    compiled.clear()
    place.out = place.root.parent / "again"

    def begin(self: UnitSource, text: str, work: Path) -> None:
        started(self, f"{text}\n#error not this\n", work)

    started = UnitSource.begin
    monkeypatch.setattr(UnitSource, "begin", begin)
    assert draft_of(place) == right
    assert len(compiled) == 2


def test_an_error_in_a_thread_reaches_who_asks_for_the_object(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: UnitSource, text: str, work: Path) -> Path:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(UnitSource, "_compile", broken)
    monkeypatch.setattr(ahead, "default_jobs", lambda: 2)
    result = place.run(*DRAFT)
    assert isinstance(result.exception, OSError)
    assert not place.out.exists()


def test_a_source_that_can_not_be_preprocessed_says_why(place: Place) -> None:
    source = place.root / "fs/a.c"
    source.write_text(source.read_text() + "\n#error half edited\n")
    result = place.run(*DRAFT)
    assert isinstance(result.exception, ProgramFailedError)
    assert "half edited" in str(result.exception)


def test_a_preprocessor_that_was_ended_with_a_failed_compilation_does_not_hide_its_error(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(unit: TranslationUnit) -> list[str]:
        raise StoppedError("klpkit is stopping")

    monkeypatch.setattr(ahead, "expand", ended)
    monkeypatch.setattr(ahead, "default_jobs", lambda: 2)
    source = place.root / "fs/a.c"
    source.write_text(source.read_text() + "\nint half_edited = ;\n")
    result = place.run(*DRAFT)
    assert isinstance(result.exception, ProgramFailedError)
    assert "half_edited" in str(result.exception)
