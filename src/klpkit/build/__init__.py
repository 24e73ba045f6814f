"""The build tree: which translation units there are, their exact commands, and replaying one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from klpkit.build.command import TranslationUnit
    from klpkit.build.overlay import Compiled, Pair, compile_pairs
    from klpkit.build.patch import Touched, read_patch, read_patches, touched_functions
    from klpkit.build.replays import Replayed, replay, replay_many
    from klpkit.build.tree import BuildTree, open_tree

_HOMES = {
    "BuildTree": "tree",
    "Compiled": "overlay",
    "Pair": "overlay",
    "Replayed": "replays",
    "Touched": "patch",
    "TranslationUnit": "command",
    "compile_pairs": "overlay",
    "open_tree": "tree",
    "read_patch": "patch",
    "read_patches": "patch",
    "replay": "replays",
    "replay_many": "replays",
    "touched_functions": "patch",
}

__all__ = [
    "BuildTree",
    "Compiled",
    "Pair",
    "Replayed",
    "Touched",
    "TranslationUnit",
    "compile_pairs",
    "open_tree",
    "read_patch",
    "read_patches",
    "replay",
    "replay_many",
    "touched_functions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
