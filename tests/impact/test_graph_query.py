"""Finding functions by name and answering for them."""

from __future__ import annotations

import pytest

from klpkit.errors import UserError
from klpkit.impact.query import answer, find_functions
from klpkit.impact.result import How, Patchability
from klpkit.records.model import Effect, EffectBuilder, EffectTable, Function, Location


def function(
    symbol: str, file: str = "kernel/signal.c", unit: str = "kernel/signal.c.000i.ipa-clones"
) -> Function:
    return Function(unit, symbol, Location(file, 10, 5), 7)


LEAF = function("leaf", "include/linux/leaf.h")
LEAF_AGAIN = function("leaf", "include/linux/leaf.h", "fs/namei.c.000i.ipa-clones")
MIDDLE, TOP, CLONE = function("middle"), function("top"), function("middle.constprop.0")
OTHER = function("other", "fs/namei.c", "fs/namei.c.000i.ipa-clones")


def table_of(*effects: Effect) -> EffectTable:
    builder = EffectBuilder()
    for effect in effects:
        builder.add(effect)
    return builder.table()


@pytest.fixture
def table() -> EffectTable:
    return table_of(
        Effect(LEAF, MIDDLE, "inline"),
        Effect(MIDDLE, CLONE, "constprop"),
        Effect(LEAF, TOP, "inline"),
        Effect(CLONE, TOP, "calls-clone"),
        Effect(LEAF_AGAIN, OTHER, "inline"),
    )


def found(table: EffectTable, spec: str) -> list[Function]:
    return [table.function(row) for row in find_functions(table, spec)]


def test_a_name_means_every_copy(table: EffectTable) -> None:
    assert found(table, "leaf") == [LEAF, LEAF_AGAIN]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("fs/namei.c:leaf", [LEAF_AGAIN]),
        ("namei.c:leaf", [LEAF_AGAIN]),
        ("./fs/namei.c:leaf", [LEAF_AGAIN]),
        ("linux/leaf.h:leaf", [LEAF, LEAF_AGAIN]),
        ("kernel/signal.c:top", [TOP]),
        ("kernel/signal.c.000i.ipa-clones:top", [TOP]),
    ],
)
def test_a_file_narrows_a_name(table: EffectTable, spec: str, expected: list[Function]) -> None:
    assert found(table, spec) == expected


@pytest.mark.parametrize("spec", ["amei.c:leaf", "signal.c:other"])
def test_a_file_matches_whole_components_only(table: EffectTable, spec: str) -> None:
    with pytest.raises(UserError, match="it is in"):
        find_functions(table, spec)


@pytest.mark.parametrize(
    ("spec", "close"), [("midle", "middle"), ("x.c:tpo", "top"), ("constprop", "middle.constprop.0")]
)
def test_an_unknown_function_is_told_the_closest_names(table: EffectTable, spec: str, close: str) -> None:
    with pytest.raises(UserError, match=f"did you mean .*{close}") as caught:
        find_functions(table, spec)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("spec", ["", ":", "x.c:", "zzzzzzzzzzzz", "a\nb"])
def test_nonsense_is_a_usage_error(table: EffectTable, spec: str) -> None:
    with pytest.raises(UserError):
        find_functions(table, spec)


def test_an_answer_is_nearest_first_with_chains_and_causes(table: EffectTable) -> None:
    result = answer(table, find_functions(table, "signal.c:leaf"), evidence=["clone dumps"])
    assert [(one.function.symbol, one.distance) for one in result.impacted] == [
        ("leaf", 0),
        ("middle", 1),
        ("top", 1),
        ("middle.constprop.0", 2),
    ]
    assert [effect.cause for effect in result.impacted[3].chain] == ["inline", "constprop"]
    assert result.impacted[2].causes == ("calls-clone", "inline")
    assert result.seeds == (LEAF,)
    assert len(result.effects) == 4
    assert result.evidence == ("clone dumps",)


def test_all_chains_come_shortest_first(table: EffectTable) -> None:
    result = answer(table, find_functions(table, "signal.c:leaf"), all_chains=True)
    top = next(one for one in result.impacted if one.function == TOP)
    assert [len(chain) for chain in top.chains] == [1, 3]
    assert top.chains[0] == top.chain


def test_too_many_chains_are_cut_and_said_to_be(table: EffectTable) -> None:
    result = answer(table, find_functions(table, "signal.c:leaf"), all_chains=True, chains_max=1)
    top = next(one for one in result.impacted if one.function == TOP)
    assert len(top.chains) == 1
    assert "1 functions have more than 1 chains" in result.warnings[-1]


def test_two_nodes_of_one_function_appear_once_and_carry_on() -> None:
    copy = Function(MIDDLE.unit, "middle", MIDDLE.location, 99)
    result = answer(
        table_of(
            Effect(LEAF, MIDDLE, "inline"),
            Effect(copy, TOP, "inline"),
            Effect(MIDDLE, copy, "same-function"),
            Effect(copy, MIDDLE, "same-function"),
        ),
        [0],
    )
    assert [one.function for one in result.impacted] == [LEAF, MIDDLE, TOP]
    assert [(e.body, e.user) for e in result.impacted[2].chain] == [(LEAF, MIDDLE), (MIDDLE, TOP)]


def test_each_function_is_judged(table: EffectTable) -> None:
    judged = answer(table, [0], patchability=lambda one: Patchability(How.SYMBOL, owner=one.symbol))
    assert [one.patchability.owner for one in judged.impacted] == [one.function.symbol for one in judged.impacted]


def test_warnings_of_the_records_reach_the_answer(table: EffectTable) -> None:
    table.warnings.append("2 malformed lines left out")
    assert answer(table, [0], warnings=["old objects"]).warnings == ("2 malformed lines left out", "old objects")
