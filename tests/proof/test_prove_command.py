"""`klpkit impact --prove` on a small project: text, JSON, whole files, patches, and its cache."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from klpkit.build.tree import open_tree
from klpkit.cli.main import cli
from klpkit.proof import open_unit
from klpkit.proof import unit as proof_unit

pytestmark = pytest.mark.skipif(shutil.which("gcc-12") is None, reason="gcc-12 is not installed")

SOURCE = """\
struct pair { int a; long b; };
int probe(int);
__attribute__((noinline)) void setter(struct pair *p, int x) { p->a = x; }
static int folded(int x) { return probe(x) + 1; }
long user(struct pair *p, int x) { p->b = 5; setter(p, x); return p->b; }
int entry(int x) { return folded(x) * 2; }
int lonely(int x) { return probe(x); }
"""
PATCH = """\
--- a/core.c
+++ b/core.c
@@ -3,1 +3,1 @@
-__attribute__((noinline)) void setter(struct pair *p, int x) { p->a = x; }
+__attribute__((noinline)) void setter(struct pair *p, int x) { p->a = x; p->b = x; }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    source = folder / "core.c"
    source.write_text(SOURCE)
    row = {
        "directory": str(folder),
        "file": "core.c",
        "arguments": ["gcc-12", "-O2", "-c", "-o", "core.o", "core.c"],
    }
    (folder / "compile_commands.json").write_text(json.dumps([row]))
    return folder


def run(project: Path, *words: str) -> Result:
    build = str(project / "compile_commands.json")
    return CliRunner().invoke(cli, ["impact", "--prove", "--build", build, *words])


def test_an_effect_in_no_record_is_shown_with_its_cause(project: Path) -> None:
    result = run(project, "setter")
    assert result.exit_code == 0, result.output
    assert "user" in result.output
    assert "modref" in result.output
    assert "in no record" in result.output
    assert "entry" not in result.output


def test_json_names_verdict_causes_and_what_was_compiled(project: Path) -> None:
    unit = json.loads(run(project, "folded", "--json").output)["units"][0]
    rows = {item["symbol"]: item for item in unit["impacted"]}
    assert rows["entry"]["verdict"] == "proven"
    assert rows["entry"]["causes"] == ["inline"]
    assert rows["entry"]["recorded"]
    assert not rows["folded"]["has_code"]
    assert unit["compilations"] > 0


def test_the_second_call_compiles_nothing(project: Path) -> None:
    first, second = (json.loads(run(project, "setter", "--json").output)["units"][0] for _ in range(2))
    assert second["compilations"] == 0
    assert second["impacted"] == first["impacted"]


@pytest.mark.parametrize("name", ["FORMAT", "__version__"])
def test_another_klpkit_does_not_take_over_old_answers(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (unit,) = open_tree(project / "compile_commands.json").units()
    folders = {open_unit(unit).folder, open_unit(unit).folder}
    monkeypatch.setattr(proof_unit, name, "another")
    assert len(folders) == 1
    assert open_unit(unit).folder not in folders


def test_a_whole_file_has_a_row_for_each_function(project: Path) -> None:
    file = json.loads(run(project, "--all", "core.c", "--json").output)["files"][0]
    rows = {row["function"]: row for row in file["rows"]}
    assert set(rows) == {"setter", "folded", "user", "entry", "lonely"}
    assert rows["setter"]["missed"] == 1
    assert rows["folded"]["impacted"] == 1
    assert file["undecided"] == 0
    assert file["per_proof"] <= 3


def test_a_patch_also_tells_what_compiles_differently_and_why(project: Path, tmp_path: Path) -> None:
    patch = tmp_path / "fix.patch"
    patch.write_text(PATCH)
    page = tmp_path / "page.html"
    result = run(project, "--patch", str(patch), "--source", str(project), "--json", "--html", str(page))
    assert result.exit_code == 0, result.output
    rows = {row["symbol"]: row for row in json.loads(result.stdout)["differing"]}
    assert rows["setter"]["touched"]
    assert not rows["user"]["touched"]
    assert "relies on setter" in rows["user"]["why"]
    assert set(rows) == {"setter", "user"}
    assert "With the patch in, 2 functions compile differently" in page.read_text()
    assert "user relies on what setter reads and writes" in page.read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["setter", "--dot"], "--prove prints text or JSON"),
        (["--all", "core.c", "--html", "page.html"], "the page is for functions and patches"),
        (["--all"], "--prove --all wants source files"),
        (["nothing_of_that_name"], "nothing_of_that_name"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_way_out(project: Path, words: list[str], says: str) -> None:
    result = run(project, *words)
    assert result.exit_code != 0
    assert says in result.output + str(result.exception)
