"""From pairs of objects to a verified module: the order of the steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from klpkit.livepatch.model import LivePatch, PairLike
from klpkit.target import Target


def make_module(
    pairs: Sequence[PairLike],
    target: Target,
    headers: Path,
    out: Path,
    *,
    name: str = "",
    replace: bool = True,
    states: Sequence[tuple[int, int]] = (),
) -> LivePatch:
    """Build the live patch for `pairs` with the Kbuild of `headers` and put it at `out`, verified.

    `headers` is a header package or a build tree.  `name` is the module's name (by default that of `out`),
    `replace` whether it replaces all live patches before it, `states` the (id, version) of what its callbacks
    leave in the system.  `RefusedError` with a slug where the patch can't be carried; then nothing is written.
    """
    raise NotImplementedError
