"""Hiding a body from LLVM: the function becomes one that another definition may take the place of at run time.

LLVM looks into no body that is not sure to be the one that runs (`GlobalValue::isInterposableLinkage`; the linkage
types of the LLVM Language Reference): `weak` is such a linkage, `weak_odr`, `linkonce_odr` and `internal` are not.
So the unit is lowered to IR before any optimisation, one `define` line is changed, and the optimisers run.  Code
is generated with the old linkage back in place: what a generator makes of it (landing pads, calls that the
assembler resolves) is not what is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.command import Language, TranslationUnit
from klpkit.build.replays import Replayed, replay
from klpkit.proof import pipeline
from klpkit.proof.cxxir import cxx_functions
from klpkit.proof.decisions import Decisions, read_inlining
from klpkit.proof.hiding import HidingError, Pins, written
from klpkit.proof.text import SourceFunction, source_functions

SUFFIXES: dict[Language, str] = {"c": ".i", "c++": ".ii"}
OPTIMISED = "optimised.ll"
"""The optimised IR, beside the object."""

_LINKAGES = (
    "private|internal|available_externally|linkonce|weak|linkonce_odr|weak_odr|external|dso_local|dso_preemptable"
)
_MARK = "klpkit-linkage"
_MARKED = re.compile(rf'^attributes (#\d+) = \{{.*"{_MARK}"="([^"]*)".*$', re.MULTILINE)
_NORETURN_GROUP = re.compile(r"^attributes (#\d+) = \{.*\bnoreturn\b.*$", re.MULTILINE)
_DEFINED = re.compile(r'^define [^@\n]*@"?(?:\\01)?([^"(\n]+)"?\(.*? (#\d+)(?= |$)', re.MULTILINE)
_GROUP = re.compile(r" (#\d+)(?= |$)")
_UNWINDS = "\n; klpkit: bodies may throw\n"
# GCC's words of `Pins` → LLVM's function attributes; there is none against specialisation alone.
_WORDS = {"noinline": "noinline", "always_inline": "alwaysinline", "nothrow": "nounwind"}


@dataclass(frozen=True, slots=True)
class Interposing:
    """Hides by the linkage of one definition in unoptimised IR."""

    # Text keeps the order of a value's uses, which some passes go by, only where it is asked to.
    lowering: tuple[str, ...] = (
        *("-w", "-g0", "-S", "-emit-llvm", "-Xclang", "-emit-llvm-uselists", "-Xclang", "-disable-llvm-passes"),
    )
    optimising: tuple[str, ...] = ("-w", "-g0", "-S", "-emit-llvm", "-Xclang", "-emit-llvm-uselists")
    generating: tuple[str, ...] = ("-w", "-g0", "-Xclang", "-disable-llvm-passes")
    dumps: tuple[str, ...] = ("-fsave-optimization-record", "-foptimization-record-passes=inline")
    record: str = ".opt.yaml"
    by_symbol: bool = True

    def functions(self, unit: TranslationUnit, text: str, workdir: Path) -> dict[str, SourceFunction]:
        return cxx_functions(unit, text, workdir) if unit.language == "c++" else source_functions(text)

    def lowered(self, unit: TranslationUnit, text: str, workdir: Path) -> str:
        source = written(text, workdir / f"text{SUFFIXES.get(unit.language, '.i')}")
        made = replay(unit, workdir=workdir, source=source, extra=self.lowering, output="unoptimised.ll")
        unwinds = unit.language == "c++" or "-fexceptions" in unit.arguments
        return made.object.read_text(errors="surrogateescape") + (_UNWINDS if unwinds else "")

    def with_names(self, text: str, names: Mapping[str, str]) -> str:
        for old, new in names.items():
            text = re.sub(rf'@(?:{re.escape(old)}(?![\w.$-])|"{re.escape(old)}")', f'@"{new}"', text)
        return text

    def compiled(self, unit: TranslationUnit, text: str, workdir: Path, flags: Sequence[str]) -> Replayed:
        source = written(text, workdir / "hidden.ll")
        left_out, flags = pipeline.split(flags)
        if left_out is None:
            first = (*self.optimising, *self.dumps, *flags)
            replay(unit, workdir=workdir, source=source, extra=first, output=OPTIMISED)
        else:
            record = workdir / f"optimised{self.record}"
            pipeline.optimise(unit, source, workdir / OPTIMISED, record, left_out)
        source.unlink()
        optimised = _with_old_linkage((workdir / OPTIMISED).read_text(errors="surrogateescape"), text)
        source = written(optimised, workdir / "linkage.ll")
        return replay(unit, workdir=workdir, source=source, extra=(*self.generating, *flags), output="text.o")

    def hidden(self, text: str, names: Iterable[str], pins: Pins) -> str:
        for name in names:
            text = _interposable(text, name)
        for name, words in sorted(pins.items()):
            text = _pinned(text, name, words)
        return text

    def hidden_variable(self, text: str, name: str) -> str:
        if f"\n@{name} = " not in text:  # LLVM never saw it: no code uses it
            return text
        return f"{without_order(text, [name])}\n@__klpkit_escapes_{name} = global ptr @{name}\n"

    def decisions(self, path: Path) -> Decisions:
        return read_inlining(path)


def inferred_noreturn(target: Path) -> frozenset[str]:
    """The functions that the optimised IR beside the object `target` says never return; none without such IR."""
    path = target.with_name(OPTIMISED)
    text = path.read_text(errors="surrogateescape") if path.exists() else ""
    groups = set(_NORETURN_GROUP.findall(text))
    return frozenset(name for name, group in _DEFINED.findall(text) if group in groups)


def without_order(text: str, names: Iterable[str]) -> str:
    """IR that says nothing of the order of the uses of `names`, so that it may get more of them."""
    for name in names:
        text = re.sub(rf'^uselistorder ptr @"?{re.escape(name)}"?, .*\n', "", text, flags=re.MULTILINE)
    return text


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
        words = re.match(r"(@\S+ = )((?:(?:weak|external|internal|private) )?)(.*)$", line)
        assert words is not None  # `_definition` found an alias
        mended = f"{words[1]}weak {words[3]}"
        text += f"; klpkit-alias {words[1]}|{words[2]}\n"
    else:
        if _UNWINDS in text:
            line, text = _may_throw(line, text)
        words = re.match(rf"define ((?:(?:{_LINKAGES}) )*)(.*)$", line)
        assert words is not None  # `_definition` found a `define` line
        mended = _with_attribute(f"define weak dso_local {words[2]}", f'"{_MARK}"="{words[1]}"')
    return text[: found.start()] + mended + text[found.end() :]


def _may_throw(line: str, text: str) -> tuple[str, str]:
    """A `define` line, and the text behind it, without the front end's own finding that the body can't throw.

    Where the declaration promises that, the calls say so themselves.
    """
    group = _GROUP.search(line)
    words = re.search(rf"^attributes {group[1]} = (\{{.*\}})$", text, re.MULTILINE) if group else None
    if group is None or words is None or " nounwind " not in words[1]:
        return line, text
    number = 1 + max(int(found) for found in re.findall(r"^attributes #(\d+)", text, re.MULTILINE))
    added = f"attributes #{number} = {words[1].replace(' nounwind ', ' ', 1)}\n"
    return line[: group.start(1)] + f"#{number}" + line[group.end(1) :], text + added


def _with_old_linkage(text: str, hidden: str) -> str:
    """Optimised IR whose interposable functions have the linkage that they had before they were `hidden`."""
    for alias, linkage in re.findall(r"^; klpkit-alias (.*)\|(.*)$", hidden, re.MULTILINE):
        text = text.replace(f"\n{alias}weak ", f"\n{alias}{linkage}")
    for group, linkage in _MARKED.findall(text):
        text = re.sub(
            rf"^define weak dso_local (.* {group}(?: .*)?)$", rf"define {linkage}\1", text, flags=re.MULTILINE
        )
    return text


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
