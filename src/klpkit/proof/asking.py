"""Proofs asked of a build tree: the units that a function concerns, and one answer for each of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.build.concerned import concerned_units
from klpkit.build.tree import BuildTree
from klpkit.errors import UserError
from klpkit.proof.answer import together
from klpkit.proof.cxxnames import identifier
from klpkit.proof.linkcommand import read_link
from klpkit.proof.linked import LinkedUnit, open_program
from klpkit.proof.model import Answer, Method, Verdict
from klpkit.proof.proving import prove_all
from klpkit.proof.unit import ProofUnit, open_unit
from klpkit.proof.variables import static_variables, variable_answer

Progress = Callable[[int, int], None]


def prove_functions(
    tree: BuildTree, specs: Sequence[str], *, causes: bool, jobs: int | None, progress: Progress, link: str = ""
) -> list[Answer]:
    """One answer for each unit of `tree` that the functions `specs` (`name`, `file:name`) concern.

    A static variable can be named as `file:name`: the answer is who relies on its having no reader or writer.
    A public function called by its name alone is proven in the unit that defines it, a header's in every unit that
    includes it.  `link` is the command that links them, or the name of a file with it, for units compiled with
    `-flto`; there is one answer then.  Errors are those of `concerned_units` and of the proof.
    """
    if link:
        return [_prove_linked(open_linked(tree, link), specs, causes=causes, jobs=jobs, progress=progress)]
    wanted: dict[TranslationUnit, list[str]] = {}
    for spec in specs:
        file, name = _split(spec)
        for unit in concerned_units(tree, f"{file}:{identifier(name)}" if file else identifier(name)).units:
            wanted.setdefault(unit, []).append(name)
    answers = []
    for unit, names in wanted.items():
        opened = open_unit(unit, name=unit_name(tree, unit))
        there = [opened.function(name).name for name in names if opened.defines(name)]
        others = {name for name in names if not opened.defines(name)}
        variables = [name for name in static_variables(opened) if name in others] if others else []
        answers += [variable_answer(opened, name) for name in variables]
        if there or (len(wanted) == 1 and not variables):
            answers.append(together(opened, there or names, causes=causes, jobs=jobs, progress=progress))
    if not answers:
        raise UserError(f"no unit defines {', '.join(specs)}", hint="name it as file.c:function")
    return answers


def _split(spec: str) -> tuple[str, str]:
    """The file and the function of `spec`; C++ names have colons of their own."""
    found = re.match(r"([^:()<>]*):(?!:)(.*)$", spec)
    return (found[1], found[2]) if found else ("", spec)


def open_linked(tree: BuildTree, link: str) -> LinkedUnit:
    """The program that the command `link`, run in the build folder, makes of units of `tree`."""
    units = {unit_name(tree, unit): unit for unit in tree.units(everything=True)}
    return open_program(units, read_link(link, tree.root))


def _prove_linked(
    program: LinkedUnit, specs: Sequence[str], *, causes: bool, jobs: int | None, progress: Progress
) -> Answer:
    return together(program, specs, causes=causes and program.has_causes, jobs=jobs, progress=progress)


def unit_name(tree: BuildTree, unit: TranslationUnit) -> str:
    """The unit's source, relative to the source tree where it is inside it."""
    for base in (tree.source, tree.root):
        if base is not None and unit.source.is_relative_to(base):
            return os.fspath(unit.source.relative_to(base))
    return str(unit.source)


@dataclass(frozen=True, slots=True)
class Row:
    """One function of a whole file, in numbers; `false` counts functions recorded and proven not to matter."""

    function: str
    method: Method
    impacted: int
    missed: int
    false: int
    knock_on: int
    undecided: int
    convention: int
    assumes: bool
    compilations: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WholeFile:
    """The proofs of all functions that one source defines."""

    unit: str
    rows: tuple[Row, ...]
    answers: tuple[Answer, ...]
    warnings: tuple[str, ...]
    compilations: int

    @property
    def per_proof(self) -> float:
        """Compilations a proof, rounds for knock-ons and the unit's own included, those for causes not."""
        return (2 + sum(row.compilations for row in self.rows)) / max(1, len(self.rows))

    @property
    def undecided(self) -> int:
        """Functions with anything undecided."""
        return sum(bool(row.undecided) or row.method is Method.UNDECIDED for row in self.rows)


def prove_file(
    tree: BuildTree, source: str | Path, *, causes: bool, jobs: int | None, progress: Progress
) -> WholeFile:
    """Every function that `source` defines and that has code or went into other code; resumes from the cache."""
    unit = tree.ensure_unit(source)
    return prove_unit(open_unit(unit, name=unit_name(tree, unit)), causes=causes, jobs=jobs, progress=progress)


def prove_unit(opened: ProofUnit, *, causes: bool, jobs: int | None, progress: Progress) -> WholeFile:
    """`prove_file` for a unit that is open."""
    names = opened.own_functions()
    count = 0

    def done(_: str, __: object) -> None:
        nonlocal count
        count += 1
        progress(count, len(names))

    prove_all(opened, names, jobs=jobs, done=done)
    answers = tuple(together(opened, [name], causes=causes, jobs=jobs) for name in names)
    warnings = dict.fromkeys(text for answer in answers for text in answer.warnings)
    rows = tuple(map(_row, answers))
    return WholeFile(opened.name, rows, answers, tuple(warnings), opened.compilations.value)


def _row(answer: Answer) -> Row:
    proof = next(proof for proof in answer.proofs if proof.function == answer.seeds[0])
    others = [item for item in answer.impacted if item.via]
    return Row(
        function=proof.function,
        method=proof.method,
        impacted=len(others),
        missed=len(answer.missed),
        false=len(answer.recorded_only),
        knock_on=len(proof.with_verdict(Verdict.KNOCK_ON)),
        undecided=len(proof.with_verdict(Verdict.UNDECIDED)),
        convention=sum(item.verdict is Verdict.CONVENTION for item in others),
        assumes=bool(proof.assumes),
        compilations=proof.compilations,
        reason=proof.reason,
    )
