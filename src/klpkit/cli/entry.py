"""Where `klpkit` begins: the list of commands is shown without loading the library that reads command lines.

Loading click takes three times as long as the interpreter needs to start, and who asks for help waits for it.
Anything but plain `klpkit`, `klpkit --help` and `klpkit --version` goes on to `klpkit.cli.main`.
"""

from __future__ import annotations

import os
import sys

from klpkit import __version__
from klpkit.cli.commands import COMMANDS

WIDTH = 78  # click's for a terminal of 80 columns or more, and where there is none
_HELP = """\
Usage: klpkit [OPTIONS] COMMAND [ARGS]...

  Which machine code must be replaced when a function changes?

  klpkit is for people who live-patch Linux kernels and other C programs.

Options:
  -V, --version  Show the version and exit.
  -v, --verbose  Log every program that is run, with its exact command.
  -h, --help     Show this message and exit.

Commands:
"""


def main() -> None:
    """Entry point."""
    if len(sys.argv) == 2 and _plain():
        text = {"-h": _help, "--help": _help, "-V": _version, "--version": _version}.get(sys.argv[1])
        if text is not None and _written(text()):
            return
    try:
        from klpkit.cli.main import run

        status = run()
    except KeyboardInterrupt:  # before the command began, or for the second time
        os.write(2, b"klpkit: interrupted\n")
        status = 130
    # All is written. Python's own way out takes memory apart: a tenth of a second after a large command.
    os._exit(status)


def _written(text: str) -> bool:
    """Whether `text` went out; who can't take it is dealt with where all such errors are."""
    try:
        os.write(1, text.encode())
    except OSError:
        return False
    return True


def _plain() -> bool:
    """Whether the help is laid out as for a terminal of at least 80 columns, and nothing asks for completions."""
    if "COLUMNS" in os.environ or "_KLPKIT_COMPLETE" in os.environ:
        return False
    try:
        return not os.isatty(1) or os.get_terminal_size(1).columns >= WIDTH + 2
    except OSError:
        return False


def _version() -> str:
    return f"klpkit, version {__version__}\n"


def _help() -> str:
    return _HELP + "".join(_row(name, COMMANDS[name]) for name in sorted(COMMANDS))


def _row(name: str, text: str) -> str:
    """One command, its text wrapped behind the longest name."""
    start = max(map(len, COMMANDS)) + 4
    lines = [f"  {name}".ljust(start)]
    fresh = True
    for word in text.split():
        if len(lines[-1]) + len(word) + (not fresh) > WIDTH:
            lines.append(" " * start)
            fresh = True
        lines[-1] += word if fresh else f" {word}"
        fresh = False
    return "\n".join(lines) + "\n"
