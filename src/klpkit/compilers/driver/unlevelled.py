# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH112
"""A link without a level of LTO objects that were compiled at one: it is allowed, and told.

Build tools drop options that they do not know where they link (libtool keeps few of CFLAGS), and a level that
only the compilations have does nothing.
"""

from __future__ import annotations

import os

from klpkit.compilers.driver.arguments import LINK, Call
from klpkit.compilers.driver.ltostore import find, store_folder
from klpkit.compilers.driver.options import EASE
from klpkit.compilers.driver.response import all_expanded
from klpkit.compilers.driver.talk import warn


def warn_of_link(arguments: list[str]) -> None:
    """Warn where `arguments`, which name no level, link LTO objects that the driver has compiled at one."""
    if not os.path.isdir(store_folder()):
        return
    call = Call(all_expanded(arguments))
    if call.stage != LINK or not call.inputs:
        return
    from klpkit.compilers.driver.linking import lto_inputs

    name = next((name for name, data in lto_inputs(call) if find(data) is not None), None)
    if name is not None:
        warn(
            f"{name} was compiled for LTO at a level, and this link names none: it may optimise across functions "
            f"as it likes and writes no list; give '{EASE}' to the link too, for example "
            f"CC='klpkit-cc gcc {EASE}'",
            call.output or "a.out",
        )
