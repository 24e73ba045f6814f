"""What a proof says: plain frozen records, kept in the cache as JSON and shown by renderers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What hiding one function showed of another one whose code then differed, or that records named."""

    PROVEN = "proven"
    """Its code relies on the hidden body."""
    CONVENTION = "convention"
    """Its code is the same but for the name of a clone that it calls: it relies on that clone's convention."""
    UNDECIDED = "undecided"
    """Its code differs and it could not be shown why; counts as impacted."""
    KNOCK_ON = "knock-on"
    """Its code differs only because other functions were then inlined differently; not impacted."""


COUNTS_AS_IMPACTED = frozenset({Verdict.PROVEN, Verdict.CONVENTION, Verdict.UNDECIDED})


class Method(StrEnum):
    """How a function's proof was made."""

    HIDDEN = "hidden"
    """Its body was hidden and the unit compiled again."""
    DEFINITION = "definition"
    """It can only be inlined: the functions that contain its body depend on it by definition."""
    UNUSED = "unused"
    """Nothing in the unit has its body or calls it."""
    UNDECIDED = "undecided"
    """Its body could not be hidden: what records and calls name counts as impacted."""


@dataclass(frozen=True, slots=True)
class Use:
    """One function and what hiding another one's body showed of it.

    `symbol` is its assembler name in the object, or the source's where it has no code.  `causes` are slugs of
    `klpkit.records.causes`, empty while they were not asked for.  `how` is a sentence part that says what differs.
    """

    symbol: str
    verdict: Verdict
    causes: tuple[str, ...] = ()
    how: str = ""

    @property
    def impacted(self) -> bool:
        return self.verdict in COUNTS_AS_IMPACTED


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found about one function of one unit.

    `function` is its name in the source, `place` as `file:line`.  `assumes` says what its own code takes for
    granted of its callers' arguments ("" where nothing): then each of `callers` affects it, and it must not be
    called by its symbol.  `carries` are functions whose code relies on arguments that reach them through it.
    `reason` explains `Method.UNDECIDED`.  `compilations` counts compilers run, those for causes in `cause_runs`.
    """

    function: str
    place: str
    method: Method
    uses: tuple[Use, ...] = ()
    assumes: str = ""
    assumes_causes: tuple[str, ...] = ()
    callers: tuple[str, ...] = ()
    carries: tuple[str, ...] = ()
    reason: str = ""
    has_code: bool = True
    compilations: int = 0
    cause_runs: int = 0

    def with_verdict(self, *verdicts: Verdict) -> tuple[Use, ...]:
        return tuple(use for use in self.uses if use.verdict in verdicts)

    @property
    def impacted(self) -> tuple[Use, ...]:
        return tuple(use for use in self.uses if use.impacted)

    def document(self) -> dict[str, Any]:
        """The proof as what `json.dump` takes."""
        return asdict(self)

    @classmethod
    def from_document(cls, known: dict[str, Any]) -> Proof:
        uses = tuple(
            Use(row["symbol"], Verdict(row["verdict"]), tuple(row["causes"]), row["how"]) for row in known["uses"]
        )
        lists = {name: tuple(known[name]) for name in ("assumes_causes", "callers", "carries")}
        return cls(**{**known, **lists, "method": Method(known["method"]), "uses": uses})


@dataclass(frozen=True, slots=True)
class Impacted:
    """One function of the answer: why it is in, by way of which function, and what records say.

    `via` is the function whose proof names it, "" for a seed.  `recorded` tells whether records list it too.
    """

    symbol: str
    verdict: Verdict
    via: str = ""
    causes: tuple[str, ...] = ()
    how: str = ""
    recorded: bool = False
    distance: int = 0
    has_code: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """The proven impact of `seeds` in one unit: their closure under proven effects.

    `recorded_only` are functions with code that records list and that were proven not to matter, `knock_on` those
    whose code differed without being impacted; `missed` is the part of `impacted` that no record shows.
    `not_callable` maps functions that take their callers' arguments for granted to what they assume.
    """

    unit: str
    seeds: tuple[str, ...]
    impacted: tuple[Impacted, ...]
    recorded_only: tuple[str, ...] = ()
    knock_on: tuple[str, ...] = ()
    not_callable: dict[str, str] = field(default_factory=dict)
    proofs: tuple[Proof, ...] = ()
    warnings: tuple[str, ...] = ()
    compilations: int = 0

    @property
    def missed(self) -> tuple[Impacted, ...]:
        return tuple(item for item in self.impacted if item.via and not item.recorded)

    @property
    def undecided(self) -> tuple[Impacted, ...]:
        return tuple(item for item in self.impacted if item.verdict is Verdict.UNDECIDED)
