"""What came of a guest, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from klpkit.boot.outcome import Outcome

__all__ = ["boot_json", "boot_text"]


def boot_json(outcome: Outcome) -> str:
    """All of `outcome` but the kernel's log, as one JSON object."""
    known = asdict(outcome)
    del known["console"]
    return json.dumps({**known, "passed": outcome.passed}, indent=2)


def boot_text(outcome: Outcome) -> str:
    """The steps of the guest, then its troubles with their evidence."""
    return "\n".join([*_steps(outcome), *_troubles(outcome), "passed" if outcome.passed else "FAILED"])


def _steps(outcome: Outcome) -> Iterator[str]:
    booted = outcome.release or "no kernel came to user space"
    yield f"{booted} ({outcome.accelerator}, {outcome.seconds:.1f} s)"
    if outcome.loaded:
        yield f"  {'loaded':<10} {', '.join(dict.fromkeys(outcome.loaded))}"
    for check in outcome.checks:
        passed = "check passed" if check.status == 0 else f"check FAILED with status {check.status}"
        yield f"  {check.state:<10} {passed}"
        yield from (f"  {'':<10}   {line}" for line in check.output)
    for way, seconds in outcome.transitions.items():
        yield f"  {'patched' if way == 'in' else 'reverted':<10} transition took {seconds:.2f} s"
    if outcome.cycles:
        yield f"  {'stress':<10} {outcome.cycles} load and revert cycles"


def _troubles(outcome: Outcome) -> Iterator[str]:
    for trouble in outcome.troubles:
        yield f"{trouble.message} [{trouble.slug}]"
        yield from (f"  | {line}" for line in trouble.evidence)
