"""The guest's own report: one line an event, `UPTIME EVENT WORDS…`, written by `init.sh`.

Events: `start RELEASE`, `load MODULE STATUS`, `transition in|out STATUS`, `blocker TASK STACK`, `disable STATUS`,
`unload MODULE STATUS`, `output STATE LINE`, `check STATE STATUS`, `cycles N`, `tainted BITS`, `end`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from klpkit.boot.outcome import Check, Slug, Trouble


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the report: seconds since the guest's kernel started, what happened, the rest of the line."""

    seconds: float
    kind: str
    text: str

    @property
    def words(self) -> list[str]:
        return self.text.split()

    @property
    def status(self) -> int:
        """The number that ends the line; -1 where the line has none, which is no success."""
        last = self.words[-1] if self.words else ""
        return int(last) if last.isdigit() else -1


def read_report(text: str) -> list[Event]:
    """All events of complete lines; a line that is none is an event of kind `garbled`."""
    events = []
    for line in text.splitlines():
        seconds, _, rest = line.strip("\r").partition(" ")
        kind, _, words = rest.partition(" ")
        try:
            events.append(Event(float(seconds), kind, words))
        except ValueError:
            events.append(Event(0.0, "garbled", line))
    return events


def checks(events: list[Event]) -> Iterator[Check]:
    """The runs of the check script, each with what it printed."""
    output: dict[str, list[str]] = {}
    for event in events:
        state, _, line = event.text.partition(" ")
        if event.kind == "output":
            output.setdefault(state, []).append(line)
        elif event.kind == "check":
            yield Check(state, event.status, tuple(output.pop(state, [])), event.seconds)


def transitions(events: list[Event]) -> dict[str, float]:
    """Direction → seconds that the first successful transition took, from the event before it."""
    found: dict[str, float] = {}
    for before, event in pairwise(events):
        if event.kind == "transition" and event.status == 0:
            found.setdefault(event.words[0], round(event.seconds - before.seconds, 2))
    return found


def troubles(events: list[Event]) -> Iterator[Trouble]:
    """What the events themselves show to have gone wrong."""
    for event in events:
        rule = _RULES.get(event.kind)
        if rule is not None and event.status != 0:
            slug, message = rule(event)
            yield Trouble(slug, message, _evidence(event, events))


def _load(event: Event) -> tuple[Slug, str]:
    return Slug.LOAD_FAILED, f"module {event.words[0]} could not be loaded"


def _transition(event: Event) -> tuple[Slug, str]:
    way = {"in": "in", "out": "out"}.get(event.words[0], "")
    return Slug.STUCK, f"the transition {way} did not end"


def _revert(event: Event) -> tuple[Slug, str]:
    return Slug.NOT_REVERTED, f"the patch could not be taken out ({event.kind})"


def _check(event: Event) -> tuple[Slug, str]:
    return Slug.CHECK_FAILED, f"the check of the {event.words[0]} kernel ended with status {event.status}"


_RULES: dict[str, Callable[[Event], tuple[Slug, str]]] = {
    "load": _load,
    "transition": _transition,
    "disable": _revert,
    "unload": _revert,
    "check": _check,
}


def _evidence(event: Event, events: list[Event]) -> tuple[str, ...]:
    """The lines that belong to a failure: what the check or the loader said, and who holds a transition back."""
    subject = event.words[0] if event.words else ""
    wanted = {"load": ("output", f"load-{subject}"), "check": ("output", subject), "transition": ("blocker", "")}
    kind, first = wanted.get(event.kind, ("", ""))
    mine = (other.text for other in events[: events.index(event)] if other.kind == kind)
    return tuple(text.removeprefix(first).strip() for text in mine if text.startswith(first))[-20:]
