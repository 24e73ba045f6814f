"""Applies the hunks of a unified diff to a text: exactly, elsewhere than they say, or with less context.

What `patch` calls an offset is allowed and reported; what it calls fuzz (context lines at the ends of a hunk that
do not match) only as far as the caller asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unidiff.patch import Hunk, Line

# How far a hunk may lie from where it says, as `patch` allows.
_SEARCH_LINES = 1000


class HunkError(Exception):
    """A hunk has no place, or no certain one; `number` counts from 1, `line` is the one that it names."""

    def __init__(self, number: int, line: int, problem: str) -> None:
        super().__init__(problem)
        self.number = number
        self.line = line


@dataclass(frozen=True, slots=True)
class Moved:
    """A hunk that was applied `offset` lines below where it says, `fuzz` lines of its context left out."""

    number: int
    line: int
    offset: int
    fuzz: int

    def __str__(self) -> str:
        far = abs(self.offset)
        where = f"{far} line{'s' * (far != 1)} {'below' if self.offset > 0 else 'above'} where it says"
        parts = [where] * (self.offset != 0) + [f"with fuzz {self.fuzz}"] * (self.fuzz != 0)
        return f"hunk {self.number} was applied at line {self.line}, {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class _Change:
    """One hunk as lines: what must stand there, what takes its place, and the context at both ends of it."""

    start: int
    before: list[str]
    after: list[str]
    head: int
    tail: int

    def trimmed(self, fuzz: int) -> _Change:
        """The change with up to `fuzz` lines of context left out at either end."""
        head, tail = min(fuzz, self.head), min(fuzz, self.tail)
        return _Change(
            self.start + head,
            self.before[head : len(self.before) - tail],
            self.after[head : len(self.after) - tail],
            self.head - head,
            self.tail - tail,
        )


def apply_hunks(
    text: str, hunks: Iterable[Hunk], *, fuzz: int = 0, reverse: bool = False
) -> tuple[str, list[Moved]]:
    """`text` with `hunks` applied, and those that were not applied exactly where they say.

    `reverse` takes them out instead.  Raises `HunkError` for the first one that does not apply.
    """
    lines = _split(text)
    result: list[str] = []
    moved: list[Moved] = []
    done, shift = 0, 0
    for number, hunk in enumerate(hunks, 1):
        change = _change(hunk, reverse)
        found, used = _place(lines, change, change.start + shift, done, fuzz, number)
        offset = found - used.start - shift
        shift += offset
        if offset or used.head != change.head or used.tail != change.tail:
            lost = max(change.head - used.head, change.tail - used.tail)
            moved.append(Moved(number, found + 1, offset, lost))
        result += lines[done:found] + used.after
        done = found + len(used.before)
    result += lines[done:]
    return ("\n".join(result) + "\n" if result else ""), moved


def _split(text: str) -> list[str]:
    # Not splitlines(): form feeds and kin stand inside lines of C.
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return lines


def _change(hunk: Hunk, reverse: bool) -> _Change:
    lines = [line for line in hunk if line.line_type != "\\"]
    before = [_line(line) for line in lines if not line.is_added]
    after = [_line(line) for line in lines if not line.is_removed]
    start, length = hunk.source_start, hunk.source_length
    if reverse:
        before, after = after, before
        start, length = hunk.target_start, hunk.target_length
    context = [line.is_context for line in lines]
    head = next((i for i, same in enumerate(context) if not same), len(context))
    tail = next((i for i, same in enumerate(reversed(context)) if not same), 0)
    # A hunk without a line on this side is numbered by the line before it.
    return _Change(max(start - 1, 0) if length else start, before, after, head, tail)


def _line(line: Line) -> str:
    return str(line.value).removesuffix("\n")


def _place(
    lines: Sequence[str], change: _Change, expected: int, first: int, fuzz: int, number: int
) -> tuple[int, _Change]:
    """Where `change` goes, and the form of it that fits there."""
    for lost in range(min(fuzz, max(change.head, change.tail)) + 1):
        used = change.trimmed(lost)
        if lost and not used.before:
            break  # nothing would be left to hold on to
        places = list(_find(lines, used.before, expected + used.start - change.start, first))
        if len(places) > 1:
            raise HunkError(number, change.start + 1, "fits equally well in two places")
        if places:
            return places[0], used
    raise HunkError(number, change.start + 1, "does not apply")


def _find(lines: Sequence[str], before: Sequence[str], expected: int, first: int) -> Iterator[int]:
    """Where `before` stands in `lines`, nearest to `expected` and not above `first`."""
    wanted = list(before)
    for distance in range(_SEARCH_LINES if wanted else 1):
        found = False
        for start in sorted({expected - distance, expected + distance}):
            if first <= start <= len(lines) and list(lines[start : start + len(wanted)]) == wanted:
                found = True
                yield start
        if found:
            return
