"""Two objects → what changed, and whether a live patch can carry it.

- `diff_files`, `diff_elf`: everything, as an `ObjectDiff` with verdict, reasons and obstacles.
- `code_changes`: only which functions' code differs, references resolved, as `CodeChanges`.
- `comparison`: the raw rows behind both, for callers that need entities and references.

`klpkit.diff.model` has the records, `docs/explanation/diff-evidence.md` the reasoning.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "Cause",
    "CodeChanges",
    "Data",
    "Function",
    "MovedLine",
    "ObjectDiff",
    "Obstacle",
    "Reason",
    "Status",
    "Verdict",
    "code_changes",
    "comparison",
    "diff_elf",
    "diff_files",
]

_HOMES = dict.fromkeys(("code_changes", "comparison", "diff_elf", "diff_files"), "engine")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'model')}"), name)
    globals()[name] = value
    return value
