"""A kernel in QEMU: modules loaded, a live patch put in, seen to work, and taken out again.

`run_guest` does all of it; what a guest is to do is a `Guest`, what came of it an `Outcome`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from klpkit.boot.guest import Guest, run_guest
    from klpkit.boot.outcome import Check, Outcome, Trouble

__all__ = ["Check", "Guest", "Outcome", "Trouble", "run_guest"]

_HOMES = {"Check": "outcome", "Guest": "guest", "Outcome": "outcome", "Trouble": "outcome", "run_guest": "guest"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
