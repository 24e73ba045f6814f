"""What came of a guest: its checks, its troubles, and the log of both its serial ports."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Slug(StrEnum):
    """Why a guest did not pass; `docs/reasons.md` says what to do."""

    NO_START = "guest-did-not-start"
    NO_END = "guest-did-not-end"
    KERNEL_TROUBLE = "kernel-trouble"
    TAINTED = "kernel-tainted"
    LOAD_FAILED = "module-not-loaded"
    CHECK_FAILED = "check-failed"
    STUCK = "transition-stuck"
    NOT_REVERTED = "patch-not-reverted"
    CYCLES = "cycles-not-finished"
    NOT_DONE = "guest-left-steps-out"


@dataclass(frozen=True, slots=True)
class Check:
    """One run of the check script: in which state, its exit status and what it printed."""

    state: str
    status: int
    output: tuple[str, ...]
    seconds: float
    """Since the guest's kernel started."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One reason why the guest did not pass, and the lines that show it."""

    slug: Slug
    message: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that is known when the guest has ended.  `seconds` are the host's, `transitions` the guest's."""

    release: str
    accelerator: str
    seconds: float
    checks: tuple[Check, ...]
    troubles: tuple[Trouble, ...]
    loaded: tuple[str, ...]
    transitions: dict[str, float] = field(default_factory=dict)
    """`in` and `out` → seconds from the request to the end of the first transition."""
    cycles: int = 0
    """Load and revert cycles that were finished under activity."""
    console: str = ""

    @property
    def passed(self) -> bool:
        return not self.troubles
