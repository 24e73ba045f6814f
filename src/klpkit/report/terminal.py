"""What a text stream can show: its width, colours and characters; and progress for people who wait.

Follows https://no-color.org (`NO_COLOR` set and not empty: no colour) and https://force-color.org (`FORCE_COLOR`:
colour even into a pipe).  `NO_COLOR` wins.  Progress goes to a terminal on standard error or nowhere.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# Our words for colours → the parameters of ECMA-48's SGR sequence; the 16 colours follow the terminal's own theme.
_SGR = {"strong": "1", "faint": "2", "good": "32", "warn": "33", "bad": "1;31", "accent": "1;36"}
_UNICODE_PROBE = "├│└─…•"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A stream and what may be written to it.

    `width` is in columns.  `fold_names` allows breaking a name that is longer than its place over two lines; it is
    off for pipes, where a name must stay one word for the next program.
    """

    stream: TextIO
    width: int = 80
    unicode: bool = False
    colour: bool = False
    fold_names: bool = True

    def paint(self, text: str, style: str) -> str:
        """`text` in the `style` named in this file's table, or as it is where the stream shows no colour."""
        return f"\x1b[{_SGR[style]}m{text}\x1b[0m" if self.colour and text else text

    def write(self, text: str) -> None:
        """Write `text`; what the encoding can't show is written as an escape, never lost."""
        encoding = self.stream.encoding or "utf-8"
        self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def sheet(stream: TextIO | None = None, *, width: int | None = None) -> Sheet:
    """The sheet for `stream` (standard output by default), asked of the stream and the environment.

    A terminal tells its width; a pipe has the width in `COLUMNS`, else 80.
    """
    stream = stream or sys.stdout
    terminal = _is_terminal(stream)
    return Sheet(
        stream=stream,
        width=max(20, width or _width(terminal)),
        unicode=_shows_unicode(stream),
        colour=_wants_colour(terminal),
        fold_names=terminal,
    )


def _is_terminal(stream: TextIO) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)())


def _width(terminal: bool) -> int:
    if terminal:
        return shutil.get_terminal_size().columns
    told = os.environ.get("COLUMNS", "")
    return int(told) if told.isdecimal() and int(told) else 80


def _shows_unicode(stream: TextIO) -> bool:
    try:
        _UNICODE_PROBE.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _wants_colour(terminal: bool) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return terminal and os.environ.get("TERM") not in (None, "", "dumb")


def console(*, stderr: bool = False) -> Console:
    """A rich console on standard output or error that follows the same rules as `sheet`."""
    from rich.console import Console

    where = sheet(sys.stderr if stderr else sys.stdout)
    terminal = _is_terminal(where.stream)
    return Console(
        file=where.stream,
        width=where.width,
        color_system="auto" if terminal else "standard" if where.colour else None,
        no_color=not where.colour,
        force_terminal=terminal or where.colour,
        highlight=False,
        emoji=False,
        markup=False,
        soft_wrap=not terminal,
    )


Count = Callable[[int, int | None], None]
"""Tells a progress bar how many items are done and how many there are."""


class Advance(Protocol):
    """Tells a progress bar that `steps` more items are done."""

    def __call__(self, steps: int = 1) -> None: ...


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Advance]:
    """A progress bar on standard error while the block runs, where that is a terminal; else nothing at all.

    `total` is the number of items; None where it is unknown.
    """
    with counter(description) as count:
        done = 0

        def advance(steps: int = 1) -> None:
            nonlocal done
            done += steps
            count(done, total)

        yield advance


@contextmanager
def counter(description: str) -> Iterator[Count]:
    """As `progress`, for work that tells how much is done and how much there is, each time anew."""
    if not _is_terminal(sys.stderr):
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
