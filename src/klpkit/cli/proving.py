"""`klpkit impact --prove`: the proof behind the list (see `klpkit.cli.impact`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from klpkit.report.terminal import counter, sheet

if TYPE_CHECKING:
    from klpkit.build.tree import BuildTree


def prove(tree: BuildTree, specs: Sequence[str], *, causes: bool, jobs: int | None, form: str) -> None:
    """Prove the functions `specs` of `tree` and print the answers."""
    from klpkit.proof.asking import prove_functions
    from klpkit.report.proof import write_answers, write_answers_json

    with counter("proving") as progress:
        answers = prove_functions(tree, specs, causes=causes, jobs=jobs, progress=progress)
    if form == "json":
        write_answers_json(answers, sys.stdout)
    else:
        write_answers(answers, sheet())


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
