"""The study of levels: what is counted, over which functions, and how it is shown."""

from __future__ import annotations

import io
import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

from klpkit.build.tree import open_tree
from klpkit.cli.main import cli
from klpkit.proof.study import STOCK, Sampled, Side, Study, chosen, figures_of, study
from klpkit.report.study import against, document, render_study_html, render_svg, write_study
from klpkit.report.terminal import Sheet

SOURCE = """
int probe(int);
static int helper(int x) { return probe(x) + 1; }
static int middle(int x) { return helper(x) * 3; }
int first(int x) { return middle(x) + 2; }
int second(int x) { return helper(x) + 5; }
int third(int x) { return probe(x); }
"""


def tree_of(folder: Path) -> Path:
    (folder / "unit.c").write_text(SOURCE)
    row = {"directory": str(folder), "file": "unit.c", "command": "gcc-12 -O2 -c -o unit.o unit.c"}
    (folder / "compile_commands.json").write_text(json.dumps([row]))
    return folder


def side(level: str, lengths: list[int], *, text: int = 100, seconds: float = 1.0, unit: str = "a.c") -> Side:
    rows = tuple(Sampled(f"f{number}", length, 1, 2, 0) for number, length in enumerate(lengths))
    return Side(unit, level, (), rows, text, seconds)


MADE = Study(
    (
        side(STOCK, [0, 1, 2, 30]),
        side("none", [0, 0, 0, 1], text=120, seconds=0.5),
        side(STOCK, [4], unit="b<script>.c"),
        side("none", [0], unit="b<script>.c"),
    ),
    sample=4,
    seed=7,
)


@pytest.mark.skipif(shutil.which("gcc-12") is None, reason="gcc-12 is not installed")
def test_levels_shorten_lists_and_none_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = study(open_tree(tree_of(tmp_path)), ["unit.c"], sides=("inline-clone", "none"), jobs=1)
    assert found.levels == (STOCK, "inline-clone", "none")
    rows = {row.level: row for row in found.figures()}
    lengths = {s.level: {row.function: row.length for row in s.functions} for s in found.sides}
    assert lengths[STOCK]["helper"] == 2
    assert set(lengths["none"].values()) == {0}
    assert rows["none"].longest == 0
    assert rows["none"].text != 0
    assert all(row.missed == 0 for row in rows.values() if row.level == "none")
    assert "-fno-inline" in next(s.flags for s in found.sides if s.level == "none")


@pytest.mark.skipif(shutil.which("gcc-12") is None, reason="gcc-12 is not installed")
def test_the_command_prints_a_table_and_writes_plot_and_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    page, plot = tmp_path / "study.html", tmp_path / "study.svg"
    words = ["study", "unit.c", "--build", str(tree_of(tmp_path)), "--levels", "none", "--sample", "2"]
    said = CliRunner().invoke(cli, [*words, "--html", str(page), "--svg", str(plot)])
    assert said.exit_code == 0, said.output
    assert "2 functions a unit, chosen with seed 1" in said.stdout
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert ET.fromstring(plot.read_text()).tag.endswith("svg")
    assert "<h2>unit.c</h2>" in page.read_text()
    known = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
    assert [row["level"] for row in known["figures"]["all"]] == [STOCK, "none"]
    assert len(known["sides"][0]["functions"]) == 2


def test_a_word_that_is_no_level_is_refused() -> None:
    said = CliRunner().invoke(cli, ["study", "unit.c", "--levels", "inline,most"])
    assert said.exit_code == 2
    assert "'most' is not a level" in said.output


def test_a_sample_is_chosen_by_its_seed_and_keeps_the_order() -> None:
    names = [f"f{number:02}" for number in range(40)]
    assert chosen(names, 0, 1) == names == chosen(names, 99, 1)
    picked = chosen(names, 5, 1)
    assert len(picked) == 5
    assert picked == sorted(picked) == chosen(names, 5, 1)
    assert picked != chosen(names, 5, 2)


def test_figures_take_the_nearest_rank_and_leave_dead_functions_aside() -> None:
    rows = tuple(Sampled(f"f{number}", number, 0, 0, 0) for number in range(1, 21))
    dead = Sampled("gone", 0, 0, 0, 0, alive=False)
    found = figures_of("none", [Side("a.c", "none", (), (*rows, dead), 10, 1.0)])
    assert (found.functions, found.median, found.p95, found.longest) == (20, 10.5, 19, 20)


def test_figures_of_nothing_are_zero() -> None:
    found = figures_of("none", [])
    assert (found.functions, found.longest, found.text) == (0, 0, 0)


def test_tables_compare_with_stock_and_sum_several_units() -> None:
    stream = io.StringIO()
    write_study(MADE, Sheet(stream))
    text = stream.getvalue()
    assert "all units" in text
    assert "+20.0%" in text
    assert "-50.0%" in text
    assert max(map(len, text.splitlines())) <= 80
    assert against(1, 0) == "?"


def test_bars_stand_on_the_axis_and_names_are_escaped() -> None:
    plot = ET.fromstring(render_svg(MADE))
    bars = [node for node in plot.iter() if node.tag.endswith("rect")]
    assert len(bars) == 2 * 2 + 2 + 2
    assert {float(bar.get("y", 0)) + float(bar.get("height", 0)) for bar in bars} == {236.0}
    page = render_study_html(MADE)
    assert "b<script>" not in page
    assert "b&lt;script&gt;.c" in page
    assert "http-equiv" in page
    assert document(MADE)["schema"] == "klpkit.study/1"
