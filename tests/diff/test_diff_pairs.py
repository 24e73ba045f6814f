"""The shared kernel pairs: our answers against another tool's, differences argued in docs/explanation."""

from __future__ import annotations

from typing import Any

import pytest
from conftest_pairs import compared, expected_pairs, pair_paths

from klpkit.diff import Status, Verdict, diff_files

ROWS = expected_pairs()

# (arch, name) → functions that the bytes say changed and the other tool leaves out; argued in
# docs/explanation/diff-evidence.md.
ALSO_CHANGED = {("ppc64le", "meminfo-init2"): ["proc_meminfo_init"]}


def _name(row: dict[str, Any]) -> str:
    return f"{row['arch']}-{row['name']}"


@pytest.mark.skipif(not ROWS, reason="../shared/objs is absent")
def test_there_are_33_pairs() -> None:
    assert len(ROWS) == 33


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_pair_agrees_with_the_other_tool(row: dict[str, Any]) -> None:
    diff = diff_files(*pair_paths(row))
    changed = sorted(row["changed"] + ALSO_CHANGED.get((row["arch"], row["name"]), []))
    assert (diff.verdict, diff.changed, diff.new) == (row["verdict"], changed, row["new"])


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_an_object_does_not_differ_from_itself(row: dict[str, Any]) -> None:
    for path in pair_paths(row):
        diff = compared(path, path)
        assert diff.verdict is Verdict.NO_CHANGE
        assert (diff.functions, diff.data, diff.moved, diff.obstacles, diff.notes) == ((), (), (), (), ())
        assert diff_files(path, path) == diff


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_swapped_sides_swap_new_and_gone(row: dict[str, Any]) -> None:
    original, patched = pair_paths(row)
    there, back = diff_files(original, patched), diff_files(patched, original)
    assert (there.new, there.gone) == (back.gone, back.new)
    both_ways = [
        sorted((f.name, f.patched_name) for f in there.functions if f.status is Status.CHANGED),
        sorted((f.patched_name, f.name) for f in back.functions if f.status is Status.CHANGED),
    ]
    assert both_ways[0] == both_ways[1]
    assert sorted((m.before, m.after) for m in there.moved) == sorted((m.after, m.before) for m in back.moved)
