"""`klpkit impact --prove`: the proof behind the list (see `klpkit.cli.impact`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from klpkit.report.terminal import counter, sheet

if TYPE_CHECKING:
    from klpkit.build.tree import BuildTree
    from klpkit.proof.concrete import Difference
    from klpkit.proof.model import Answer


def prove(
    tree: BuildTree,
    specs: Sequence[str],
    *,
    causes: bool,
    jobs: int | None,
    form: str,
    patches: Sequence[Path] = (),
    html: Path | None = None,
    link: str = "",
) -> None:
    """Prove the functions `specs` of `tree` and print the answers; of `patches` also what they make differ.

    `html` names the page to write as well, `link` is the command that links units compiled with `-flto`.
    """
    from klpkit.proof.asking import prove_functions
    from klpkit.proof.concrete import differences
    from klpkit.report.proof import write_answers, write_answers_json, write_differences

    with counter("proving") as progress:
        answers = prove_functions(tree, specs, causes=causes, jobs=jobs, progress=progress, link=link)
    rows = None
    if patches:
        with counter("compiling both sides") as progress:
            rows = differences(tree, patches, specs, answers, jobs=jobs, progress=progress)
    if html is not None:
        _write_page(answers, rows, html)
    if form == "json":
        write_answers_json(answers, sys.stdout, rows)
        return
    write_answers(answers, sheet())
    if rows is not None:
        write_differences(rows, sheet())


def _write_page(answers: Sequence[Answer], rows: Sequence[Difference] | None, path: Path) -> None:
    from klpkit.cachedir import atomic_write
    from klpkit.report.proof_html import render_proof_html

    with atomic_write(path) as stream:
        stream.write(render_proof_html(answers, rows))
    click.echo(f"wrote {path}", err=True)


def prove_files(tree: BuildTree, sources: Sequence[str], *, causes: bool, jobs: int | None, form: str) -> None:
    """Prove every function of the files `sources` and print a table."""
    from klpkit.proof.asking import prove_file
    from klpkit.report.proof import write_files, write_files_json

    with counter("proving") as progress:
        files = [prove_file(tree, name, causes=causes, jobs=jobs, progress=progress) for name in sources]
    if form == "json":
        write_files_json(files, sys.stdout)
    else:
        write_files(files, sheet())
