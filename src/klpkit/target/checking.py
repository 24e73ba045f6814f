"""Fidelity of translation units: replayed with the tree's own commands, held against what is shipped."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from klpkit import programs
from klpkit.build import Replayed, TranslationUnit, replay_many
from klpkit.errors import RefusedError
from klpkit.target.fidelity import Fidelity, FunctionFidelity, Verdict, fidelity_of
from klpkit.target.model import VMLINUX, TargetObject
from klpkit.target.module import Module, module_name
from klpkit.target.opening import Target
from klpkit.target.original import Original
from klpkit.target.shipped import shipped_code
from klpkit.target.vmlinux import Vmlinux

_OTHERWISE = "check compiler, configuration, source version and patch level of the build tree"


def check_units(
    units: Sequence[TranslationUnit],
    target: Target,
    *,
    workdir: Path,
    root: Path | None = None,
    source: Path | None = None,
    jobs: int | None = None,
    done: Callable[[], None] | None = None,
) -> list[Fidelity]:
    """Compile `units` once more into `workdir` and hold each against the object of `target` that it belongs to.

    A unit that is linked into several modules gets an answer for each.  Raises `ProgramFailedError` where one does
    not compile, and `RefusedError` (`no-such-module`, `no-modules`, `no-shipped-code`) where nothing is shipped to
    compare it with.
    """

    def advance(unit: TranslationUnit, replayed: Replayed) -> None:
        if done:
            done()

    for unit in units:
        for owner in owners_of(unit):
            _with_code(target.object(owner))
    replayed = replay_many(units, workdir=workdir, root=root, jobs=jobs, done=advance)
    return [found for each in replayed for found in check_object(each.unit, each.object, target, source=source)]


def check_object(
    unit: TranslationUnit, path: Path, target: Target, *, source: Path | None = None
) -> list[Fidelity]:
    """The object at `path`, compiled from `unit`, held against each shipped object that `unit` belongs to.

    `source` is the top of the source tree, below which the answer names sources.
    """
    original = Original.open(path)
    inside = source is not None and unit.source.is_relative_to(source)
    label = str(unit.source.relative_to(source) if source is not None and inside else unit.source)
    return [
        fidelity_of(original, shipped_code(_with_code(target.object(owner))), source=label, owner=owner)
        for owner in owners_of(unit)
    ]


def owners_of(unit: TranslationUnit) -> list[str]:
    """`vmlinux` or the names of the modules that `unit` is part of; vmlinux where the tree does not tell."""
    names = [name for name in unit.owner.split(", ") if name]
    return [VMLINUX if name == VMLINUX else module_name(name) for name in names] or [VMLINUX]


def refuse_unfaithful(
    checked: Iterable[Fidelity], *, target: Target, compiler: Sequence[str] = (), needed: Collection[str] = ()
) -> None:
    """`RefusedError` (`not-faithful`) for the first function that is not as shipped.

    `needed` are names of functions that must be equal even where an overridden or discarded one would be excused.
    """
    for each in checked:
        missing = (f for f in each.functions if f.name in needed and f.verdict is not Verdict.EQUAL)
        bad = each.first or next(missing, None)
        if bad is not None:
            raise RefusedError("not-faithful", _message(each, bad), hint=_hint(target, compiler))


def _message(each: Fidelity, bad: FunctionFidelity) -> str:
    where = f"+{bad.difference.offset:#x}" if bad.difference else ""
    why = bad.difference.why if bad.difference else str(bad.verdict)
    return f"{each.source}: {bad.name}{where} is not as shipped: {why}"


def _hint(target: Target, compiler: Sequence[str]) -> str:
    return "; ".join([*suspects(target, compiler), _OTHERWISE])


def suspects(target: Target, compiler: Sequence[str]) -> list[str]:
    """What is known to be different between the shipped kernel and the build: compilers by their own words."""
    theirs = target.compiler
    if not compiler or not theirs:
        return []
    ours = programs.run((*compiler, "--version")).stdout.decode(errors="replace").partition("\n")[0].strip()
    # A driver calls itself by the name that it is run by; what follows is the same for all of its names.
    if re.sub(r"^\S+ ", "", ours) == re.sub(r"^\S+ ", "", theirs):
        return []
    return [f"the shipped kernel was made by {theirs}, this build's compiler is {ours}"]


def _with_code(shipped: TargetObject) -> Vmlinux | Module:
    if isinstance(shipped, Module) or (isinstance(shipped, Vmlinux) and shipped.has_code):
        return shipped
    raise RefusedError(
        "no-shipped-code",
        f"no code of the shipped {shipped.name} is at hand",
        hint="name the kernel image with --image, or a debug vmlinux that has its code with --vmlinux",
    )
