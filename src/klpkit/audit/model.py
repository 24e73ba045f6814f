"""What an audit answers, as plain frozen records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from klpkit.compilers.levels import Level
from klpkit.compilers.passes import Pass, passes_of


class AbiStatus(StrEnum):
    """Whether a function can be called, and replaced, by its symbol as its source declares it."""

    PRESERVED = "preserved"
    """Yes: shown by its linkage, the flags or the compiler's dump."""
    NARROWED = "narrowed"
    """No: the dump shows what it takes for granted of its arguments."""
    CLONE = "clone"
    """No: it is a copy with a calling convention or meaning of its own."""
    EXPOSED = "exposed"
    """Not shown either way; treat it as not preserved."""


@dataclass(frozen=True, slots=True)
class FunctionAbi:
    """One function of a unit's object; `notes` are sentences that say why."""

    symbol: str
    status: AbiStatus
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exposure:
    """Functions that a pass without a record and without a switch may have touched.

    `slug` names the pass.  `functions` is empty where the object can't tell them apart; `note` says then who is
    meant.
    """

    slug: str
    functions: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Breach:
    """One thing that the chosen level forbids: a pass that the flags allow, or a record that the dump shows.

    `slug` is `pass-allowed`, `forbidden-record`, `unhonoured-part` or `not-audited`.  `subject` names the pass,
    record or part; `file` and `line` its place in the source where known.
    """

    slug: str
    subject: str
    says: str
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class UnitAudit:
    """One translation unit.

    `source` and `object` are as the tree spells them.  `on` are the slugs of the passes that its flags turn on.
    `flag_set` numbers the distinct sets of flags of the audit from 1.  `functions` and `exposures` are filled
    where the unit was `inspected` (compiled again with dumps).
    """

    source: str
    object: str
    language: str
    kind: str
    compiler: str
    flag_set: int
    on: tuple[str, ...]
    lto: bool = False
    inspected: bool = False
    functions: tuple[FunctionAbi, ...] = ()
    exposures: tuple[Exposure, ...] = ()
    breaches: tuple[Breach, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The passes that are on."""
        return tuple(row for row in passes_of(self.kind) if row.slug in self.on)

    @property
    def unlisted(self) -> tuple[Pass, ...]:
        """The passes that are on and whose effects on code no record shows."""
        return tuple(row for row in self.passes if not row.recorded and row.affects == "code")

    @property
    def flagless(self) -> tuple[Pass, ...]:
        """Those of `unlisted` that no switch turns off."""
        return tuple(row for row in self.unlisted if row.flagless)

    def statuses(self) -> Mapping[AbiStatus, int]:
        """How many functions have each status."""
        return Counter(row.status for row in self.functions)


@dataclass(frozen=True)
class Audit:
    """All units that were audited.

    `established` holds, for each compiler (its version text), the slugs of the experiments that still show an
    effect when every switch of the table is off.  `warnings` say what may be missing.
    """

    root: str
    level: Level | None
    units: tuple[UnitAudit, ...]
    established: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @cached_property
    def breached(self) -> tuple[UnitAudit, ...]:
        """The units that do not honour the level."""
        return tuple(unit for unit in self.units if unit.breaches)

    @property
    def honoured(self) -> bool:
        """Whether every unit honours the level; true where none was chosen."""
        return not self.breached
