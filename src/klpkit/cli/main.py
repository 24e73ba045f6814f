"""`klpkit`: finds the command that is asked for and imports nothing else, so that `--help` stays fast."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from importlib import import_module
from types import FrameType

import click

from klpkit import __version__
from klpkit.cli.commands import COMMANDS
from klpkit.errors import KlpkitError

EXIT_ENVIRONMENT = 3
EXIT_BUG = 70
# What a shell reports for a program that a signal ended: 128 and the signal's number.
EXIT_SIGNAL = 128
# Signals that ask a program to end; the programs that it runs are in groups of their own and get none of them.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Signals within so many seconds are one: `timeout` sends two, and a second Ctrl-C must not interrupt cleaning up.
TOGETHER = 1.0
COLLECT_AFTER = 50_000  # objects

_asked_at = -TOGETHER  # when a signal asked klpkit to end, on the monotonic clock


class LazyGroup(click.Group):
    """A group whose commands live in `klpkit.cli.<name>` and are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"klpkit.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="klpkit")
@click.option("-v", "--verbose", is_flag=True, help="Log every program that is run, with its exact command.")
def cli(verbose: bool) -> None:
    """Which machine code must be replaced when a function changes?

    klpkit is for people who live-patch Linux kernels and other C programs.
    """
    import logging

    level = logging.DEBUG if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)


class _Ended(BaseException):
    """A signal asks klpkit to end; unwinding the stack ends the programs that it runs."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = EXIT_SIGNAL + number


def main() -> None:
    """Run the command that the process was called with, and end with its exit code."""
    sys.exit(run())


def run() -> int:
    """Run the command that the process was called with: errors become messages and exit codes."""
    # Little of what a command makes is in cycles, and looking for them often costs a twentieth of its time.
    gc.set_threshold(COLLECT_AFTER)
    _have_streams()
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup asks for just that
            signal.signal(number, _end)
    status = _status()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = _broken_pipe()
    except OSError as error:
        status = _unwritable(error)
    return status


def _status() -> int:
    """Run the command and say what its exit code is."""
    stdout = sys.stdout
    try:
        try:
            status = cli.main(standalone_mode=False)
        finally:
            _end_at_once()
    except (click.exceptions.Abort, KeyboardInterrupt):
        _say("klpkit: interrupted")
        return EXIT_SIGNAL + signal.SIGINT
    except _Ended as error:
        return error.status
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KlpkitError as error:
        _say(f"klpkit: {error}")
        return error.exit_code
    except BrokenPipeError:
        return _broken_pipe()
    except OSError as error:
        return _unwritable(error)
    except SystemExit:
        # click ends shell completion like this, and after a broken pipe, whose stream it wraps.
        if sys.stdout is stdout:
            raise
        return _broken_pipe()
    except Exception:
        import logging

        logging.getLogger("klpkit").critical("this is a bug in klpkit; please report it", exc_info=True)
        return EXIT_BUG
    return status if isinstance(status, int) else 0


def _have_streams() -> None:
    """Stand-ins for standard streams that the caller closed: writing to them fails like on any closed file."""
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            # Read-only, and kept at that number: no file opened later may take its place and be written to.
            os.dup2(os.open(os.devnull, os.O_RDONLY), number)
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _end(number: int, frame: FrameType | None) -> None:
    global _asked_at
    now = time.monotonic()
    if now - _asked_at < TOGETHER:
        return
    _asked_at = now
    raise KeyboardInterrupt if number == signal.SIGINT else _Ended(number)


def _end_at_once() -> None:
    """Signals end klpkit as they end any program from now on: what it began is undone, the rest is words."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _broken_pipe() -> int:
    """The reader of a pipe has seen enough; close quietly as other filters do."""
    _silence(sys.stdout)
    return EXIT_SIGNAL + signal.SIGPIPE


def _unwritable(error: OSError) -> int:
    """The machine can't do what is needed: a full disk, a folder that may not be read, a closed stream."""
    if error.filename is None:
        _silence(sys.stdout)
        _say(f"klpkit: can't write the answer: {error.strerror or error}\n  free some space or write it elsewhere")
    else:
        _say(f"klpkit: {error.filename}: {error.strerror}\n  free some space, or ask for the right to use it")
    return EXIT_ENVIRONMENT


def _silence(stream: object) -> None:
    """Let what `stream` still holds go nowhere, so that the interpreter does not complain when it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())  # type: ignore[attr-defined]
    os.close(null)


def _say(text: str) -> None:
    try:
        click.echo(text, err=True)
    except OSError:
        # Nobody can be told; the exit code says the rest.
        _silence(sys.stderr)
