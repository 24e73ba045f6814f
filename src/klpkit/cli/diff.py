"""`klpkit diff`: what changed between two builds, and can it be patched."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from klpkit.errors import UserError

if TYPE_CHECKING:
    from klpkit.diff.instructions import Row
    from klpkit.diff.model import ObjectDiff

FORMATS = ("text", "json")


@click.command("diff", short_help="Say what changed between two objects, and whether a live patch can carry it.")
@click.argument("original", type=click.Path(path_type=Path))
@click.argument("patched", type=click.Path(path_type=Path))
@click.option("-f", "--format", "form", type=click.Choice(FORMATS), default="text", help="What to print.")
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.option(
    "--instructions", is_flag=True, help="Show changed functions side by side, from the first difference."
)
@click.option(
    "--symvers",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Module.symvers: which module owns a symbol.",
)
@click.option(
    "--dumps",
    type=(click.Path(path_type=Path, exists=True), click.Path(path_type=Path, exists=True)),
    metavar="ORIGINAL PATCHED",
    help="Clone dumps of both sides, or their folders, if not beside the objects.",
)
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page as well.")
@click.option("--all", "everything", is_flag=True, help="For trees: a line for unchanged objects too.")
@click.option(
    "-j", "--jobs", type=click.IntRange(1), help="For trees: objects at once (default: one a processor)."
)
def command(
    original: Path,
    patched: Path,
    form: str,
    instructions: bool,
    symvers: Path | None,
    dumps: tuple[Path, Path] | None,
    html: Path | None,
    everything: bool,
    jobs: int | None,
) -> None:
    """Say what changed between two builds, and whether a live patch can carry it.

    ORIGINAL and PATCHED are two relocatable objects, of one unit or a whole linked vmlinux.o, or two folders with
    such objects. Ends with 0 where there is no change or a patch can carry it, with 1 where it can't.

    \b
      klpkit diff before/fork.o after/fork.o
      klpkit diff before/ after/ --json
      klpkit diff before/fork.o after/fork.o --instructions
    """
    if original.is_dir() != patched.is_dir():
        raise UserError("one side is a folder and the other is not", hint="name two objects or two folders")
    if original.is_dir():
        if instructions:
            raise click.UsageError("--instructions goes with two objects, not with folders")
        failed = _trees(original, patched, form, html, everything, jobs, symvers, dumps)
    else:
        failed = _objects(original, patched, form, html, instructions, symvers, dumps)
    if failed:
        sys.exit(1)


def _objects(
    original: Path,
    patched: Path,
    form: str,
    html: Path | None,
    instructions: bool,
    symvers: Path | None,
    dumps: tuple[Path, Path] | None,
) -> bool:
    from klpkit.diff import Verdict

    diff, views = _compared(original, patched, instructions, symvers, dumps)
    if form == "json":
        from klpkit.report.diff_json import write_diff_json

        write_diff_json(diff, sys.stdout)
    else:
        from klpkit.report.diff_text import write_diff
        from klpkit.report.terminal import sheet

        write_diff(diff, sheet(), views)
    if html is not None:
        _write_page(html, [diff], views)
    return diff.verdict is Verdict.UNPATCHABLE


def _compared(
    original: Path,
    patched: Path,
    instructions: bool,
    symvers: Path | None,
    dumps: tuple[Path, Path] | None,
) -> tuple[ObjectDiff, dict[str, list[Row | None]]]:
    from klpkit.diff.engine import diff_files, diff_with_instructions, read_symvers

    owners = read_symvers(symvers) if symvers else {}
    if not instructions:
        return diff_files(original, patched, symbol_owners=owners, dumps=dumps or (None, None)), {}
    return diff_with_instructions(original, patched, symbol_owners=owners, dumps=dumps or (None, None))


def _trees(
    original: Path,
    patched: Path,
    form: str,
    html: Path | None,
    everything: bool,
    jobs: int | None,
    symvers: Path | None,
    dumps: tuple[Path, Path] | None,
) -> bool:
    from klpkit.diff import Verdict
    from klpkit.diff.engine import read_symvers
    from klpkit.diff.tree import Compared, diff_trees
    from klpkit.report.diff_json import write_tree_json
    from klpkit.report.diff_text import write_line, write_tree_summary
    from klpkit.report.terminal import progress, sheet

    out = sheet()
    with progress("comparing") as advance:

        def done(compared: Compared) -> None:
            advance()
            if form == "text" and (everything or compared.verdict is not Verdict.NO_CHANGE):
                write_line(compared, out)

        owners = read_symvers(symvers) if symvers else {}
        tree = diff_trees(original, patched, jobs=jobs, done=done, symbol_owners=owners, dumps=dumps)
    if form == "json":
        write_tree_json(tree, sys.stdout)
    else:
        write_tree_summary(tree, out)
    if html is not None:
        _write_page(html, [compared.diff for compared in tree.objects if compared.diff], {})
    return tree.verdict is Verdict.UNPATCHABLE


def _write_page(path: Path, diffs: list[ObjectDiff], views: dict[str, list[Row | None]]) -> None:
    from klpkit.cachedir import atomic_write
    from klpkit.report.diff_html import render

    with atomic_write(path) as stream:
        stream.write(render(diffs, views))
    click.echo(f"wrote {path}", err=True)
