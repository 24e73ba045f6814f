"""Whether a function's own code takes for granted what its callers pass.

A hidden function is compiled as if anybody called it.  Where that changes its own code, the compiler had used
something of its callers: facts about arguments, or only how often they run.  Builds with those passes off tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from klpkit.proof.causes import FROM_CALLERS, attribute
from klpkit.proof.changes import Change
from klpkit.proof.text import SourceFunction
from klpkit.proof.unit import ProofUnit

# Passes that change a function with its callers' arguments left unknown: they split it, or place and size it.
NOT_ARGUMENTS = frozenset({"part", "profile", "icf", "stack-alignment", "reference"})


@dataclass(frozen=True, slots=True)
class Assumption:
    """`says` is a sentence part on the evidence; `causes` are slugs of passes, empty where none explains it."""

    says: str
    causes: tuple[str, ...]
    runs: int = 0

    @property
    def of_arguments(self) -> bool:
        """Whether callers' arguments are taken for granted; what can't be explained counts as such."""
        return not self.causes or not NOT_ARGUMENTS.issuperset(self.causes)


def assumption(unit: ProofUnit, function: SourceFunction, own: Change, folder: Path) -> Assumption | None:
    """What made `function`'s own code differ by `own` once it was hidden; None where others can call it anyway."""
    if not function.static:
        return None
    causes, runs = attribute(unit, function.name, [own.symbol], folder, FROM_CALLERS)
    return Assumption(own.how, causes.get(own.symbol, ()), runs)
