"""Whether a function's own code takes for granted what its callers pass.

A hidden function is compiled as if anybody called it.  Where that changes its own code, the compiler had used
something of its callers: facts about arguments, or only how often they run.  Builds with those passes off tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from klpkit.proof.causes import FROM_CALLERS, attribute, named
from klpkit.proof.changes import Change
from klpkit.proof.text import SourceFunction
from klpkit.proof.unit import ProofUnit

# Passes that change a function with its callers' arguments left unknown: they split it, or place and size it.
NOT_ARGUMENTS = frozenset({"part", "profile", "icf", "stack-alignment", "reference"})


@dataclass(frozen=True, slots=True)
class Assumption:
    """`says` is a sentence part on the evidence; `causes` are empty where no pass explains it.

    `of_arguments` tells whether callers' arguments are taken for granted; what can't be explained counts as such.
    """

    says: str
    causes: tuple[str, ...]
    of_arguments: bool
    runs: int = 0


def assumption(unit: ProofUnit, function: SourceFunction, own: Change, folder: Path) -> Assumption | None:
    """What made `function`'s own code differ by `own` once it was hidden; None where others can call it anyway."""
    if not function.static:
        return None
    found, runs = attribute(unit, function.name, [own.symbol], folder, FROM_CALLERS)
    slugs = found.get(own.symbol, ())
    of_arguments = not slugs or not NOT_ARGUMENTS.issuperset(slugs)
    return Assumption(own.how, named(unit.unit.kind, slugs), of_arguments, runs)
