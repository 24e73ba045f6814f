"""Joining tables looks only at what several of them know, and no further."""

from __future__ import annotations

from itertools import pairwise

from klpkit.records import concat
from klpkit.records.model import Effect, EffectBuilder, EffectTable, Function, Location, Strings


def _table(*functions: Function) -> EffectTable:
    builder = EffectBuilder()
    for one, other in pairwise(functions):
        builder.add(Effect(one, other, "inline"))
    return builder.table()


def _joins(table: EffectTable) -> set[tuple[int, int]]:
    pairs = zip(table.body.tolist(), table.user.tolist(), table.cause.tolist(), strict=True)
    names = [effect.cause for effect in table.effects()]
    return {(body, user) for (body, user, _), name in zip(pairs, names, strict=True) if name == "same-function"}


def test_thousands_of_copies_in_one_table_are_joined_with_the_other_only() -> None:
    copies = [Function("vmlinux", "kmalloc", Location("slab.h", line)) for line in range(1, 3001)]
    joined = concat([_table(*copies), _table(Function("x", "kmalloc"), Function("x", "f"))], unit_key=lambda _: "")
    joins = _joins(joined)
    assert len(joins) == 6000
    assert all(3000 in pair for pair in joins)
    assert "1 function record" in joined.warnings[-1]


def test_what_two_tables_know_under_other_units_stays_apart() -> None:
    one = _table(Function("a.o", "f"), Function("a.o", "g"))
    other = _table(Function("b.o", "f"), Function("b.o", "g"))
    assert not _joins(concat([one, other]))
    assert _joins(concat([one, other], unit_key=lambda _: "")) == {(0, 2), (2, 0), (1, 3), (3, 1)}


def test_added_strings_keep_the_numbers_of_known_ones() -> None:
    strings = Strings(["", "a"])
    assert strings.add_all(["b", "a", "b", "c", ""]) == [2, 1, 2, 3, 0]
    assert list(strings) == ["", "a", "b", "c"]
    assert strings.add("c") == 3
