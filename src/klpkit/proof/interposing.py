"""Hiding a body from LLVM: the function becomes one that another definition may take the place of at run time.

LLVM looks into no body that is not sure to be the one that runs (`GlobalValue::isInterposableLinkage`; the linkage
types of the LLVM Language Reference): `weak` is such a linkage, `weak_odr`, `linkonce_odr` and `internal` are not.
So the unit is lowered to IR before any optimisation, one `define` line is changed, and the rest of the pipeline
runs as it would have.  `nocf_check` keeps a static function without a landing pad, which its new linkage would
give it: "no one takes its address" is not what is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.command import Language
from klpkit.proof.decisions import Decisions, read_inlining
from klpkit.proof.hiding import HidingError, Pins

_LINKAGES = (
    "private|internal|available_externally|linkonce|weak|linkonce_odr|weak_odr|external|dso_local|dso_preemptable"
)
_GROUP = re.compile(r" (#\d+)(?= |$)")
# GCC's words of `Pins` → LLVM's function attributes; there is none against specialisation alone.
_WORDS = {"noinline": "noinline", "always_inline": "alwaysinline"}


@dataclass(frozen=True, slots=True)
class Interposing:
    """Hides by the linkage of one definition in unoptimised IR."""

    lowering: tuple[str, ...] = ("-w", "-g0", "-S", "-emit-llvm", "-Xclang", "-disable-llvm-passes")
    flags: tuple[str, ...] = ("-w", "-g0")
    dumps: tuple[str, ...] = ("-fsave-optimization-record", "-foptimization-record-passes=inline")
    record: str = ".opt.yaml"

    def suffix(self, _: Language) -> str:
        return ".ll"

    def hidden(self, text: str, names: Iterable[str], pins: Pins) -> str:
        for name in names:
            text = _interposable(text, name)
        for name, words in sorted(pins.items()):
            text = _pinned(text, name, words)
        return text

    def hidden_variable(self, text: str, name: str) -> str:
        if f"\n@{name} = " not in text:  # LLVM never saw it: no code uses it
            return text
        return f"{text}\n@__klpkit_escapes_{name} = global ptr @{name}\n"

    def decisions(self, path: Path) -> Decisions:
        return read_inlining(path)


def _definition(text: str, name: str) -> re.Match[str] | None:
    """The `define` line or the alias of the function `name`, which may be a label given to the assembler."""
    quoted = re.escape(name)
    spelled = rf'(?:{quoted}|"(?:\\01)?{quoted}")'
    return re.search(rf"^(?:define [^@\n]*@{spelled}\(.*|@{spelled} = [^\n]*\balias .*)$", text, re.MULTILINE)


def _interposable(text: str, name: str) -> str:
    found = _definition(text, name)
    if found is None:
        raise HidingError(f"Clang's IR has no definition of {name}")
    line = found[0]
    if line.startswith("@"):
        mended = re.sub(r" = (?:(?:weak|external|internal|private) )?(.*\balias )", r" = weak \1", line, count=1)
    else:
        local = re.match(r"define (?:private|internal) ", line)
        mended = re.sub(rf"^define (?:(?:{_LINKAGES}) )*", "define weak dso_local ", line)
        taken = len(re.findall(rf"@{re.escape(name)}\b(?!\()", text)) > 0
        if local and not taken:
            mended = _with_attribute(mended, "nocf_check")
    return text[: found.start()] + mended + text[found.end() :]


def _pinned(text: str, name: str, words: str) -> str:
    found = _definition(text, name)
    line = found[0] if found else ""
    for word in words.split(", "):
        if word in _WORDS:
            line = _with_attribute(line, _WORDS[word])
    return text if found is None else text[: found.start()] + line + text[found.end() :]


def _with_attribute(line: str, word: str) -> str:
    """A `define` line with one more function attribute, before its attribute group."""
    return _GROUP.sub(rf" {word} \1", line, count=1)
