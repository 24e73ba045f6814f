"""`klpkit`: finds the command that is asked for and imports nothing else, so that `--help` stays fast."""

from __future__ import annotations

import logging
import sys
from importlib import import_module

import click

from klpkit import __version__
from klpkit.errors import KlpkitError

# Command → its one line in `--help`.  The module of a command is imported when it is run.
COMMANDS = {
    "audit": "Say what each translation unit's flags allow, and what stays unlisted.",
    "diff": "Say what changed between two objects, and whether a live patch can carry it.",
    "impact": "List the functions that must be patched with a function.",
}

EXIT_BUG = 70


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
    level = logging.DEBUG if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)


def main() -> None:
    """Entry point: turns errors into messages and exit codes."""
    try:
        status = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("klpkit: interrupted", err=True)
        status = 130
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except KlpkitError as error:
        click.echo(f"klpkit: {error}", err=True)
        status = error.exit_code
    except BrokenPipeError:
        # The reader of a pipe has seen enough; close quietly as other filters do.
        sys.stderr.close()
        status = 141
    except Exception:
        logging.getLogger("klpkit").critical("this is a bug in klpkit; please report it", exc_info=True)
        status = EXIT_BUG
    sys.exit(status if isinstance(status, int) else 0)
