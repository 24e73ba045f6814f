"""The impact answer as a tree and as a table on a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klpkit.impact.result import ImpactAnswer, ImpactedFunction
from klpkit.records.model import Effect, Function
from klpkit.report.fold import columns, fold
from klpkit.report.table import write_table
from klpkit.report.terminal import Sheet
from klpkit.report.text import write_tree, write_trees

Rendered = Callable[..., str]
BOTH = pytest.mark.parametrize("write", [write_tree, write_table], ids=["tree", "table"])


def unfolded(text: str) -> str:
    """Without guides, blanks and line breaks: what a folded name looks like again when it is put together."""
    return re.sub(r"[\s│├└─•⋯*|`-]+", "", text)


def test_the_tree_shows_place_cause_how_and_obstacles(small: ImpactAnswer, rendered: Rendered) -> None:
    assert rendered(write_tree, small) == (
        "may_linkat  fs/namei.c:1196\n"
        "│  • no code of its own: patch the functions that hold its copies (in vmlinux)\n"
        "└─ do_linkat  fs/namei.c:4600\n"
        "   │  may_linkat is inlined into do_linkat, at fs/namei.c:4631\n"
        "   │  • patch it by its symbol (in vmlinux)\n"
        "   └─ do_linkat.part.0  fs/namei.c:4600\n"
        "         do_linkat.part.0 is a part split off do_linkat\n"
        "         • patch its callers: it can't be replaced by its symbol (in vmlinux)\n"
        "         • must not be patched: init-code\n"
        "         • can't be traced\n"
        "         • a part of a function\n"
        "\n"
        "warning: fs/open.c: no dump\n"
        "evidence: clone dumps\n"
        "3 functions must be patched; 1 has no symbol of its own; 1 is patched only\n"
        "  through its callers; 1 can't be traced; 1 is in code that must not be patched.\n"
    )


def test_the_tree_in_ascii_where_boxes_cannot_be_shown(small: ImpactAnswer, rendered: Rendered) -> None:
    text = rendered(write_tree, small, unicode=False)
    assert text.isascii()
    assert "\n`- do_linkat  fs/namei.c:4600\n   |  may_linkat is inlined" in text


def test_the_table_has_a_row_a_function(small: ImpactAnswer, rendered: Rendered) -> None:
    lines = rendered(write_table, small, 140).splitlines()
    assert re.split(r"  +", lines[0]) == ["function", "unit / owner", "why", "how", "notes"]
    assert set(lines[1]) == {"─", " "}
    assert re.split(r"  +", lines[2]) == ["may_linkat", "fs/namei.c:1196 [vmlinux]", "asked for", "no own code"]
    assert re.split(r"  +", lines[3]) == [
        "do_linkat",
        "fs/namei.c:4600 [vmlinux]",
        "inline: may_linkat, fs/namei.c:4631",
        "by symbol",
    ]
    assert lines[-2].startswith("3 functions must be patched; ")


def test_a_narrow_table_becomes_cards(small: ImpactAnswer, rendered: Rendered) -> None:
    text = rendered(write_table, small, 40)
    assert "\ndo_linkat\n  unit / owner: fs/namei.c:4600\n    [vmlinux]\n  why: inline: may_linkat," in text


@BOTH
@pytest.mark.parametrize("width", [20, 40, 80, 120])
@pytest.mark.parametrize("which", ["small", "long_names"])
def test_every_name_is_whole_and_no_line_too_long(
    write: Callable[[ImpactAnswer, Sheet], None],
    width: int,
    which: str,
    rendered: Rendered,
    request: pytest.FixtureRequest,
) -> None:
    answer: ImpactAnswer = request.getfixturevalue(which)
    text = rendered(write, answer, width)
    assert max(map(columns, text.splitlines())) <= width
    names = names_column(text)
    for item in answer.impacted:
        assert unfolded(item.function.symbol) in unfolded(names)


def names_column(text: str) -> str:
    """The first column of a table; all of a tree or of cards."""
    lines = text.splitlines()
    return "".join(line[: lines[0].index("unit")] for line in lines) if lines[0].startswith("function") else text


@BOTH
def test_a_pipe_gets_unbroken_names(
    write: Callable[[ImpactAnswer, Sheet], None], long_names: ImpactAnswer, rendered: Rendered
) -> None:
    text = rendered(write, long_names, 80, fold_names=False)
    for item in long_names.impacted:
        assert item.function.symbol in text


@BOTH
def test_a_name_cannot_forge_lines_or_colours(
    write: Callable[[ImpactAnswer, Sheet], None], hostile: ImpactAnswer, rendered: Rendered
) -> None:
    text = rendered(write, hostile, 200)
    assert "\x1b" not in text
    assert "\nline" not in text
    assert 'quote" back\\slash \\x1b[31m{braces}\\x0aline' in text


@BOTH
def test_colour_changes_no_character(
    write: Callable[[ImpactAnswer, Sheet], None], small: ImpactAnswer, rendered: Rendered
) -> None:
    coloured = rendered(write, small, colour=True)
    assert "\x1b[" in coloured
    plain = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert [line.rstrip() for line in plain.splitlines()] == rendered(write, small).splitlines()


def test_a_deep_chain_keeps_its_innermost_guides_and_says_its_depth(
    chain_of: Callable[[int], ImpactAnswer], rendered: Rendered
) -> None:
    text = rendered(write_tree, chain_of(300), 60)
    assert max(map(columns, text.splitlines())) <= 60
    assert "└─ ⋯299 f299  fs/namei.c:300\n" in text


def test_functions_of_one_name_are_told_apart_by_their_unit(rendered: Rendered) -> None:
    seed, twin = Function("a.o", "init"), Function("b.o", "init")
    effect = Effect(seed, twin, "icf")
    answer = ImpactAnswer((seed,), (ImpactedFunction(seed), ImpactedFunction(twin, (effect,))), (effect,))
    text = rendered(write_tree, answer)
    assert "init (b.o) shares one body with init (a.o)" in text


def test_nodes_of_one_unit_and_name_are_told_apart_by_their_order(rendered: Rendered) -> None:
    seed, twin = Function("a.o", "init", order=3), Function("a.o", "init", order=8)
    effect = Effect(seed, twin, "inline")
    answer = ImpactAnswer((seed,), (ImpactedFunction(seed), ImpactedFunction(twin, (effect,))), (effect,))
    assert "init (a.o) #3 is inlined into init (a.o) #8" in rendered(write_tree, answer)


def test_a_function_whose_parent_is_not_in_the_answer_is_still_shown(rendered: Rendered) -> None:
    seed, absent, orphan = (Function("a.o", name) for name in ("seed", "absent", "orphan"))
    effects = (Effect(seed, absent, "inline"), Effect(absent, orphan, "inline"))
    answer = ImpactAnswer((seed,), (ImpactedFunction(seed), ImpactedFunction(orphan, effects)), effects)
    assert "\norphan" in rendered(write_tree, answer)


def test_all_answers_come_sorted_from_a_mapping(small: ImpactAnswer) -> None:
    empty = ImpactAnswer((), (), ())
    stream = io.StringIO()
    answers = {Function("z.o", "z"): small, Function("a.o", "a"): empty}
    answers[Function("a.o", "b")] = ImpactAnswer(
        (Function("a.o", "b"),), (ImpactedFunction(Function("a.o", "b")),), ()
    )
    write_trees(answers, Sheet(stream), warnings=["said of all"], evidence=["clone dumps"])
    first, second, closing = stream.getvalue().split("\n\n")
    # Whether an object was at hand is one thing for all of them, and not repeated.
    assert first == "\nb  a.o"
    assert second.startswith("may_linkat  ")
    assert second.endswith("\nwarning: fs/open.c: no dump")
    assert closing == "warning: said of all\nevidence: clone dumps\n3 functions listed.\n"


TEXT = st.text(st.sampled_from("ab_/.: 漢é-"), max_size=60)


@given(TEXT, st.integers(8, 30), st.booleans(), st.sampled_from([0, 2]))
def test_folding_loses_nothing_and_keeps_the_width(text: str, width: int, break_words: bool, hanging: int) -> None:
    lines = fold(text, width, break_words=break_words, hanging=hanging)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    if break_words:
        assert all(columns(line.rstrip()) <= width for line in lines)
    else:
        assert set(text.split()) == set(" ".join(lines).split())
