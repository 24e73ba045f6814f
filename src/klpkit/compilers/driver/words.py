# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH113, PTH118, PTH119, PTH120
"""The leading words of the command: wrappers such as ccache, then the compiler."""

from __future__ import annotations

import os

from klpkit.compilers.driver.talk import LACKING, USAGE, DriverError

# Programs that run the program named after them; their own options and settings stand in between.
WRAPPERS = frozenset(
    [
        "ccache",
        "sccache",
        "distcc",
        "icecc",
        "buildcache",
        "env",
        "nice",
        "ionice",
        "chrt",
        "taskset",
        "time",
        "setarch",
    ]
)
CCACHE = "ccache"


class Command:
    """`wrapper` words, the `compiler` as it was written, its `arguments`, and the `path` of its file."""

    __slots__ = ("arguments", "compiler", "path", "wrapper")

    def __init__(self, wrapper: list[str], compiler: str, arguments: list[str]) -> None:
        self.wrapper = wrapper
        self.compiler = compiler
        self.arguments = arguments
        self.path = found(compiler)
        if os.path.basename(os.path.realpath(self.path)) == CCACHE:
            # /usr/lib/ccache/gcc: a link of the compiler's name to ccache, which looks further down PATH.
            self.wrapper = [*wrapper, CCACHE]
            self.path = found(compiler, beyond=os.path.dirname(self.path))
            self.compiler = self.path

    @property
    def through_ccache(self) -> bool:
        return any(os.path.basename(word) == CCACHE for word in self.wrapper)


def split(words: list[str]) -> Command:
    """`words` of the command line taken apart; raises `DriverError` where there is no compiler."""
    wrapper: list[str] = []
    for position, word in enumerate(words):
        belongs = wrapper and (word.startswith("-") or word.isdigit() or "=" in word)
        if os.path.basename(word) in WRAPPERS or belongs:
            wrapper.append(word)
            continue
        if word.startswith("-"):
            break
        return Command(wrapper, word, words[position + 1 :])
    raise DriverError(
        "no compiler was named", status=USAGE, hint="write klpkit-cc COMPILER ARGS…, as in CC='klpkit-cc gcc'"
    )


def found(program: str, beyond: str = "") -> str:
    """The file that `program` runs; `beyond` is a folder of PATH to leave out.  Raises `DriverError`."""
    if "/" in program:
        places = [""] if os.access(program, os.X_OK) else []
    else:
        # os.get_exec_path() would import warnings.
        places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for place in places:
        path = os.path.join(place, program) if place else program
        if not (beyond and os.path.realpath(place) == os.path.realpath(beyond)) and (
            os.path.isfile(path) and os.access(path, os.X_OK)
        ):
            return path
    raise DriverError(f"{program}: program not found", status=LACKING, hint="install it or put it on PATH")
