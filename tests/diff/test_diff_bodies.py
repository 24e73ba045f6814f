"""Why a function changed, from clone dumps of objects compiled on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest_pairs import Compile

from klpkit.cli.diff import command
from klpkit.diff import Cause, CodeChanges, ObjectDiff, code_changes, diff_files
from klpkit.diff.sourcetext import both_places
from klpkit.elf import ElfFile
from klpkit.errors import FormatError, UserError
from klpkit.records.model import Location

SOURCE = """
extern int sink;
static inline __attribute__((always_inline)) int helper(int x) { return sink * x + 3; }
static inline __attribute__((always_inline)) int middle(int x) { return helper(x) ^ sink; }
int outer(int x) { return middle(x) - 1; }
int other(int x) { return x + sink; }
"""
CHANGED = SOURCE.replace("x + 3", "x + 4")
FLAGS = ("-O2", "-fdump-ipa-clones", "-ffunction-sections")


def _said(diff: ObjectDiff, name: str, cause: Cause) -> list[str]:
    function = next(function for function in diff.functions if function.name == name)
    return [reason.detail for reason in function.reasons if reason.cause is cause]


def test_a_function_says_which_changed_one_it_inlines_and_by_what_way(compile_c: Compile) -> None:
    diff = diff_files(compile_c(SOURCE, *FLAGS), compile_c(CHANGED, *FLAGS))
    assert diff.changed == ["outer"]
    assert _said(diff, "outer", Cause.BODY) == ["inlines helper by way of middle, which changed"]
    assert not _said(diff, "outer", Cause.SOURCE)


def test_a_function_whose_own_lines_changed_says_so(compile_c: Compile) -> None:
    after = SOURCE.replace("middle(x) - 1", "middle(x) - 2")
    diff = diff_files(compile_c(SOURCE, *FLAGS), compile_c(after, *FLAGS))
    assert [detail.startswith("its source differs") for detail in _said(diff, "outer", Cause.SOURCE)] == [True]
    assert not _said(diff, "outer", Cause.BODY)


def test_a_comment_and_moved_lines_are_no_source_change(compile_c: Compile) -> None:
    after = CHANGED.replace("int outer(int x) {", "\n\nint outer(int x) { /* } */")
    diff = diff_files(compile_c(SOURCE, *FLAGS), compile_c(after, *FLAGS))
    assert not _said(diff, "outer", Cause.SOURCE)
    assert _said(diff, "outer", Cause.BODY) == ["inlines helper by way of middle, which changed"]


def test_a_changed_function_with_code_of_its_own_needs_no_source(compile_c: Compile) -> None:
    before = SOURCE.replace("static inline __attribute__((always_inline)) int helper", "int helper")
    paths = [compile_c(text, *FLAGS) for text in (before, before.replace("x + 3", "x + 4"))]
    for path in paths:
        path.with_suffix(".c").unlink()
    diff = diff_files(*paths)
    assert diff.changed == ["helper", "outer"]
    [said] = _said(diff, "outer", Cause.BODY)
    assert said.startswith("inlines helper")
    assert said.endswith(", which changed")


def test_without_source_and_code_the_bodies_are_named_and_not_accused(compile_c: Compile) -> None:
    paths = [compile_c(text, *FLAGS) for text in (SOURCE, CHANGED)]
    for path in paths:
        path.with_suffix(".c").unlink()
    said = _said(diff_files(*paths), "outer", Cause.BODY)
    assert said == ["made from middle too, whose source is not at hand to compare"]


def test_a_body_that_one_side_alone_inlines_is_named(compile_c: Compile) -> None:
    after = SOURCE.replace("x + sink", "helper(x) + sink")
    paths = compile_c(SOURCE, *FLAGS), compile_c(after, *FLAGS)
    assert "now inlines helper" in _said(diff_files(*paths), "other", Cause.BODY)
    assert "no longer inlines helper" in _said(diff_files(*reversed(paths)), "other", Cause.BODY)


CLONED = """
int sink;
static __attribute__((noinline)) int foo(int a, int b)
{
    int i, s = sink;
    for (i = 0; i < b; i++) s += a * i + sink;
    sink = s;
    return s * b;
}
int one(int x) { return foo(x, 3) + 1; }
int two(int x) { return foo(x, 3) + 2; }
"""


def test_a_clone_says_whose_copy_it_is(compile_c: Compile) -> None:
    diff = diff_files(compile_c(CLONED, *FLAGS), compile_c(CLONED.replace("s * b", "s - b"), *FLAGS))
    clones = [name for name in diff.changed if name.startswith("foo.")]
    assert len(clones) == 1
    assert _said(diff, clones[0], Cause.BODY) == ["is a copy of foo, which changed"]


def test_dumps_elsewhere_are_named(compile_c: Compile, tmp_path: Path) -> None:
    before, after = compile_c(SOURCE, *FLAGS), compile_c(CHANGED, *FLAGS)
    bare = [str((tmp_path / f"{side}.o").absolute()) for side in "ab"]
    for target, path in zip(bare, (before, after), strict=True):
        Path(target).write_bytes(path.read_bytes())
    dumps = [str(path.with_name("unit.c.000i.ipa-clones")) for path in (before, after)]
    assert all(Path(dump).exists() for dump in dumps)
    plain = CliRunner().invoke(command, [*bare, "--json"])
    told = CliRunner().invoke(command, [*bare, "--json", "--dumps", *dumps])
    reasons = [
        [reason["cause"] for reason in json.loads(run.stdout)["functions"][0]["reasons"]] for run in (plain, told)
    ]
    assert (reasons[0].count("body"), reasons[1].count("body")) == (0, 1)


def test_dumps_of_trees_beside_their_objects_are_read(compile_c: Compile) -> None:
    folders = [compile_c(text, *FLAGS).parent for text in (SOURCE, CHANGED)]
    for options in ([], ["--dumps", *map(str, folders)]):
        run = CliRunner().invoke(command, [*map(str, folders), "--json", "-j1", *options])
        assert "inlines helper by way of middle" in run.stdout


def test_a_broken_dump_is_a_note_unless_it_was_asked_for(compile_c: Compile) -> None:
    before, after = compile_c(SOURCE, *FLAGS), compile_c(CHANGED, *FLAGS)
    dumps = tuple(path.with_name("unit.c.000i.ipa-clones") for path in (before, after))
    dumps[1].write_text("Callgraph clone;torn")
    diff = diff_files(before, after)
    assert diff.changed == ["outer"]
    assert [note for note in diff.notes if "clone dump" in note and "unit.c.000i" in note]
    with pytest.raises(FormatError):
        diff_files(before, after, dumps=(dumps[0], dumps[1]))


def test_a_folder_without_the_dump_that_was_asked_for_is_refused(compile_c: Compile, tmp_path: Path) -> None:
    before, after = compile_c(SOURCE, "-O2"), compile_c(CHANGED, "-O2")
    with pytest.raises(UserError, match="0 clone dumps"):
        diff_files(before, after, dumps=(tmp_path, tmp_path))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (Location("/t/a/fs/x.c", 8), Location("/t/b/fs/x.c", 8), "fs/x.c:8"),
        (Location("/t/a/fs/x.c", 8), Location("/t/b/fs/x.c", 9), "fs/x.c:8, now 9"),
        (Location("/t/a.c", 8), Location("/t/b.c", 8), "/t/a.c:8 and /t/b.c:8"),
        (Location("/t/a.c", 8), Location("/t/a.c", 9), "/t/a.c:8, now 9"),
    ],
)
def test_a_place_in_two_trees_is_named_once(before: Location, after: Location, said: str) -> None:
    assert both_places(before, after) == said


def test_code_changes_are_told_without_anything_about_live_patches(compile_c: Compile) -> None:
    longer = f"{CHANGED}int fresh;\nint more(int x) {{ return ++fresh + x; }}\n"
    before, after = (ElfFile.open(compile_c(text, *FLAGS)) for text in (SOURCE, longer))
    forward, back = code_changes(before, after), code_changes(after, before)
    assert [function.name for function in forward.changed] == ["outer"]
    assert [function.name for function in forward.new] == [function.name for function in back.gone] == ["more"]
    assert code_changes(before, before) == CodeChanges((), (), (), moved=())
