"""Does the draft, not edited yet, compile to the code that the kernel runs?  A mistake in extraction shows here.

The compiled draft gets the kernel's own names and is held against the shipped code as fidelity holds a whole unit
(`klpkit.target.fidelity`): bytes, and what every relocated field refers to.  What differs by nature is no
difference: the landing pad (ENDBR) that only functions visible to other units have, and where neighbours lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from klpkit.diff.load import load
from klpkit.diff.pool import Pool
from klpkit.elf import ElfFile, ElfObject
from klpkit.elf import constants as c
from klpkit.elf.model import ObjSection, ObjSymbol
from klpkit.errors import RefusedError
from klpkit.extract.making import UnitDraft
from klpkit.target import Target, TargetObject
from klpkit.target.fidelity import FunctionFidelity, Verdict, fidelity_of
from klpkit.target.module import Module
from klpkit.target.original import Original
from klpkit.target.shipped import Shipped, shipped_code
from klpkit.target.vmlinux import Vmlinux

_LANDING_PAD = b"\xf3\x0f\x1e\xfa"  # Intel SDM vol. 2, ENDBR64


class Sameness(StrEnum):
    """What became of one function's comparison."""

    EQUAL = "equal"
    EQUAL_WITH_BODIES = "equal-with-bodies"
    """Equal when the compiler sees the bodies of the same source that the kernel's compiler saw."""
    DIFFERS = "differs"
    UNKNOWN = "unknown"
    """The kernel has no code of its own for it, or none is at hand."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One function of a draft held against the kernel's: where they part, how, and why that can be."""

    function: str
    sameness: Sameness
    offset: int = 0
    difference: str = ""
    known: tuple[str, ...] = ()
    """Functions of the same source whose bodies the kernel's compiler saw and this draft's did not."""
    copies: tuple[str, ...] = ()
    """Functions copied along that this one calls, where the kernel's calls another copy."""

    @property
    def sentence(self) -> str:
        """The answer for a person."""
        if self.sameness is Sameness.EQUAL:
            return "code as in the kernel"
        if self.sameness is Sameness.EQUAL_WITH_BODIES:
            return f"code as in the kernel when compiled with the bodies of {', '.join(self.known + self.copies)}"
        if self.sameness is Sameness.UNKNOWN:
            return f"code not compared: {self.difference}"
        reasons = [f"the kernel's compiler saw the bodies of {', '.join(self.known)}"] * bool(self.known)
        reasons += [f"it calls copies of {', '.join(self.copies)}"] * bool(self.copies)
        why = f" (that can be since {'; '.join(reasons)})" if reasons else ""
        return f"code differs at +{self.offset:#x}: {self.difference}{why}"


class Checker:
    """Compares drafts with the code of one kernel."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._shipped: dict[str, Shipped] = {}

    def check(self, draft: UnitDraft, original: Path) -> tuple[Checked, ...]:
        """Every patched function of `draft`, whose unit compiles to the object `original`."""
        there = self._target.object(draft.home)
        if not _has_code(there):
            why = "no code of the kernel is at hand"
            return tuple(Checked(name, Sameness.UNKNOWN, difference=why) for name in draft.functions)
        renamed = draft.object.with_name(f"{draft.object.stem}-as-shipped.o")
        unit = _Unit(ElfFile.open(original))
        _with_kernel_names(draft, unit).write(renamed)
        shipped = self._shipped.setdefault(draft.home, shipped_code(there))  # type: ignore[arg-type]
        try:
            found = fidelity_of(Original.open(renamed), shipped, source=str(draft.unit.source), owner=draft.home)
        except RefusedError as error:
            return tuple(Checked(name, Sameness.UNKNOWN, difference=error.message) for name in draft.functions)
        by_name = {each.name: each for each in found.functions}
        uses = _Uses(renamed)
        return tuple(_checked(name, by_name.get(name), unit, uses) for name in draft.functions)


def _has_code(there: TargetObject) -> bool:
    return isinstance(there, Module) or (isinstance(there, Vmlinux) and there.has_code)


@dataclass(frozen=True)
class _Unit:
    """The unit's compiled original."""

    elf: ElfFile

    @cached_property
    def functions(self) -> Mapping[str, bytes]:
        """The first bytes of each function by name."""
        table = self.elf.symbols
        found = {}
        for symbol in table:
            if symbol.type == c.STT_FUNC and symbol.section > 0:
                content = self.elf.content(symbol.section)
                found[symbol.name] = bytes(content[symbol.value : symbol.value + len(_LANDING_PAD)])
        return found


def _with_kernel_names(draft: UnitDraft, unit: _Unit) -> ElfObject:
    """The compiled draft as if its functions and static variables were the kernel's."""
    names = {copy: name for name, copy in draft.functions.items()}
    names |= {each.name: each.symbol for each in draft.references if each.symbol}
    model = ElfObject.read(draft.object)
    for symbol in model.symbols:
        copy = symbol.name
        symbol.name = names.get(copy, copy)
        section = symbol.section
        if copy in draft.functions.values() and isinstance(section, ObjSection):
            if section.name.endswith(f".{copy}"):
                section.name = section.name.removesuffix(copy) + symbol.name
            _without_landing_pad(symbol, section, unit)
    return model


def _without_landing_pad(symbol: ObjSymbol, section: ObjSection, unit: _Unit) -> None:
    """Let a function begin after its landing pad where the kernel's has none."""
    begin = bytes(section.data[symbol.value : symbol.value + len(_LANDING_PAD)])
    theirs = unit.functions.get(symbol.name)
    if begin == _LANDING_PAD and theirs is not None and theirs != _LANDING_PAD:
        symbol.value += len(_LANDING_PAD)
        symbol.size -= len(_LANDING_PAD)


class _Uses:
    """Which functions the code of each function of an object refers to."""

    def __init__(self, path: Path) -> None:
        elf = ElfFile.open(path)
        graph = load(elf, Pool(), Pool())
        self.inside = {each.name for each in elf.symbols if each.type == c.STT_FUNC and each.section > 0}
        self.of: dict[str, set[str]] = {}
        references = graph.references
        for owner, target in zip(references.owner.tolist(), references.target.tolist(), strict=True):
            name = graph.names[owner].partition(".")[0]
            self.of.setdefault(name, set()).add(graph.names[target])


def _checked(name: str, found: FunctionFidelity | None, unit: _Unit, uses: _Uses) -> Checked:
    if name not in unit.functions:
        return Checked(name, Sameness.UNKNOWN, difference="the kernel has no code of its own for it")
    if found is None or found.verdict in (Verdict.ABSENT, Verdict.DISCARDED, Verdict.OVERRIDDEN):
        why = found.difference.why if found and found.difference else "the kernel's code for it was not found"
        return Checked(name, Sameness.UNKNOWN, difference=why)
    if found.difference is None:
        return Checked(name, Sameness.EQUAL)
    used = uses.of.get(name, set()) - {name}
    return Checked(
        name,
        Sameness.DIFFERS,
        found.difference.offset,
        found.difference.why,
        known=_sorted(used & unit.functions.keys() - uses.inside),
        copies=_sorted(used & uses.inside - unit.functions.keys()),
    )


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def differs(checked: Iterable[Checked]) -> bool:
    """Whether any differs."""
    return any(each.sameness is Sameness.DIFFERS for each in checked)


def with_bodies(checked: Sequence[Checked], whole: Iterable[Checked]) -> tuple[Checked, ...]:
    """`checked`, those set right that are equal in `whole`: the same functions compiled with all bodies."""
    equal = {each.function for each in whole if each.sameness is Sameness.EQUAL}
    return tuple(
        replace(each, sameness=Sameness.EQUAL_WITH_BODIES)
        if each.sameness is Sameness.DIFFERS and each.function in equal
        else each
        for each in checked
    )
