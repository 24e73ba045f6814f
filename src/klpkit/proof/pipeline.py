"""LLVM's optimisation pipeline with passes left out, as Clang has no switches for its passes between functions.

`opt`, which comes with the same LLVM, prints the pipeline of an optimisation level as text
(`-print-pipeline-passes`) and takes such text (`-passes=`): pass names, `<parameters>`, and groups in parentheses.
That its whole pipeline makes the code that Clang makes is for the caller to check.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

from klpkit import programs
from klpkit.build.command import TranslationUnit
from klpkit.compilers.probe import identify
from klpkit.errors import EnvironmentLackError

WITHOUT = "--klpkit-without="
"""A word among flags that leaves the pass named behind it out; without a name `opt` runs the whole pipeline."""

TIME_LIMIT = 600.0

_ITEM = re.compile(r"([\w-]+)(<(?:[^<>]|<[^<>]*>)*>)?")
_LEVELS = {"": "O1", "4": "O3", "fast": "O3", "g": "O1"}
_OPTIMISING = frozenset({"O1", "O2", "O3", "Os", "Oz"})


def split(flags: Iterable[str]) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """The passes to leave out, None where Clang's own pipeline is asked for, and the other flags."""
    words = tuple(flags)
    names = tuple(word.removeprefix(WITHOUT) for word in words if word.startswith(WITHOUT))
    rest = tuple(word for word in words if not word.startswith(WITHOUT))
    return (tuple(filter(None, names)) if names else None), rest


def available(unit: TranslationUnit) -> bool:
    """Whether the unit's pipeline can be had: `opt` is installed, and the unit is compiled with `-O1` or more."""
    return level_of(unit) in _OPTIMISING and _opt(identify(unit.compiler).words[0]) is not None


def optimise(unit: TranslationUnit, source: Path, target: Path, record: Path, names: Collection[str]) -> None:
    """Optimise the IR `source` into `target` as for `unit`, the passes `names` left out.

    `record` tells of inlining.  Raises `ProgramFailedError` where `opt` fails, `EnvironmentLackError` without it.
    """
    opt = _opt(identify(unit.compiler).words[0])
    if opt is None:
        raise EnvironmentLackError(f"{unit.compiler[-1]}: no opt beside it", hint="install the llvm package")
    passes = without(_pipeline(opt, level_of(unit)), names)
    said = (f"-pass-remarks-output={record}", "-pass-remarks-filter=inline")
    words = (
        str(opt),
        "-S",
        "-preserve-ll-uselistorder",
        f"-passes={passes}",
        *said,
        *_mllvm(unit.arguments),
        str(source),
        "-o",
        str(target),
    )
    programs.run(words, cwd=unit.directory, timeout=TIME_LIMIT)


def without(passes: str, names: Collection[str]) -> str:
    """The pipeline `passes` less the passes `names`, and less the groups that this leaves empty.

    A name may have parameters, `require<globals-aa>`, and then means the pass with just these.
    """
    text, at = _without(passes, 0, frozenset(names))
    if at != len(passes):
        raise ValueError(f"{passes[at : at + 40]!r} is no pass")
    return text


def _without(passes: str, at: int, names: frozenset[str]) -> tuple[str, int]:
    """The rest of one group from `at` on, and where it ends."""
    kept = []
    while found := _ITEM.match(passes, at):
        at, text = found.end(), found[0]
        if passes[at : at + 1] == "(":
            inside, at = _without(passes, at + 1, names)
            at += 1
            text = f"{text}({inside})" if inside else ""
        if text and names.isdisjoint((found[0], found[1])):
            kept.append(text)
        if passes[at : at + 1] != ",":
            break
        at += 1
    return ",".join(kept), at


def level_of(unit: TranslationUnit) -> str:
    """The level of optimisation as `opt` calls it, `O2` for `-O2`; "O0" where the command asks for none."""
    levels = [word.removeprefix("-O") for word in unit.arguments if re.fullmatch(r"-O(\d|s|z|g|fast|)", word)]
    return _LEVELS.get(levels[-1], f"O{levels[-1]}") if levels else "O0"


def _mllvm(arguments: Sequence[str]) -> list[str]:
    """The options that the command hands to LLVM."""
    return [value for word, value in pairwise(arguments) if word == "-mllvm"]


@cache
def _opt(clang: str) -> Path | None:
    """The `opt` of the LLVM that the program `clang` is of; one of another LLVM is none."""
    found = shutil.which(clang)
    if found is None:
        return None
    path = Path(found).resolve().with_name("opt")
    return path if path.exists() else None


@cache
def _pipeline(opt: Path, level: str) -> str:
    words = (str(opt), f"-passes=default<{level}>", "-print-pipeline-passes", "-disable-output", "/dev/null")
    return programs.run(words).stdout.decode().strip()
