"""The two clone dump readers: what each makes of good and bad dumps, and that they never differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from klpkit.errors import FormatError, UserError
from klpkit.records import _clonebatch, clonebulk
from klpkit.records.clonelines import cause_of, is_lto_dump, parse_dump
from klpkit.records.clones import find_dumps, read_clone_dumps
from klpkit.records.model import Effect, EffectTable, Function, Location

CLONE = b"Callgraph clone;leaf;11;a.c;2;12;mid;12;a.c;3;9;inlining to\n"
OLDER = b"Callgraph clone;leaf;11;a.c;2;12;<-;mid;12;a.c;3;9;optimization:;inlining to\n"
REMOVAL = b"Callgraph removal;leaf;11;a.c;2;12\n"


def bulk(folder: Path, *dumps: bytes, lenient: bool = False) -> EffectTable:
    """The bulk reader's table of `dumps`, which become the files 0.ipa-clones, 1.ipa-clones…"""
    paths = []
    for number, data in enumerate(dumps):
        path = folder / f"{number}.ipa-clones"
        path.write_bytes(data)
        paths.append(str(path))
    return clonebulk.read_dumps(paths, lenient=lenient)


def function(unit: str, node: tuple[str, int, str, int, int]) -> Function:
    symbol, order, file, line, column = node
    return Function(unit, symbol, Location(file, line, column) if file else None, order)


def expected(folder: Path, dumps: Sequence[bytes], *, lenient: bool) -> tuple[set[Effect], set[Function]]:
    """What the line reader says: all effects with twins joined, and the removed functions that matter."""
    effects: set[Effect] = set()
    removed: set[Function] = set()
    for number, data in enumerate(dumps):
        unit = str(folder / f"{number}.ipa-clones")
        dump = parse_dump(data, unit, lenient=lenient)
        leaders: dict[str, Function] = {}
        nodes: set[Function] = set()
        for body, user, word in dump.clones:
            pair = [function(unit, body), function(unit, user)]
            effects.add(Effect(*pair, cause_of(word, body[0], user[0])[0]))
            for node in pair:
                nodes.add(node)
                leader = leaders.setdefault(node.symbol, node)
                if leader != node:
                    effects.add(Effect(leader, node, "same-function"))
                    effects.add(Effect(node, leader, "same-function"))
        gone = [function(unit, node) for node in dump.removed]
        removed.update(node for node in gone if node in nodes or node.symbol not in leaders)
    return effects, removed


def removed_functions(table: EffectTable) -> set[Function]:
    return {
        table.function(row) for row in range(table.function_count) if len(table.removed) and table.removed[row]
    }


names = st.sampled_from(
    ["f", "leaf", "*leaf", "_ZN1A1fEi", "operator-name.constprop.0", "x" * 31, "x" * 32, "x" * 33, "y" * 70, "é"]
)
files = st.sampled_from(
    ["a.c", "(null)", "<built-in>", "./include/linux/list.h", "/very/" + "long/" * 30 + "path.h", "ü.c"]
)
numbers = st.sampled_from(["0", "1", "7", "12", "4567", "2147483647"])
bad_numbers = st.sampled_from(["", "-1", "x", "01", "2147483648", "99999999999", "1 ", "٣"])
words = st.sampled_from(
    ["inlining to", "constprop", "isra", "part", "avx2", "(null)", "resolver", "frob", "inlining tO"]
)
node = st.tuples(names, numbers, files, numbers, numbers).map(";".join)
good_line = st.one_of(
    st.builds("Callgraph clone;{};{};{}".format, node, node, words),
    st.builds("Callgraph clone;{};<-;{};optimization:;{}".format, node, node, words),
    st.builds("Callgraph removal;{}".format, node),
)
bad_line = st.one_of(
    st.sampled_from(
        ["", "Callgraph", "Callgraph clone;;;;;;;;;;;", "\x00\x01;;;;;", "Callgraph removal;f;1;a.c;2"]
    ),
    st.builds("Callgraph clone;f;{};a.c;1;2;{};constprop".format, bad_numbers, node),
    st.builds("Callgraph removal;f;1;a.c;1;{}".format, bad_numbers),
    st.builds("Callgraph clone;{};{};".format, node, node),
    st.builds("Callgraph clone;{};->;{};optimization:;part".format, node, node),
    st.builds("Callgraph clone;{};{};part\r".format, node, node),
    st.text(max_size=40).map(lambda text: text.replace("\n", "")),
)
good_dump = st.lists(good_line, max_size=12).map(lambda lines: "".join(f"{line}\n" for line in lines).encode())
bad_dump = st.tuples(
    st.lists(st.one_of(good_line, good_line, bad_line), max_size=10), st.sampled_from(["\n", "", "\nCallg"])
).map(lambda dump: ("\n".join(dump[0]) + dump[1]).encode())
relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)


@relaxed
@given(dumps=st.lists(good_dump, max_size=4))
def test_both_readers_tell_the_same_of_good_dumps(tmp_path: Path, dumps: list[bytes]) -> None:
    table = bulk(tmp_path, *dumps)
    effects, removed = expected(tmp_path, dumps, lenient=False)
    found = list(table.effects())
    assert set(found) == effects
    assert len(found) == len(effects)
    assert removed_functions(table) == removed


@relaxed
@given(dumps=st.lists(bad_dump, min_size=1, max_size=3))
def test_both_readers_leave_out_the_same_lines_when_lenient(tmp_path: Path, dumps: list[bytes]) -> None:
    table = bulk(tmp_path, *dumps, lenient=True)
    effects, removed = expected(tmp_path, dumps, lenient=True)
    assert set(table.effects()) == effects
    assert removed_functions(table) == removed
    left_out = [
        parse_dump(data, str(tmp_path / f"{i}.ipa-clones"), lenient=True).warnings for i, data in enumerate(dumps)
    ]
    assert sum(len(warnings) for warnings in left_out) == sum("left out" in text for text in table.warnings)


@relaxed
@given(data=bad_dump)
def test_both_readers_refuse_the_same_dumps(tmp_path: Path, data: bytes) -> None:
    def verdict(read: object) -> str:
        try:
            read()  # type: ignore[operator]
        except FormatError as error:
            return str(error)
        return "good"

    path = str(tmp_path / "0.ipa-clones")
    assert verdict(lambda: bulk(tmp_path, data)) == verdict(lambda: parse_dump(data, path))


def test_many_batches_are_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bulk(tmp_path, *[CLONE, OLDER + REMOVAL, CLONE * 3] * 5)
    monkeypatch.setattr(_clonebatch, "BATCH_BYTES", 100)
    pieces = bulk(tmp_path, *[CLONE, OLDER + REMOVAL, CLONE * 3] * 5)
    assert list(pieces.effects()) == list(whole.effects())
    assert len(pieces) == 15


@pytest.mark.parametrize("line", [CLONE, OLDER])
def test_body_comes_first_in_both_spellings(tmp_path: Path, line: bytes) -> None:
    (effect,) = bulk(tmp_path, line).effects()
    assert (effect.body.symbol, effect.user.symbol, effect.cause) == ("leaf", "mid", "inline")
    assert effect.body.order == 11
    assert effect.user.location == Location("a.c", 3, 9)


@pytest.mark.parametrize(
    ("word", "cause"),
    [
        ("inlining to", "inline"),
        ("constprop", "constprop"),
        ("isra", "isra"),
        ("part", "part"),
        ("simdclone", "simdclone"),
        ("avx2", "target-clone"),
        ("arch_haswell", "target-clone"),
        ("default", "target-clone"),
        ("resolver", "target-clone"),
        ("(null)", "clone"),
    ],
)
def test_every_word_of_gcc_has_its_cause(tmp_path: Path, word: str, cause: str) -> None:
    table = bulk(tmp_path, CLONE.replace(b"inlining to", word.encode()))
    assert [effect.cause for effect in table.effects()] == [cause]
    assert table.warnings == []


def test_an_unknown_word_is_a_clone_and_a_warning(tmp_path: Path) -> None:
    table = bulk(tmp_path, CLONE.replace(b"inlining to", b"frobnicated") * 2)
    assert [effect.cause for effect in table.effects()] == ["clone"]
    assert table.warnings == ["2 clone records of the unknown kind 'frobnicated', taken as copies of the body"]


def test_nodes_of_one_symbol_in_a_dump_are_joined_both_ways(tmp_path: Path) -> None:
    # As in mm/page_alloc.c: what is inlined into order 12 reaches those that inlined the copy, order 99.
    data = CLONE + b"Callgraph clone;mid;99;a.c;3;9;top;13;a.c;9;1;inlining to\n"
    joins = {(e.body.order, e.user.order) for e in bulk(tmp_path, data).effects() if e.cause == "same-function"}
    assert joins == {(12, 99), (99, 12)}


def test_equal_statics_of_two_dumps_stay_apart(tmp_path: Path) -> None:
    table = bulk(tmp_path, CLONE, CLONE)
    assert len({table.function(row) for row in table.rows_of("leaf").tolist()}) == 2
    assert all(effect.body.unit == effect.user.unit for effect in table.effects())


def test_statics_of_one_name_in_a_link_time_dump_stay_apart(tmp_path: Path) -> None:
    path = tmp_path / "prog.wpa.000i.ipa-clones"
    path.write_bytes(CLONE + CLONE.replace(b"leaf;11;a.c", b"leaf;40;b.c").replace(b"mid;12", b"top;50"))
    table = clonebulk.read_dumps([str(path)])
    assert [effect.cause for effect in table.effects()] == ["inline", "inline"]


def test_a_literal_assembler_name_loses_its_mark(tmp_path: Path) -> None:
    table = bulk(tmp_path, CLONE.replace(b";leaf;", b";*my.name;"))
    assert len(table.rows_of("my.name")) == 1


def test_a_path_with_a_semicolon_is_refused_by_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"0\.ipa-clones: line 2: 13 fields where 12 or 14 are expected"):
        bulk(tmp_path, CLONE + CLONE.replace(b"a.c;2", b"a;b.c;2"))


@pytest.mark.parametrize("cut", [1, 5, 20, 50, len(CLONE) - 1])
def test_a_truncated_dump_is_refused(tmp_path: Path, cut: int) -> None:
    with pytest.raises(FormatError, match="line 2"):
        bulk(tmp_path, CLONE + CLONE[:cut], CLONE)


def test_a_dump_that_stops_inside_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="truncated"):
        bulk(tmp_path, REMOVAL.removesuffix(b"2\n"))


def test_empty_dumps_have_no_effects(tmp_path: Path) -> None:
    table = bulk(tmp_path, b"", b"")
    assert (len(table), table.function_count) == (0, 0)


@pytest.mark.parametrize("data", [b"\x7fELF" + bytes(range(256)) * 20, b"\0" * 5000, b"\n\n", b"\xff" * 100])
def test_binary_garbage_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(FormatError, match="line 1"):
        bulk(tmp_path, data)


def test_an_enormous_dump_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "big.ipa-clones"
    with path.open("wb") as stream:
        stream.truncate((1 << 30) + 1)
    with pytest.raises(FormatError, match="too many for a clone dump"):
        clonebulk.read_dumps([str(path)])


def test_a_lenient_reading_counts_what_it_leaves_out(tmp_path: Path) -> None:
    table = bulk(tmp_path, b"garbage\n" + CLONE + b"more\n", lenient=True)
    assert len(table) == 1
    (warning,) = table.warnings
    assert "2 malformed lines left out, the first at line 1: not a clone record: 'garbage'" in warning


def test_removal_of_a_copy_does_not_remove_the_function(tmp_path: Path) -> None:
    table = bulk(tmp_path, CLONE + REMOVAL.replace(b";11;", b";9999;"))
    assert removed_functions(table) == set()
    assert table.function_count == 2


def test_dumps_are_found_below_a_folder_but_not_through_links(tmp_path: Path) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "x.c.000i.ipa-clones").write_bytes(CLONE)
    (tmp_path / "tree" / "x.o").touch()
    (tmp_path / "tree" / "source").symlink_to(tmp_path)
    assert find_dumps(tmp_path / "tree") == [str(tmp_path / "tree/sub/x.c.000i.ipa-clones")]


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_path_without_dumps_is_the_users_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=name):
        read_clone_dumps(tmp_path / name, cache=False)


@pytest.mark.parametrize(
    ("name", "linked"),
    [
        ("a.c.000i.ipa-clones", False),
        ("prog.wpa.000i.ipa-clones", True),
        ("d/prog.ltrans0.ltrans.000i.ipa-clones", True),
        ("prog.lto.o-cc6vRRH1.lto.o.000i.ipa-clones", True),
        ("my.wpa/a.c.000i.ipa-clones", False),
    ],
)
def test_link_time_dumps_are_known_by_name(name: str, linked: bool) -> None:
    assert is_lto_dump(name) is linked


def test_functions_that_share_a_number_stay_two(tmp_path: Path) -> None:
    # GCC never gives two nodes of a dump one number; who reads numbers only would merge these.
    data = CLONE + CLONE.replace(b"leaf;11;", b"hood;11;") + REMOVAL
    table = bulk(tmp_path, data, CLONE)
    assert {(e.body.symbol, e.user.symbol) for e in table.effects()} == {("leaf", "mid"), ("hood", "mid")}
    assert [function.symbol for function in removed_functions(table)] == ["leaf"]


def test_names_that_differ_in_one_byte_stay_apart(tmp_path: Path) -> None:
    names = [b"a" * at + letter + b"a" * (70 - at) for at in range(71) for letter in (b"b", b"c", b"\xe2")]
    table = bulk(tmp_path, b"".join(CLONE.replace(b"leaf", name) for name in names))
    assert table.function_count == len(names) + 1
    assert len({table.function(row).symbol for row in range(table.function_count)}) == len(names) + 1
