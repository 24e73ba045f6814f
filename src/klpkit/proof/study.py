"""What each level of interprocedural optimisation costs and saves: list length, code size, compile time.

A sample of a unit's functions is proven at stock flags and at every level, which is the unit's own command with
the level's flags behind it.  Sizes are those of the object that the unit's own command makes, times the processor
time of that compilation.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.build.replays import replay
from klpkit.build.tree import BuildTree
from klpkit.compilers.levels import LEVELS, Level, flags_for, unhonoured_parts
from klpkit.compilers.probe import identify
from klpkit.elf import ElfFile
from klpkit.proof.answer import together
from klpkit.proof.asking import unit_name
from klpkit.proof.model import Answer, Method
from klpkit.proof.proving import prove_all
from klpkit.proof.unit import ProofUnit, open_unit

STOCK = "stock"
SIDES: tuple[str, ...] = (STOCK, *(str(level) for level in reversed(LEVELS)))
"""What can be studied: the flags of the build as they are, and the levels from the one that allows most down."""

TIMED = 2
"""How often each compilation is timed; the fastest counts."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Sampled:
    """One function at one level: how many functions must be patched with it, and how records compare.

    `length` leaves the function itself out.  `missed` are impacted functions that no record shows, `false` those
    that records list and that were proven not to matter.  `alive` is false where the unit needs no such function.
    """

    function: str
    length: int
    missed: int
    false: int
    undecided: int
    alive: bool = True


@dataclass(frozen=True, slots=True)
class Side:
    """One unit at one level, or at stock flags.  `text` is in bytes, `seconds` are of processor time."""

    unit: str
    level: str
    flags: tuple[str, ...]
    functions: tuple[Sampled, ...]
    text: int
    seconds: float
    unhonoured: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Figures:
    """The sums of one level over some units; lengths are numbers of functions.

    `median`, `p95` (nearest rank) and `longest` are over the sampled functions that are alive.
    """

    level: str
    functions: int
    median: float
    p95: int
    longest: int
    missed: int
    false: int
    undecided: int
    text: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Study:
    """All units at all levels; `sample` is 0 where every function was asked for."""

    sides: tuple[Side, ...]
    sample: int
    seed: int
    warnings: tuple[str, ...] = ()

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(side.unit for side in self.sides))

    @property
    def levels(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(side.level for side in self.sides))

    def figures(self, unit: str = "") -> tuple[Figures, ...]:
        """A row for each level, over `unit` or over all."""
        return tuple(
            figures_of(level, [s for s in self.sides if s.level == level and unit in ("", s.unit)])
            for level in self.levels
        )


def figures_of(level: str, sides: Sequence[Side]) -> Figures:
    """The sums of `sides`."""
    rows = [row for side in sides for row in side.functions if row.alive]
    lengths = sorted(row.length for row in rows) or [0]
    return Figures(
        level=level,
        functions=len(rows),
        median=statistics.median(lengths),
        p95=lengths[-(-95 * len(lengths) // 100) - 1],
        longest=lengths[-1],
        missed=sum(row.missed for row in rows),
        false=sum(row.false for row in rows),
        undecided=sum(row.undecided for row in rows),
        text=sum(side.text for side in sides),
        seconds=sum(side.seconds for side in sides),
    )


def study(
    tree: BuildTree,
    sources: Sequence[str | Path],
    *,
    sides: Sequence[str] = SIDES,
    sample: int = 0,
    seed: int = 1,
    jobs: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Study:
    """Study the units of `sources` at `sides` (words of `SIDES`; stock is always among them).

    `sample` functions of each unit (0: all) are chosen by `seed` of those alive at stock flags.  Proofs come from
    the cache where it has them, so that an interrupted study goes on where it stopped.  Errors are those of a
    build tree and of a proof.
    """
    wanted = tuple(side for side in SIDES if side == STOCK or side in sides)
    made: list[Side] = []
    warnings: dict[str, None] = {}
    for source in sources:
        unit = tree.ensure_unit(source)
        names: list[str] = []
        for side in wanted:
            progress(len(made), len(sources) * len(wanted))
            flags, unhonoured = _flags(unit, side)
            there = replace(unit, arguments=(*unit.arguments, *flags))
            opened = open_unit(there, name=unit_name(tree, unit))
            names = names or chosen(opened.own_functions(), sample, seed)
            answers = _answers(opened, names, jobs)
            warnings.update(
                (f"{side}: {text}", None) for a in answers for text in a.warnings if "compiles to" in text
            )
            rows = tuple(map(_sampled, answers))
            made.append(Side(opened.name, side, flags, rows, *_measured(there), unhonoured))
    return Study(tuple(made), sample, seed, tuple(warnings))


def chosen(names: Sequence[str], sample: int, seed: int) -> list[str]:
    """`sample` of `names` in their order, or all."""
    if not sample or sample >= len(names):
        return list(names)
    picked = set(random.Random(seed).sample(list(names), sample))
    return [name for name in names if name in picked]


def _flags(unit: TranslationUnit, side: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The flags of a level and what of it they don't reach."""
    if side == STOCK:
        return (), ()
    compiler = identify(unit.compiler)
    level = Level(side)
    lto = any(word.startswith("-flto") for word in unit.arguments)
    flags = flags_for(compiler.kind, level, supported=compiler.supported, stage="compile", lto=lto)
    return flags, unhonoured_parts(compiler.kind, level)


def _answers(opened: ProofUnit, names: Sequence[str], jobs: int | None) -> list[Answer]:
    names = [name for name in names if name in opened.functions]
    prove_all(opened, names, jobs=jobs)
    return [together(opened, [name], causes=False, jobs=jobs) for name in names]


def _sampled(answer: Answer) -> Sampled:
    seed = next(proof for proof in answer.proofs if proof.function == answer.seeds[0])
    others = [item for item in answer.impacted if item.via and item.has_code]
    return Sampled(
        function=seed.function,
        length=len(others),
        missed=len([item for item in answer.missed if item.has_code]),
        false=len(answer.recorded_only),
        undecided=len(answer.undecided),
        alive=seed.method is not Method.UNUSED,
    )


def _measured(unit: TranslationUnit) -> tuple[int, float]:
    """Bytes of code and seconds of processor time of the unit's own compilation."""
    times = []
    with tempfile.TemporaryDirectory(prefix="klpkit-study-") as folder:
        for number in range(TIMED):
            before = os.times()
            made = replay(unit, workdir=Path(folder) / str(number))
            after = os.times()
            spent = after.children_user + after.children_system - before.children_user - before.children_system
            times.append(spent)
        text = sum(section.size for section in ElfFile.open(made.object).sections if section.executable)
    return text, min(times)
