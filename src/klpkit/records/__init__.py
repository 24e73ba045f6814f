"""Records: what a compiler or its output says was done, as effects between functions.

`read_clone_dumps` and `find_dumps` are loaded on first use, because numpy takes longer to import than a help
text may; the compiler driver imports a module of this room on every call, so nothing else is imported here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from klpkit.records._concat import concat
    from klpkit.records.clones import find_dumps, read_clone_dumps
    from klpkit.records.clones_lto import link_units

_HOMES = {
    "concat": "klpkit.records._concat",
    "find_dumps": "klpkit.records.clones",
    "link_units": "klpkit.records.clones_lto",
    "read_clone_dumps": "klpkit.records.clones",
}

__all__ = ["concat", "find_dumps", "link_units", "read_clone_dumps"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_module("klpkit.records._numpy")
    return getattr(import_module(_HOMES[name]), name)
