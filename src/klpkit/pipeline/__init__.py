"""From a source patch to a live patch: the order in which the rooms do their work, and what a person should know.

`build_livepatch()` does all of it.  Names are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from klpkit.pipeline.building import Built, Request, build_livepatch

__all__ = ["Built", "Request", "build_livepatch"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("klpkit.pipeline.building"), name)
