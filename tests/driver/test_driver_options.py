"""The driver's own options, and response files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klpkit.compilers.driver import response
from klpkit.compilers.driver.options import take_ours
from klpkit.compilers.driver.talk import DriverError


@pytest.mark.parametrize(
    ("word", "level"),
    [
        ("-fease-live-patching", "inline-clone"),
        ("-fease-live-patching=none", "none"),
        ("-fease-live-patching=only-inline-static", "only-inline-static"),
        ("-fease-live-patching=inline", "inline"),
        ("-fease-live-patching=inline-clone", "inline-clone"),
        ("-flive-patching", "inline-clone"),
        ("-flive-patching=inline-clone", "inline-clone"),
        ("-flive-patching=inline-only-static", "only-inline-static"),
    ],
)
def test_every_spelling_of_a_level_is_taken_out(word: str, level: str) -> None:
    wanted, left = take_ours(["-O2", word, "a.c"])
    assert str(wanted.level) == level
    assert left == ["-O2", "a.c"]


@pytest.mark.parametrize(
    ("word", "function", "file"),
    [
        ("-flive-patching-list", "all", ""),
        ("-flive-patching-list=all", "all", ""),
        ("-flive-patching-list=f", "f", ""),
        ("-flive-patching-list=all,x.txt", "all", "x.txt"),
        ("-flive-patching-list=a.c:f,dir/x,y.txt", "a.c:f", "dir/x,y.txt"),
    ],
)
def test_a_list_has_a_function_and_a_file(word: str, function: str, file: str) -> None:
    wanted, left = take_ours([word])
    assert (wanted.listing, wanted.function, wanted.file, left) == (True, function, file, [])


def test_the_last_option_wins_and_the_negative_form_takes_it_back() -> None:
    assert str(take_ours(["-fease-live-patching=none", "-flive-patching"])[0].level) == "inline-clone"
    assert take_ours(["-fease-live-patching=none", "-fno-ease-live-patching"])[0].level is None
    assert not take_ours(["-flive-patching-list", "-fno-live-patching-list"])[0].listing


@pytest.mark.parametrize(
    "word",
    [
        "-fease-live-patching=all",
        "-fease-live-patching=",
        "-flive-patching=inline",
        "-flive-patching-list=",
        "-flive-patching-list=,x",
        "-flive-patching-list=all,",
    ],
)
def test_a_bad_value_is_an_error_that_names_the_good_ones(word: str) -> None:
    with pytest.raises(DriverError) as caught:
        take_ours([word])
    assert caught.value.status == 1
    assert caught.value.hint


def test_a_value_of_another_option_is_not_ours() -> None:
    wanted, left = take_ours(["-o", "-flive-patching", "-fease-live-patchingx"])
    assert wanted.level is None
    assert left == ["-o", "-flive-patching", "-fease-live-patchingx"]


def test_options_hidden_in_nested_response_files_are_found(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.write_text("-fease-live-patching=none '-DX=a b'")
    outer = tmp_path / "outer"
    outer.write_text(f"-O2 @{inner}\n-c")
    wanted, left = take_ours([f"@{outer}", "a.c"])
    assert str(wanted.level) == "none"
    assert left == ["-O2", "-DX=a b", "-c", "a.c"]


def test_a_response_file_without_our_options_stays_and_a_missing_one_too(tmp_path: Path) -> None:
    file = tmp_path / "words"
    file.write_text("-O2")
    assert take_ours([f"@{file}", "@nowhere"])[1] == [f"@{file}", "@nowhere"]


def test_a_response_file_that_names_itself_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "loop"
    file.write_text(f"@{file}")
    with pytest.raises(DriverError, match="too many @-files"):
        response.expanded(f"@{file}")


@given(st.lists(st.text(st.characters(blacklist_categories=("Cs",)), min_size=0, max_size=12)))
def test_quoted_words_are_read_back_as_they_were(words: list[str]) -> None:
    assert response.words_of(response.quoted(words)) == words


def test_words_are_read_as_libiberty_does() -> None:
    text = """a\\ b 'c  d' "e\\"f" g'h'i ''"""
    assert response.words_of(text) == ["a b", "c  d", 'e"f', "ghi", ""]
