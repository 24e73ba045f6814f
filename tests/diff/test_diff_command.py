"""`klpkit diff`: outputs, exit codes, refusals."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest_pairs import Compile

from klpkit.cli.diff import command

FTRACE = ("-O2", "-pg", "-mfentry", "-mrecord-mcount", "-fno-pic")
SOURCE = 'int g(const char *); int f(int x) { return g("<b>%d") + x; } int h(void) { return 3; }'


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture
def pair(compile_c: Compile) -> tuple[Path, Path]:
    return compile_c(SOURCE, *FTRACE), compile_c(SOURCE.replace("+ x", "- x * 3"), *FTRACE)


def test_a_patchable_change_is_told_with_its_reason(pair: tuple[Path, Path]) -> None:
    result = _run(*pair)
    assert result.exit_code == 0
    assert result.output.startswith("patchable: 1 changed\nchanged  f  .text")


def test_an_obstacle_ends_with_status_1(compile_c: Compile) -> None:
    result = _run(compile_c(SOURCE, "-O2"), compile_c(SOURCE.replace("+ x", "- x * 3"), "-O2"))
    assert result.exit_code == 1
    assert "[no-ftrace-location]" in result.output


def test_json_has_the_lists_and_the_reasons(pair: tuple[Path, Path]) -> None:
    found = json.loads(_run(*pair, "--json").output)
    assert (found["schema"], found["verdict"], found["changed"]) == ("klpkit.diff/1", "patchable", ["f"])
    assert found["functions"][0]["reasons"]


def test_instructions_are_shown_side_by_side(pair: tuple[Path, Path]) -> None:
    lines = _run(*pair, "--instructions").output.splitlines()
    assert any(" > " in line or " | " in line for line in lines)
    assert any("call g" in line for line in lines)


def test_the_page_escapes_what_objects_hold(pair: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "diff.html"
    assert _run(*pair, "--instructions", "--html", page).exit_code == 0
    text = page.read_text()
    HTMLParser().feed(text)
    assert "&lt;b&gt;%d" in text
    assert "<b>" not in text


def test_two_folders_give_a_line_an_object_and_a_summary(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for side, path in zip(("a", "b"), pair, strict=True):
        for name in ("one.o", "deep/two.o", "same.o"):
            target = tmp_path / side / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((pair[0] if name == "same.o" else path).read_bytes())
    (tmp_path / "b" / "new.o").write_bytes(pair[0].read_bytes())
    result = _run(tmp_path / "a", tmp_path / "b", "-j", "2")
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.output.splitlines()] == [
        "deep/two.o",
        "new.o",
        "one.o",
        "4 objects",
    ]
    found = json.loads(_run(tmp_path / "a", tmp_path / "b", "-j", "1", "--json").output)
    assert found["summary"] == {"no-change": 1, "patchable": 2, "unpatchable": 1}


def test_bytecode_without_code_is_refused_with_a_way_out(compile_c: Compile) -> None:
    path = compile_c(SOURCE, "-O2", "-flto", "-fno-fat-lto-objects")
    result = _run(path, path)
    assert result.exception is not None
    assert "lto-object" in str(result.exception)
    assert "diff the linked objects" in str(result.exception)


def test_a_file_that_is_no_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.o"
    path.write_text("no object")
    assert "no ELF file" in str(_run(path, path).exception)
