"""Writes the man page from the command line itself, so that it can't say anything else.

python tools/man_page.py            # writes docs/man/klpkit.1
python tools/man_page.py --check    # status 1 when the page is out of date
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from klpkit.cli.commands import COMMANDS
from klpkit.cli.main import cli

PAGE = Path(__file__).resolve().parent.parent / "docs/man/klpkit.1"

EXIT_STATUS = (
    ("0", "Done."),
    ("1", "The answer is no: it can't be patched safely, or a check failed."),
    ("2", "Wrong usage or input that can't be used."),
    ("3", "The machine lacks something, which is named with its install command."),
    ("70", "A bug in klpkit."),
)


def escaped(text: str) -> str:
    """`text` for roff: backslashes, leading dots and dashes that must stay dashes."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.splitlines())


def paragraphs(text: str) -> Iterator[str]:
    """A help text as roff: paragraphs are filled, one that begins with `\\b` stays as it is."""
    for part in text.split("\n\n"):
        lines = part.strip("\n").splitlines()
        if lines and lines[0].strip() == "\b":
            yield ".nf"
            yield escaped("\n".join(line.strip() for line in lines[1:]))
            yield ".fi"
        elif lines:
            yield escaped(" ".join(line.strip() for line in lines))
        yield ".PP"


def options(command: click.Command, context: click.Context) -> Iterator[str]:
    """The options of `command`, one a tagged paragraph."""
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record:
            names, says = record
            yield f".TP\n\\fB{escaped(names)}\\fR\n{escaped(says)}"


def page() -> str:
    """The whole page."""
    top = click.Context(cli, info_name="klpkit")
    lines = ['.TH KLPKIT 1 "" "klpkit" "User Commands"', ".SH NAME", "klpkit \\- live patching toolkit"]
    lines += [".SH SYNOPSIS", "\\fBklpkit\\fR [\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]"]
    lines += [".SH DESCRIPTION", *paragraphs(cli.help or ""), ".SH OPTIONS", *options(cli, top)]
    for name in sorted(COMMANDS):
        command = cli.get_command(top, name)
        if command is None:
            continue
        context = click.Context(command, parent=top, info_name=name)
        usage = " ".join(command.collect_usage_pieces(context))
        lines += [f".SH KLPKIT {name.upper()}", f"\\fBklpkit {name}\\fR {escaped(usage)}", ".PP"]
        lines += [*paragraphs(command.help or ""), *options(command, context)]
    lines.append(".SH EXIT STATUS")
    lines += [f".TP\n\\fB{code}\\fR\n{escaped(says)}" for code, says in EXIT_STATUS]
    lines += [".SH SEE ALSO", "klpkit\\-cc: docs/reference/klpkit\\-cc.md in the source package."]
    return "\n".join(lines) + "\n"


def main() -> int:
    if "--check" in sys.argv[1:]:
        current = PAGE.exists() and PAGE.read_text() == page()
        print("up to date" if current else "out of date: run python tools/man_page.py", file=sys.stderr)
        return 0 if current else 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
