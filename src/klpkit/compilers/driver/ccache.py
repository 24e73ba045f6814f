# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH100, PTH118, PTH120
"""Compiling through ccache, which refuses to cache a call that writes dumps.

ccache sees the level's flags only.  Where it has to compile, it runs `inner.py` (its `prefix_command`), which adds
the dump and says the records on stderr, in one marked line.  ccache keeps a compilation's stderr and says it
again on a hit; here the line is taken out, so that a hit delivers the list too.  A namespace keeps these entries
from those who call ccache without the driver.
"""

from __future__ import annotations

import os
import sys

from klpkit.compilers.driver import run
from klpkit.compilers.driver.folders import program
from klpkit.compilers.driver.inner import MARK, unpacked
from klpkit.compilers.driver.talk import write_all

NAMESPACE = "klpkit-cc-1"
_COLOURS = "-fdiagnostics-color"


def run_through(argv: list[str]) -> tuple[int, bytes | None]:
    """Run `argv`, a call of ccache; (wait status, the dump, None where the entry had none)."""
    ours, theirs = os.pipe()
    child = run.start([*argv, *_colour(argv)], stderr=theirs, env=environment())
    os.close(theirs)
    data = _filtered(ours)
    os.close(ours)
    return run.wait(child), data


def environment() -> dict[str, str]:
    """The environment in which ccache runs the compiler through `inner.py`."""
    env = dict(os.environ)
    env["CCACHE_PREFIX"] = " ".join(filter(None, (_launcher(), env.get("CCACHE_PREFIX"))))
    env["CCACHE_NAMESPACE"] = "-".join(filter(None, (env.get("CCACHE_NAMESPACE"), NAMESPACE)))
    return env


def _launcher() -> str:
    """An executable file that runs `inner.py`: ccache takes one word, looked up as a program."""
    import shlex

    inner = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inner.py")
    return program("ccache-inner", f'exec {shlex.quote(sys.executable)} -I -S {shlex.quote(inner)} "$@"')


def _colour(argv: list[str]) -> list[str]:
    """Colours as the compiler itself would choose them: its stderr is a pipe here, ours may be a terminal."""
    chosen = any(word.startswith((_COLOURS, "-fno-diagnostics-color", "-fcolor", "-fno-color")) for word in argv)
    plain = os.environ.get("TERM", "dumb") == "dumb" or os.environ.get("GCC_COLORS") == ""
    return [] if chosen or plain or not os.isatty(2) else [f"{_COLOURS}=always"]


def _filtered(descriptor: int) -> bytes | None:
    """Pass on what arrives, line by line as it does; the records of the last marked line."""
    rest = b""
    data: bytes | None = None
    while chunk := os.read(descriptor, 1 << 16):
        *lines, rest = (rest + chunk).split(b"\n")
        said = [line for line in lines if not line.startswith(MARK)]
        if said:
            write_all(2, b"\n".join(said) + b"\n")
        for line in lines:
            data = unpacked(line) if line.startswith(MARK) else data
    write_all(2, rest)
    return data
