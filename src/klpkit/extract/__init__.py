"""C source → one small C file with copies of some functions, which a person can read, edit and build.

The real compiler's own preprocessor says what the source means (`preprocessed`), so that every dialect of C which
the tree's compiler understands is understood here; what is copied is the source as it was written (`chunks`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from klpkit.records import _numpy  # noqa: F401 - numpy's first loading decides what it costs

if TYPE_CHECKING:
    from klpkit.extract.preprocessed import Preprocessed, preprocess

__all__ = ["Preprocessed", "preprocess"]

_HOMES = {"Preprocessed": "preprocessed", "preprocess": "preprocessed"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
