"""Records of the same function in several sources: link-time dumps, and tables put together."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from klpkit.impact.graph import Graph
from klpkit.impact.query import answer, find_functions
from klpkit.records import concat, link_units, read_clone_dumps
from klpkit.records._concat import unit_stem
from klpkit.records.model import Effect, EffectBuilder, EffectTable, Function, Location

SOURCES = {
    "h.h": "static inline int hin(int x) { return x * 7 + 1; }\n",
    "a.c": '#include "h.h"\nstatic int same(int x) { return x * 5 + hin(x); }\n'
    "int pa(int x) { return same(x) + hin(x + 1); }\n",
    "b.c": '#include "h.h"\nint pa(int);\nstatic int same(int x) { return x * 9 + hin(x); }\n'
    "int pb(int x) { return same(x) + pa(x); }\n",
    "m.c": "int pb(int);\nint main(int c, char **v) { return pb(c); }\n",
}


def impacted(table: EffectTable, spec: str) -> set[str]:
    return {one.function.symbol for one in answer(table, find_functions(table, spec)).impacted}


@pytest.mark.parametrize("compiler", ["gcc-11", "gcc-12", "gcc"])
@pytest.mark.parametrize("partition", ["one", "none"])
def test_a_units_effects_go_on_at_link_time(tmp_path: Path, compiler: str, partition: str) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    flags = [compiler, "-O2", "-flto", "-fdump-ipa-clones"]
    (tmp_path / "obj").mkdir()
    # Compiled and linked in different folders: the dumps spell one path in two ways.
    subprocess.run([*flags, "-c", "../a.c", "../b.c", "../m.c"], cwd=tmp_path / "obj", check=True)
    link = [*flags, f"-flto-partition={partition}", "obj/a.o", "obj/b.o", "obj/m.o", "-o", "prog"]
    subprocess.run(link, cwd=tmp_path, check=True)
    table = read_clone_dumps(tmp_path, cache=False)
    assert impacted(table, "obj/a.c:same") == {"same", "pa"}
    # `pb` keeps no code of its own: all of it ends up in `main`.
    assert impacted(link_units(table), "obj/a.c:same") >= {"same", "pa", "main"}
    assert "pa" not in impacted(link_units(table), "obj/b.c:same")


def test_without_link_time_dumps_nothing_is_joined(tmp_path: Path) -> None:
    line = "Callgraph clone;f;1;h.h;2;3;g;4;h.h;5;6;inlining to\n"
    for name in ("a", "b"):
        (tmp_path / f"{name}.c.000i.ipa-clones").write_text(line)
    table = read_clone_dumps(tmp_path, cache=False)
    assert link_units(table) is table


def test_a_static_renamed_by_the_link_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "a.c.000i.ipa-clones").write_text("Callgraph clone;f;1;a.c;2;3;g;4;a.c;5;6;inlining to\n")
    (tmp_path / "p.wpa.000i.ipa-clones").write_text(
        "Callgraph clone;g.lto_priv.0;9;x/a.c;5;6;main;8;m.c;1;1;inlining to\n"
        "Callgraph clone;g.lto_priv.1;7;x/b.c;5;6;other;6;m.c;9;1;inlining to\n"
    )
    assert impacted(link_units(read_clone_dumps(tmp_path, cache=False)), "f") == {"f", "g", "main"}


@pytest.mark.parametrize(
    "unit",
    ["fs/namei.o", "fs/namei.c.000i.ipa-clones", "./fs/namei.cc.000i.ipa-clones", "fs/namei.c.010i.ipa-clones"],
)
def test_records_of_one_unit_have_one_stem(unit: str) -> None:
    assert unit_stem(unit) == "fs/namei"


def table_of(*effects: Effect) -> EffectTable:
    builder = EffectBuilder()
    for effect in effects:
        builder.add(effect)
    return builder.table()


DUMP, OBJECT = "fs/namei.c.000i.ipa-clones", "fs/namei.o"
PLACE = Location("fs/namei.c", 10, 5)


def joined_symbols(*tables: EffectTable) -> list[list[int]]:
    graph = Graph(concat(tables))
    rows = range(graph.table.function_count)
    groups = [[row for row in rows if graph.node_of[row] == node] for node in range(graph.node_count)]
    return [group for group in groups if len(group) > 1]


def test_the_two_halves_of_a_function_are_connected() -> None:
    dump = table_of(Effect(Function(DUMP, "leaf", PLACE, 3), Function(DUMP, "mid", PLACE, 4), "inline"))
    objects = table_of(Effect(Function(OBJECT, "mid"), Function(OBJECT, "mid.cold"), "cold"))
    table = concat([dump, objects])
    assert impacted(table, "leaf") == {"leaf", "mid", "mid.cold"}
    assert [table.function(row).unit for row in table.rows_of("mid").tolist()] == [DUMP, OBJECT]


def test_units_of_other_names_are_not_connected() -> None:
    dump = table_of(Effect(Function(DUMP, "leaf", PLACE, 3), Function(DUMP, "mid", PLACE, 4), "inline"))
    objects = table_of(Effect(Function("fs/open.o", "mid"), Function("fs/open.o", "top"), "inline"))
    assert joined_symbols(dump, objects) == []


@pytest.mark.parametrize(
    ("place", "joined"),
    [
        (Location("/src/fs/namei.c", 10), True),
        (Location("/src/fs/namei.c"), True),
        (None, True),
        (Location("/src/fs/namei.c", 11), False),
        (Location("/src/fs/open.c", 10), False),
    ],
)
def test_functions_that_places_tell_apart_are_not_joined(place: Location | None, joined: bool) -> None:
    dump = table_of(Effect(Function(DUMP, "leaf", PLACE, 3), Function(DUMP, "mid", PLACE, 4), "inline"))
    dwarf = table_of(Effect(Function(OBJECT, "mid", place), Function(OBJECT, "top"), "inline"))
    assert bool(joined_symbols(dump, dwarf)) is joined


def test_an_ambiguous_function_is_joined_with_all_and_said_to_be() -> None:
    dump = table_of(
        Effect(Function(DUMP, "a", Location("a.h", 1), 1), Function(DUMP, "x", PLACE, 2), "inline"),
        Effect(Function(DUMP, "a", Location("b.h", 1), 3), Function(DUMP, "y", PLACE, 4), "inline"),
    )
    objects = table_of(Effect(Function(OBJECT, "leaf"), Function(OBJECT, "a"), "inline"))
    table = concat([dump, objects])
    assert impacted(table, "leaf") == {"leaf", "a", "x", "y"}
    assert "could be one of several" in table.warnings[-1]


def test_where_an_effect_is_and_what_was_removed_survive() -> None:
    builder = EffectBuilder()
    inlined = Effect(Function("o", "a"), Function("o", "b"), "inline", Location("call.c", 7))
    builder.add(inlined)
    builder.add_removed(Function("o", "a"))
    table = concat([table_of(Effect(Function("p", "c"), Function("p", "d"), "icf")), builder.table()])
    assert list(table.effects())[1] == inlined
    assert table.removed.tolist() == [False, False, True, False]
