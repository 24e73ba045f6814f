"""GCC's switches for what happens between functions, and the lowest level that allows each.

Switches are described in "Options That Control Optimization" of the GCC manual; what GCC's own `-flive-patching`
turns off is in `control_options_for_live_patching` (gcc/opts.cc).  That option exists since GCC 9, is refused
with `-flto` («sorry, unimplemented») and leaves `-fipa-profile` and devirtualisation on, so the levels here are
made of single switches.  Which passes they drive and what each does is in `passes.py`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from klpkit.compilers.levels import Level

# Switch → the lowest level that allows it; "" where no level does.
SWITCHES: dict[str, str] = {
    # Inlining: the clone dump records every instance.
    "-finline": "only-inline-static",
    "-fearly-inlining": "only-inline-static",
    "-finline-functions": "only-inline-static",
    "-finline-small-functions": "only-inline-static",
    "-finline-functions-called-once": "only-inline-static",
    "-findirect-inlining": "only-inline-static",
    # Whatever makes a clone: recorded too.
    "-fpartial-inlining": "inline-clone",
    "-fipa-cp": "inline-clone",
    "-fipa-cp-clone": "inline-clone",
    "-fipa-sra": "inline-clone",
    # What no record shows.
    "-fipa-ra": "",
    "-fipa-pure-const": "",
    "-fipa-modref": "",
    "-fipa-icf": "",
    "-fipa-icf-functions": "",
    "-fipa-icf-variables": "",
    "-fipa-vrp": "",
    "-fipa-bit-cp": "",
    "-fipa-reference": "",
    "-fipa-reference-addressable": "",
    "-fipa-stack-alignment": "",
    "-fipa-pta": "",
    "-fipa-profile": "",
    "-fipa-reorder-for-locality": "",
    "-fdevirtualize": "",
    "-fdevirtualize-speculatively": "",
    "-fdevirtualize-at-ltrans": "",
    "-fwhole-program": "",
}

ONLY_STATIC = "-flive-patching=inline-only-static"
"""The only switch that keeps GCC from inlining what other TUs can call; not to be had with `-flto`."""


def flags(level: Level, supported: Collection[str], stage: str, lto: bool) -> tuple[str, ...]:
    """The flags that hold GCC to `level` (see `levels.flags_for`)."""
    off = [switch for switch, lowest in SWITCHES.items() if switch in supported and not level.allows(lowest)]
    words = ["-fno-" + switch.removeprefix("-f") for switch in off]
    if level == "only-inline-static":
        words += _only_static(supported, lto)
    return tuple(words)


def _only_static(supported: Collection[str], lto: bool) -> list[str]:
    """How to keep public functions from being inlined.

    Without the native option inlining is cut down to functions declared `inline`: even a public function that is
    called once would be copied into its caller otherwise.  A public `inline` function has to be marked
    (`needs_marking`).
    """
    if not lto and "-flive-patching" in supported:
        return [ONLY_STATIC]
    names = ("inline-functions", "inline-small-functions", "inline-functions-called-once")
    return [f"-fno-{name}" for name in names if f"-f{name}" in supported]


def needs_marking(level: Level, supported: Collection[str], lto: bool) -> bool:
    """Whether flags alone can't keep GCC from inlining public functions at `only-inline-static`.

    Then the driver must mark a TU's public functions as not inlinable when it is compiled: a link with LTO
    turns public functions into local ones, and a GCC before 9 has no option for it.
    """
    return level == "only-inline-static" and (lto or "-flive-patching" not in supported)
