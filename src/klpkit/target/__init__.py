"""The shipped kernel: its symbols as its own kallsyms counts them, code, exports, modules; and fidelity to it.

`open_target()` takes whatever a distribution ships: a kernel image, a debug vmlinux, `System.map`, a folder of
modules, `Module.symvers`.  Names are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from klpkit.target.model import VMLINUX, Export, TargetObject, TargetSymbol
    from klpkit.target.opening import Target, open_target

_HOMES = {
    "VMLINUX": "model",
    "Export": "model",
    "Target": "opening",
    "TargetObject": "model",
    "TargetSymbol": "model",
    "open_target": "opening",
}

__all__ = ["VMLINUX", "Export", "Target", "TargetObject", "TargetSymbol", "open_target"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
