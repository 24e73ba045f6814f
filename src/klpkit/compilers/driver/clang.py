"""What Clang can't do of what the driver promises, said before it compiles."""

from __future__ import annotations

import os

from klpkit.compilers.driver.talk import LACKING, DriverError, warn
from klpkit.compilers.levels import unhonoured_parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from klpkit.compilers.driver.arguments import Call
    from klpkit.compilers.driver.options import Wanted


PARTIAL = "KLPKIT_CC_PARTIAL"
"""Set in the environment: compile with what Clang can honour, and warn of the rest."""


def refuse_parts(call: Call, wanted: Wanted) -> None:
    """Name what Clang can't honour of what is wanted for `call`: `DriverError`, or with `PARTIAL` a warning."""
    assert wanted.level is not None
    if not call.sources:
        return
    parts = list(unhonoured_parts("clang", wanted.level))
    if wanted.listing:
        parts.append("listing impacted functions while it compiles (it writes no clone dump)")
    if not parts:
        return
    message = f"at level '{wanted.level}' Clang can't honour: {'; '.join(parts)}"
    if not os.environ.get(PARTIAL):
        raise DriverError(
            message,
            status=LACKING,
            hint=f"use GCC; or set {PARTIAL}=1 to compile with the rest of the level, and ask `klpkit impact`",
        )
    warn(message)
