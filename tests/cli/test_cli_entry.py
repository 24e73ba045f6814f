"""The first words of `klpkit`, shown without loading what reads command lines, are what that would show."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from klpkit.cli.commands import COMMANDS
from klpkit.cli.main import cli

ENTRY = "from klpkit.cli.entry import main; main()"


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    argv = [sys.executable, "-c", ENTRY, *arguments]
    return subprocess.run(argv, env={**environment, **variables}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("option", ["-h", "--help", "-V", "--version"])
def test_it_is_word_for_word_what_the_whole_command_line_says(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    expected = CliRunner().invoke(cli, [option], prog_name="klpkit")
    shown = run(option)
    assert (shown.stdout, shown.returncode, shown.stderr) == (expected.output, 0, "")


def test_a_narrow_terminal_gets_narrow_help() -> None:
    lines = run("--help", COLUMNS="60").stdout.splitlines()
    assert max(map(len, lines)) <= 60
    assert lines != run("--help").stdout.splitlines()


def test_help_does_not_load_click() -> None:
    code = f"{ENTRY}; import sys; sys.exit('click' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False)
    assert (shown.returncode, "impact" in shown.stdout) == (0, True)


def test_a_reader_that_is_gone_is_no_traceback() -> None:
    with open("/dev/full", "w") as full:
        argv = [sys.executable, "-c", ENTRY, "--help"]
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_commands_are_listed_in_order() -> None:
    assert list(COMMANDS) == sorted(COMMANDS)
