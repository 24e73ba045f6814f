"""C source → one small C file with copies of some functions, which a person can read, edit and build.

The real compiler's own preprocessor says what the source means (`preprocessed`), so that every dialect of C which
the tree's compiler understands is understood here; what is copied is the source as it was written (`chunks`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from klpkit.extract.ahead import Begun, begun
    from klpkit.extract.package import write_package
    from klpkit.extract.request import Extraction, extract

__all__ = ["Begun", "Extraction", "begun", "extract", "write_package"]

_HOMES = {
    "Begun": "ahead",
    "Extraction": "request",
    "begun": "ahead",
    "extract": "request",
    "write_package": "package",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
