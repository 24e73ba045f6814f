"""What a diff answers: plain frozen records for renderers, scripts and the pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Whether a live patch can carry the difference."""

    NO_CHANGE = "no-change"
    PATCHABLE = "patchable"
    UNPATCHABLE = "unpatchable"


class Status(StrEnum):
    """What became of a function or a data object."""

    CHANGED = "changed"
    NEW = "new"
    GONE = "gone"
    MOVED = "moved"
    """Only line numbers differ."""


class Cause(StrEnum):
    """Why a function counts as changed."""

    CODE = "code"
    """Its instructions differ."""
    SIZE = "size"
    """Its instructions differ, and so does their length."""
    REFERENCE = "reference"
    """It refers to something else at the same place."""
    CONSTANT = "constant"
    """A constant or string that it uses differs."""
    CLONE = "clone"
    """A callee became a clone, or is no clone any more."""
    SITE = "site"
    """What a special section says of its code differs."""
    PART = "part"
    """Its cold part or what stands before its entry differs."""
    BODY = "body"
    """It inlines or clones another function that changed, or no longer does; from clone dumps."""
    SOURCE = "source"
    """Its source text differs; from clone dumps or line tables, and both source trees."""
    LINES = "lines"
    """It has more or fewer source lines, or where its code begins to differ; from line tables."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason of a change; `detail` is a sentence part that names what differs."""

    cause: Cause
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Function:
    """A function that differs.

    `name` is the original's (the patched one's, if new); `patched_name` differs from it where the compiler
    numbered a clone anew.  `aliases` are other names of the same code.  `sizes` are the bytes on both sides, 0
    where it is absent.  `offset` is the first differing byte, -1 where the bytes are equal.
    """

    name: str
    status: Status
    section: str
    patched_name: str = ""
    reasons: tuple[Reason, ...] = ()
    sizes: tuple[int, int] = (0, 0)
    offset: int = -1
    file: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CodeChanges:
    """The functions whose code differs between two objects, each in order of name.

    `changed` are on both sides (`name` the original's, `patched_name` the other's), `new` and `gone` on one.
    `moved` are the names of functions that are equal but for line numbers.
    """

    changed: tuple[Function, ...]
    new: tuple[Function, ...]
    gone: tuple[Function, ...]
    moved: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.new or self.gone)


@dataclass(frozen=True, slots=True)
class Data:
    """A data object that differs; `what` says how: `initialiser`, `size`, `reference`, `read-only`, `section`."""

    name: str
    status: Status
    section: str
    read_only: bool
    what: str = ""
    sizes: tuple[int, int] = (0, 0)
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MovedLine:
    """A line number that differs and nothing else; `evidence` says how it is known to be one."""

    where: str
    before: int
    after: int
    evidence: str


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that a live patch can't carry; `slug` is explained in `docs/reasons.md`."""

    slug: str
    symbol: str
    evidence: str
    advice: str


@dataclass(frozen=True, slots=True)
class ObjectDiff:
    """The difference of two objects."""

    original: str
    patched: str
    arch: str
    verdict: Verdict
    functions: tuple[Function, ...] = ()
    data: tuple[Data, ...] = ()
    moved: tuple[MovedLine, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    notes: tuple[str, ...] = ()
    compared: tuple[int, int] = (0, 0)
    """How many functions the two sides have."""

    def named(self, status: Status) -> list[str]:
        """The names of all functions with one status, in order of name."""
        return sorted(function.name for function in self.functions if function.status is status)

    @property
    def changed(self) -> list[str]:
        return self.named(Status.CHANGED)

    @property
    def new(self) -> list[str]:
        return self.named(Status.NEW)

    @property
    def gone(self) -> list[str]:
        return self.named(Status.GONE)
