"""Changed code → a loadable live patch: selection, references to the running kernel, glue, Kbuild, verification.

`make_module()` does all of it.  Names are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from klpkit.livepatch.making import make_module
    from klpkit.livepatch.model import LivePatch, PairLike, PatchedFunction, PatchedObject, Reference, Warned

__all__ = [
    "INCLUDE",
    "LivePatch",
    "PairLike",
    "PatchedFunction",
    "PatchedObject",
    "Reference",
    "Warned",
    "make_module",
]

INCLUDE = Path(__file__).parent / "include"
"""The folder with `klpkit.h`, the macros for authors of patches; give it to the compiler of the patched side."""

_HOMES = {"make_module": "making"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'model')}"), name)
