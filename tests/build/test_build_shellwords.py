"""Recorded commands: plain ones are read as a shell would, everything else is refused and never run."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klpkit.build.shellwords import ShellTrickError, split_commands, split_words

PIECES = st.sampled_from(["a", "-DX=1", "b c", "'", '"', "\\", " ", "  ", "'q q'", '"d d"', "\t", "=", "~", ".c"])


@given(st.lists(PIECES, max_size=12).map("".join))
def test_plain_text_is_split_as_a_shell_splits_it(text: str) -> None:
    try:
        words = split_words(text)
    except ShellTrickError:
        return
    assert list(words) == shlex.split(text)


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), min_size=1, max_size=6)
)
def test_quoted_words_come_back_unchanged(words: list[str]) -> None:
    assert split_words(shlex.join(words)) == tuple(words)


@pytest.mark.parametrize(
    "text",
    [
        "gcc $(rm x) -c a.c",
        "gcc `rm x` -c a.c",
        'gcc "-DX=$(rm x)" -c a.c',
        "gcc -DX=$HOME -c a.c",
        'gcc "-DX=$HOME" -c a.c',
        "gcc *.c",
        "gcc a?.c",
        "gcc [ab].c",
        "gcc ~/a.c",
        "gcc {a,b}.c",
        "gcc 'open",
        'gcc "open',
        "gcc a.c \\",
        "! gcc a.c",
        "gcc a.c # note",
    ],
)
def test_what_needs_a_shell_is_refused(text: str) -> None:
    with pytest.raises(ShellTrickError):
        split_commands(text)


def test_a_tilde_or_hash_inside_a_word_is_plain() -> None:
    assert split_words("gcc -I/k/6.1~deb/x a#b") == ("gcc", "-I/k/6.1~deb/x", "a#b")


def test_operators_stay_visible_between_commands() -> None:
    commands = split_commands("( set -e; gcc -c a.c ) && tool x > log")
    assert [(c.words[0], c.before, c.after) for c in commands] == [
        ("set", "(", ";"),
        ("gcc", ";", ")"),
        ("tool", "&&", ">"),
        ("log", ">", ""),
    ]
