"""The four levels of interprocedural optimisation that a build allows.

`none` < `only-inline-static` < `inline` < `inline-clone`: each level permits what the one before it permits and
more.  What a level means in flags is data of each compiler (`gcc.py`, `clang.py`).
"""

from __future__ import annotations

from enum import StrEnum


class Level(StrEnum):
    """How much interprocedural optimisation a build allows."""

    NONE = "none"
    ONLY_INLINE_STATIC = "only-inline-static"
    INLINE = "inline"
    INLINE_CLONE = "inline-clone"


DEFAULT_LEVEL = Level.INLINE_CLONE

# GCC's own later spelling, `-flive-patching[=…]`.
GCC_SPELLINGS = {"inline-clone": Level.INLINE_CLONE, "inline-only-static": Level.ONLY_INLINE_STATIC}
