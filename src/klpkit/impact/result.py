"""What an impact query answers: the impacted functions, why each is there, and how each can be patched.

Plain frozen records, so that every renderer, the driver and a script see the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from klpkit.records.model import Effect, Function


class How(StrEnum):
    """How an impacted function can be replaced."""

    SYMBOL = "symbol"
    """By its symbol: its code is called as its source declares it."""
    CALLERS = "callers"
    """Only through its callers: a clone, whose calling convention or meaning is not its source's."""
    GONE = "gone"
    """It has no code of its own any more: every copy was inlined or it was removed; its users carry it."""
    UNKNOWN = "unknown"
    """No object was at hand to tell."""


@dataclass(frozen=True, slots=True)
class Patchability:
    """What the object file says about replacing one function.

    `owner` is `vmlinux` or the module that the function ends up in, empty where unknown.  `section` is the
    section of its code.  `ftrace` tells whether it has an ftrace location (None: unknown).  `forbidden` is the
    reason slug where it lives in code that must not be patched (`init-code`, `noinstr-code`, …), else empty.
    `notes` are sentences for a person: why it goes only through its callers, say.  `callable` is False where new
    code must not call the running function by its symbol: it is a clone, or takes for granted what its callers
    passed; None where nothing says so.
    """

    how: How = How.UNKNOWN
    owner: str = ""
    section: str = ""
    ftrace: bool | None = None
    forbidden: str = ""
    notes: tuple[str, ...] = ()
    callable: bool | None = None


@dataclass(frozen=True, slots=True)
class ImpactedFunction:
    """One function of the answer.

    `chain` is a shortest chain of effects from a seed to this function, empty for a seed itself; `chains` holds
    all simple chains where they were asked for.  `causes` are the slugs of every effect that reaches it from
    inside the answer.
    """

    function: Function
    chain: tuple[Effect, ...] = ()
    causes: tuple[str, ...] = ()
    patchability: Patchability = Patchability()
    chains: tuple[tuple[Effect, ...], ...] = ()

    @property
    def distance(self) -> int:
        """The number of effects between the nearest seed and this function; 0 for a seed."""
        return len(self.chain)


@dataclass(frozen=True, slots=True)
class ImpactAnswer:
    """The impacted functions of `seeds`, seeds included, nearest first.

    `effects` are all effects between functions of the answer, for graphs.  `evidence` names what was read
    (`clone dumps`, `object`, `DWARF`, …), `warnings` say what may be missing.
    """

    seeds: tuple[Function, ...]
    impacted: tuple[ImpactedFunction, ...]
    effects: tuple[Effect, ...]
    evidence: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())
