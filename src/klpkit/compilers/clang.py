"""Clang's switches for what happens between functions, and the parts of each level that it has no switch for.

LLVM's new pass manager builds its pipeline without a switch for each pass.  Experiments (tests/compilers) with
Clang 16 and 19 show which effects stay when inlining is off; `UNHONOURED` names them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from klpkit.compilers.levels import Level

# Switch → the lowest level that allows it.
SWITCHES: dict[str, str] = {"-finline": "only-inline-static"}

_ALWAYS = (
    "turning off the propagation of arguments into static functions",
    "turning off the propagation of returned values",
    "turning off the inference of function attributes (no side effects, no return, no exceptions)",
    "turning off the optimisation of static variables that no function writes or none reads",
)
_NO_CLONES = ("turning off the removal, promotion and specialisation of static functions' parameters",)
_ONLY_STATIC = ("keeping functions that other units can call from being inlined",)

# Level → what it asks for and Clang can't do.
UNHONOURED: dict[str, tuple[str, ...]] = {
    "none": (*_ALWAYS, *_NO_CLONES),
    "only-inline-static": (*_ONLY_STATIC, *_ALWAYS, *_NO_CLONES),
    "inline": (*_ALWAYS, *_NO_CLONES),
    "inline-clone": _ALWAYS,
}


def flags(level: Level, supported: Collection[str], stage: str, lto: bool) -> tuple[str, ...]:
    """The flags that bring Clang as near to `level` as it goes (see `levels.flags_for`)."""
    off = [switch for switch, lowest in SWITCHES.items() if switch in supported and not level.allows(lowest)]
    return tuple("-fno-" + switch.removeprefix("-f") for switch in off)
