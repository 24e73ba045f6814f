"""One concrete patch: which functions compile differently with it, and why those that it does not touch do.

A proof says who relies on a body whatever becomes of it; this compiles what did become of it.  A function that
differs and is not in the proven list keeps code that is right without the patch's bodies: the patch only lets the
compiler do something new.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.overlay import Pair, compile_pairs
from klpkit.build.tree import BuildTree
from klpkit.diff import Status, diff_files
from klpkit.proof.asking import unit_name
from klpkit.proof.decisions import source_name
from klpkit.proof.model import Answer, Impacted

Progress = Callable[[int, int], None]
NEWLY = "the patch lets the compiler do something new; its code as it runs stays right"


@dataclass(frozen=True, slots=True)
class Difference:
    """A function that compiles differently with the patch in; `status` is changed, new or gone.

    `touched` says that the patch changes its source.  For others `why` names the proven effect, or says that there
    is none.
    """

    unit: str
    symbol: str
    status: str
    touched: bool
    how: str
    why: str = ""


def differences(
    tree: BuildTree,
    patches: Sequence[Path],
    touched: Sequence[str],
    answers: Sequence[Answer],
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> list[Difference]:
    """What `patches` make differ in the units of `tree` that they affect.

    `touched` are the functions that they change (`file:name`), `answers` the proofs of those.  Errors are those of
    `compile_pairs` and of a diff.
    """
    names = {spec.rpartition(":")[2] for spec in touched}
    with tempfile.TemporaryDirectory(prefix="klpkit-proof-") as folder:
        compiled = compile_pairs(tree, patches, Path(folder), jobs=jobs, done=progress)
        return [row for pair in compiled.pairs for row in _of_pair(tree, pair, names, answers)]


def _of_pair(tree: BuildTree, pair: Pair, names: set[str], answers: Sequence[Answer]) -> list[Difference]:
    unit = unit_name(tree, pair.unit)
    proven = {item.symbol: item for answer in answers if answer.unit == unit for item in answer.impacted}
    found = []
    for function in diff_files(pair.original, pair.patched).functions:
        if function.status is Status.MOVED:
            continue
        own = source_name(function.name) in names
        how = "; ".join(reason.detail for reason in function.reasons[:2])
        why = "" if own or function.status is Status.NEW else _why(proven.get(function.name))
        found.append(Difference(unit, function.name, str(function.status), own, how, why))
    return found


def _why(item: Impacted | None) -> str:
    if item is None or not item.via:
        return NEWLY
    return f"{item.verdict}: it relies on {item.via} ({', '.join(item.causes) or 'cause not asked for'})"
