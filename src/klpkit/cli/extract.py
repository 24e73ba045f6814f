"""`klpkit extract`: functions as one small C file that a person edits into a live patch."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from klpkit.build.tree import BuildTree
    from klpkit.extract.request import Extraction

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command("extract", short_help="Copy functions into a small C file, the draft of a hand-made live patch.")
@click.argument("functions", nargs=-1, metavar="[FUNCTION]...")
@click.option("--build", type=_FOLDER, metavar="DIR", help="The build tree (default: the current folder).")
@click.option("--source", type=_FOLDER, metavar="DIR", help="Source tree, where the build tree can't tell.")
@click.option(
    "--patch",
    "patches",
    type=_FILE,
    multiple=True,
    metavar="FILE",
    help="Take the functions that a patch touches.",
)
@click.option("--image", type=_FILE, metavar="FILE", help="The running kernel's image, such as vmlinuz.")
@click.option("--vmlinux", type=_FILE, metavar="FILE", help="Its vmlinux with symbols.")
@click.option("--system-map", type=_FILE, metavar="FILE", help="Its System.map.")
@click.option("--modules", type=_FOLDER, metavar="DIR", help="Its modules, as in /lib/modules/RELEASE.")
@click.option("--symvers", type=_FILE, metavar="FILE", help="Its Module.symvers: what is exported.")
@click.option("--name", default="livepatch_draft", show_default=True, help="The module's name.")
@click.option("--only", is_flag=True, help="Only the functions named, not those that must be patched with them.")
@click.option(
    "--thorough", is_flag=True, help="Compare function by function even where a difference is explained."
)
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The new folder."
)
def command(**options: Any) -> None:
    """Copy FUNCTIONs, and all that must be patched with them, into a C file to be edited.

    FUNCTION is a name, or FILE:NAME where several functions have it. The folder gets the C file, the glue that
    registers the patch, klpkit.h and a Makefile. What the copies need of the kernel is declared and annotated for
    klpkit convert; what the kernel has no code for is copied along.

    \b
      klpkit extract cmdline_proc_show --build ~/linux --image /boot/vmlinuz-6.12 -o cmdline-fix
      klpkit extract --patch fix.patch --build ~/linux --vmlinux ~/linux/vmlinux -o fix
    """
    from klpkit.build import open_tree
    from klpkit.extract import begun
    from klpkit.report.terminal import counter

    tree = open_tree(options["build"] or Path(), source=options["source"])
    touched, warnings = _touched(options["patches"], tree)
    specs = [*options["functions"], *touched]
    if not specs:
        raise click.UsageError("name a function, or a patch with --patch")
    with (
        tempfile.TemporaryDirectory(prefix="klpkit-extract-") as work,
        counter("compiling") as progress,
        begun(tree, specs, Path(work), warnings=warnings, progress=progress) as early,
    ):
        from klpkit.target import open_target

        target = open_target(
            **{key: options[key] for key in ("image", "vmlinux", "system_map", "modules", "symvers")}
        )
        early.expect(target)
        # Loaded while compilers run: it takes nearly as long as compiling a small unit.
        from klpkit.extract import extract, write_package

        found = extract(early, target, closed=not options["only"], thorough=options["thorough"])
        written = write_package(
            found.drafts,
            options["output"],
            options["name"],
            release=target.release,
            source=tree.source or tree.root,
            force=options["force"],
        )
    _print(found, written, as_json=options["as_json"])


def _touched(patches: Sequence[Path], tree: BuildTree) -> tuple[Sequence[str], Sequence[str]]:
    """The functions that `patches` touch, and what can't be said of them."""
    if not patches:
        return (), ()
    from klpkit.impact.patched import patched_functions

    found = patched_functions(patches, tree)
    return found.specs, found.warnings


def _print(found: Extraction, written: list[Path], *, as_json: bool) -> None:
    from klpkit.report.extract import extract_json, extract_text

    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(extract_json(found, written) if as_json else extract_text(found, written))
