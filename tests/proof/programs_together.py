"""Small programs proven as parts of one unit, which costs a fraction of a unit for each.

The names of each program get a prefix of its own, so that none calls, shares or folds into another's functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.proof import Answer, ProofUnit, open_unit, together


@dataclass(frozen=True)
class Program:
    """`expected` maps impacted functions to their causes; `alone` keeps others out of the unit."""

    source: str
    expected: dict[str, set[str]]
    seed: str = "body"
    flags: tuple[str, ...] = ()
    assumes: tuple[str, ...] = ()
    language: str = "c"
    alone: bool = False


@dataclass(frozen=True)
class Found:
    """An answer in a program's own names; `elsewhere` are symbols of other programs: there must be none."""

    causes: dict[str, set[str]]
    missed: frozenset[str]
    assuming: frozenset[str]
    elsewhere: frozenset[str]
    warnings: tuple[str, ...]


NOINLINE = "__attribute__((noinline))"

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\b[A-Za-z_]\w*\b')
# What a declaration is made of, and what the programs call their parameters and members.
_KEPT_WORDS = """
    __attribute__ __asm__ asm volatile noinline always_inline cold noreturn section alias noipa weak used
    auto break case char const continue default do double else enum extern float for goto if inline int long
    register return short signed sizeof static struct switch typedef union unsigned void while
    a b c d e f g h i j k l m n o p q r s t u v w x y z
"""
_KEPT = frozenset(_KEPT_WORDS.split())


def unit_of(program: Program, folder: Path, compiler: str, more: Iterable[str] = ()) -> TranslationUnit:
    """The program as a unit of its own."""
    return _unit("program", program.source, folder, compiler, (*program.flags, *more), program.language)


def _unit(
    name: str, source: str, folder: Path, compiler: str, flags: Iterable[str], language: str = "c"
) -> TranslationUnit:
    path = folder / f"{name}.{'cc' if language == 'c++' else 'c'}"
    path.write_text(source + "\n")
    target = folder / f"{name}.o"
    words = ("-O2", *flags, "-c", "-o", target.name, str(path))
    return TranslationUnit(target, path, folder, (compiler,), words)


def found_in(answer: Answer) -> dict[str, set[str]]:
    """The impacted functions and their causes, those asked for left out."""
    return {item.symbol: set(item.causes) for item in answer.impacted if item.via}


def prefixed(source: str, prefix: str) -> str:
    """`source` with `prefix` before all of its own names, in and out of what is quoted alone."""

    def name(found: re.Match[str]) -> str:
        word = found[0]
        bare = word.strip('"')
        if bare in _KEPT or not bare.isidentifier():
            return word
        return word.replace(bare, prefix + bare)

    return _WORD.sub(name, source)


def answers_of(
    programs: Mapping[str, Program],
    compiler: str,
    folder: Path,
    *,
    flags: tuple[str, ...] = (),
    causes: bool = False,
    at_once: int,
) -> dict[str, Found]:
    """What `compiler` shows of each program, `at_once` of them in a unit.

    More programs in one unit make each compilation longer, fewer make more units.
    """
    folder.mkdir()  # one for all units: a compiler is asked about itself once a folder
    work: dict[str, Callable[[], Found]] = {}
    sharing = [name for name, program in programs.items() if _shares(program)]
    for number in range(0, len(sharing), at_once):
        names = sharing[number : number + at_once]
        text = "\n".join(prefixed(programs[name].source, f"p{place}_") for place, name in enumerate(names))
        unit = open_unit(_unit(f"shared{number}", text, folder, compiler, flags))
        for index, name in enumerate(names):
            work[name] = partial(_asked, unit, programs[name], f"p{index}_", causes)
    for name in programs.keys() - work.keys():
        program = programs[name]
        alone = _unit(name, program.source, folder, compiler, (*program.flags, *flags), program.language)
        work[name] = partial(_opened, alone, program, causes)
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(work, pool.map(lambda ask: ask(), work.values()), strict=True))


def _shares(program: Program) -> bool:
    return not (program.alone or program.flags or program.language != "c")


def _opened(unit: TranslationUnit, program: Program, causes: bool) -> Found:
    return _asked(open_unit(unit), program, "", causes)


def _asked(unit: ProofUnit, program: Program, prefix: str, causes: bool) -> Found:
    return _found(together(unit, [prefix + program.seed], jobs=1, causes=causes), prefix)


def _found(answer: Answer, prefix: str) -> Found:
    named = [*(item.symbol for item in answer.impacted), *answer.not_callable]
    return Found(
        causes={symbol.removeprefix(prefix): causes for symbol, causes in found_in(answer).items()},
        missed=frozenset(item.symbol.removeprefix(prefix) for item in answer.missed),
        assuming=frozenset(name.removeprefix(prefix) for name in answer.not_callable),
        elsewhere=frozenset(name for name in named if not name.startswith(prefix)),
        warnings=answer.warnings,
    )
