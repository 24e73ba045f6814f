"""Two objects → what changed, and whether a live patch can carry it.

`klpkit.diff.model` has the records, `docs/explanation/diff-evidence.md` the reasoning.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "Cause",
    "Data",
    "Function",
    "MovedLine",
    "ObjectDiff",
    "Obstacle",
    "Reason",
    "Status",
    "Verdict",
    "comparison",
    "diff_elf",
    "diff_files",
]

_HOMES = dict.fromkeys(("comparison", "diff_elf", "diff_files"), "engine")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'model')}"), name)
    globals()[name] = value
    return value
