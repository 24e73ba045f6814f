"""Experiments that show what a compiler does between functions, whatever its switches say.

Each program in `effect_programs/` has two variants of one body (`#ifdef CHANGED`) and a function to observe that
does not change in the source.  If its assembly differs between the variants, the compiler made it depend on the
body.  The head of a program says what is observed:

    // One sentence.
    // observe: SYMBOL          the assembler name
    // flags: WORDS             further flags, optional
    // section: yes             the section that holds the function counts too, optional
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from klpkit import programs
from klpkit.cachedir import cache_dir
from klpkit.compilers.probe import Compiler, read_cached, write_cached

FOLDER = Path(__file__).with_name("effect_programs")
_SILENT = re.compile(r"\.(cfi_\w+|p2align|align|loc|file|type|ident|globl|local)\b")
_SECTION = re.compile(r"\s+\.(section|text)\b")
_LOCAL_LABEL = re.compile(r"\.L\w+")


@dataclass(frozen=True, slots=True)
class Experiment:
    """One program: what its first line says, the symbol to observe and the flags that it asks for."""

    slug: str
    source: Path
    says: str
    observed: str
    flags: tuple[str, ...]
    section: bool

    @property
    def language(self) -> str:
        """The language as `-x` wants it."""
        return "c++" if self.source.suffix == ".cc" else "c"


@cache
def experiments() -> Mapping[str, Experiment]:
    """Every experiment by its slug."""
    return {path.stem: _read(path) for path in sorted(FOLDER.glob("*.c*"))}


def _read(path: Path) -> Experiment:
    head = [line[3:] for line in path.read_text().splitlines() if line.startswith("// ")]
    fields = dict(line.split(": ", 1) for line in head[1:])
    return Experiment(
        slug=path.stem,
        source=path,
        says=head[0],
        observed=fields["observe"],
        flags=tuple(fields.get("flags", "").split()),
        section="section" in fields,
    )


def shows(compiler: Sequence[str], experiment: Experiment, flags: Sequence[str]) -> bool | None:
    """Whether the observed function depends on the other's body at `-O2` and `flags`; None where it can't be
    compiled (no C++ compiler, no 32-bit target)."""
    codes = []
    for variant in ([], ["-DCHANGED"]):
        words = ["-O2", "-w", *experiment.flags, *flags, *variant, "-S", "-o", "-", "-x", experiment.language]
        done = programs.run([*compiler, *words, str(experiment.source)], timeout=60, check=False)
        if done.status:
            return None
        codes.append(function_text(done.stdout.decode(), experiment.observed, section=experiment.section))
    if not any(codes):
        return None
    return codes[0] != codes[1]


def function_text(assembly: str, symbol: str, *, section: bool = False) -> str:
    """The instructions of `symbol` in GNU `assembly`, local labels numbered anew; "" where it is not defined."""
    place, lines, inside = "", list[str](), False
    for line in assembly.splitlines():
        text = line.strip()
        if _SECTION.match(line):
            place = text
        if line.startswith(f"{symbol}:"):
            inside, lines = True, [place] if section else []
        elif inside and text.startswith(".size"):
            break
        elif inside and text and not _SILENT.match(text) and not text.startswith(("#", "//")):
            lines.append(text)
    numbers: dict[str, str] = {}
    return _LOCAL_LABEL.sub(lambda m: numbers.setdefault(m[0], f".L{len(numbers)}"), "\n".join(lines))


def established(compiler: Compiler, flags: Sequence[str]) -> Mapping[str, bool | None]:
    """What every experiment shows for `compiler` with `flags` after its own; kept until either changes."""
    return _established(compiler, tuple(flags))


@cache
def _established(compiler: Compiler, flags: tuple[str, ...]) -> Mapping[str, bool | None]:
    sources = [row.source.read_bytes() for row in experiments().values()]
    text = "\0".join([compiler.key, *flags]).encode() + b"\0".join(sources)
    path = cache_dir("compilers") / f"effects-{hashlib.sha256(text).hexdigest()[:32]}.json"
    known = read_cached(path)
    if known is None:
        rows = list(experiments().values())
        answers = programs.parallel(lambda row: shows(compiler.words, row, flags), rows)
        known = {"shown": {row.slug: answer for row, answer in zip(rows, answers, strict=True)}}
        write_cached(path, known)
    return cast("dict[str, bool | None]", known["shown"])
