"""`klpkit audit`: what each translation unit's flags allow, and what of it no record shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from klpkit.compilers.levels import LEVELS, Level

if TYPE_CHECKING:
    from klpkit.audit import Audit
    from klpkit.build import BuildTree, TranslationUnit


@click.command(short_help="Say what each unit's flags allow, and what stays unlisted.")
@click.argument("units", nargs=-1, metavar="[TU]...")
@click.option(
    "--build",
    "build_dir",
    default=".",
    show_default=True,
    metavar="DIR",
    help="The build tree, or a compile_commands.json.",
)
@click.option(
    "--source", "source_dir", default=None, metavar="DIR", help="The source tree, where it lies elsewhere."
)
@click.option(
    "--level",
    type=click.Choice([str(level) for level in LEVELS]),
    default=None,
    help="Exit 1 when a unit does not honour this level.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
@click.option("--sarif", "sarif_file", default=None, metavar="FILE", help="Write a SARIF 2.1.0 log; - for stdout.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=None, help="Programs to run at once.")
def command(
    units: tuple[str, ...],
    build_dir: str,
    source_dir: str | None,
    level: str | None,
    as_json: bool,
    sarif_file: str | None,
    jobs: int | None,
) -> int:
    """Say which passes between functions each unit's flags turn on, and which of them no record shows.

    A TU is a source, or an object of the build tree.  TUs named here are compiled once more, outside the tree, to
    tell of each function whether it keeps the calling convention and meaning that its source declares.  Without
    a TU the whole tree is looked at by its flags alone.
    """  # fmt: skip
    if as_json and sarif_file == "-":
        raise click.UsageError("--json and --sarif - can't both go to standard output")
    from klpkit.audit import audit_units
    from klpkit.build.tree import open_tree
    from klpkit.report.terminal import progress

    tree = open_tree(Path(build_dir), source=Path(source_dir) if source_dir else None)
    chosen = _chosen(tree, units)
    with progress("audit", total=len(chosen)) as advance:
        audit = audit_units(
            chosen,
            root=tree.root,
            source=tree.source,
            level=Level(level) if level else None,
            inspect=bool(units),
            broken={} if units else tree.broken,
            jobs=jobs,
            progress=lambda _: advance(),
        )
    _write(audit, tree.source, as_json=as_json, sarif_file=sarif_file)
    return 0 if audit.honoured else 1


def _chosen(tree: BuildTree, names: tuple[str, ...]) -> list[TranslationUnit]:
    from klpkit.errors import UserError

    if not names:
        found = list(tree.units())
        if not found:
            unread = [f"{file}: {why}" for file, why in sorted(tree.broken.items())[:5]]
            hint = "\n  ".join(["build the tree, or name a TU to audit", *unread])
            raise UserError(f"{tree.root}: no translation units", hint=hint)
        return found
    return [tree.unit_for_object(name) if name.endswith(".o") else tree.ensure_unit(name) for name in names]


def _write(audit: Audit, source: Path | None, *, as_json: bool, sarif_file: str | None) -> None:
    from klpkit.audit import as_document
    from klpkit.report.audit import write_audit
    from klpkit.report.terminal import sheet

    if sarif_file:
        _write_sarif(audit, source, sarif_file)
    if as_json:
        click.echo(json.dumps(as_document(audit), indent=1, ensure_ascii=False))
    elif sarif_file != "-":
        write_audit(audit, sheet())


def _write_sarif(audit: Audit, source: Path | None, name: str) -> None:
    from klpkit.cachedir import atomic_write
    from klpkit.report.sarif import sarif_document

    text = json.dumps(sarif_document(audit, source=source), indent=1, ensure_ascii=False)
    if name == "-":
        click.echo(text)
        return
    with atomic_write(Path(name)) as stream:
        stream.write(text + "\n")
