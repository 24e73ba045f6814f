"""What a stream can show, and progress."""

from __future__ import annotations

import io
import sys

import pytest

from klpkit.report.terminal import Sheet, console, progress, sheet


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def __init__(self, encoding: str = "utf-8", terminal: bool = True) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding, newline="\n")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def shown(self) -> str:
        self.flush()
        return self.bytes.getvalue().decode(self.encoding)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.mark.parametrize(
    ("terminal", "environment", "colour"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (False, {"FORCE_COLOR": "1"}, True),
        (True, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colour_follows_terminal_and_environment(
    terminal: bool, environment: dict[str, str], colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert sheet(Terminal(terminal=terminal)).colour is colour


def test_a_pipe_is_80_columns_wide_and_keeps_names_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = sheet(Terminal(terminal=False))
    assert (pipe.width, pipe.fold_names) == (80, False)
    monkeypatch.setenv("COLUMNS", "132")
    assert sheet(Terminal(terminal=False)).width == 132
    monkeypatch.setenv("COLUMNS", "wide")
    assert sheet(Terminal(terminal=False)).width == 80


def test_boxes_only_where_the_encoding_has_them() -> None:
    assert sheet(Terminal("utf-8")).unicode
    assert not sheet(Terminal("iso-8859-1")).unicode
    assert not sheet(Terminal("ascii")).unicode


def test_a_character_that_cannot_be_shown_becomes_an_escape() -> None:
    stream = Terminal("ascii")
    Sheet(stream).write("naïve 漢\n")
    assert stream.shown() == "na\\xefve \\u6f22\n"


def test_paint_is_nothing_without_colour() -> None:
    assert Sheet(io.StringIO()).paint("x", "bad") == "x"
    assert Sheet(io.StringIO(), colour=True).paint("x", "bad") == "\x1b[1;31mx\x1b[0m"


def test_the_console_follows_the_same_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal(terminal=False)
    monkeypatch.setattr(sys, "stdout", stream)
    console().print("[bold]a[/] 12", style="red")
    assert stream.shown() == "[bold]a[/] 12\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    console().print("b", style="red")
    assert stream.shown().endswith("\x1b[31mb\x1b[0m\n")


def test_progress_is_silent_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal(terminal=False)
    monkeypatch.setattr(sys, "stderr", stream)
    with progress("replaying", 3) as advance:
        advance()
        advance(2)
    assert stream.shown() == ""


def test_progress_shows_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress("replaying [x]", 3) as advance:
        advance(3)
    assert "replaying [x]" in stream.shown()
    assert "3/3" in stream.shown()
