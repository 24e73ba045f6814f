"""Clang's switches for what happens between functions, and the parts of each level that it has no switch for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from klpkit.compilers.levels import Level

SWITCHES: dict[str, tuple[str, tuple[str, ...]]] = {}

# Level → what it asks for and Clang can't do.
UNHONOURED: dict[str, tuple[str, ...]] = {}


def flags(level: Level, supported: Collection[str], stage: str, lto: bool) -> tuple[str, ...]:
    """The flags that bring Clang as near to `level` as it goes (see `levels.flags_for`)."""
    return ()
