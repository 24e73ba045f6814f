"""Does the draft, not edited yet, compile to the code that the kernel runs?  A mistake in extraction shows here.

The compiled draft gets the kernel's own names and is held against the shipped code as fidelity holds a whole unit
(`klpkit.target.fidelity`): bytes, and what every relocated field refers to.  What differs by nature is no
difference: the landing pad (ENDBR) that only functions visible to other units have, and where neighbours lie.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from klpkit.diff.load import load
from klpkit.diff.names import declared
from klpkit.diff.pool import Pool
from klpkit.elf import ElfFile, ElfObject
from klpkit.elf import constants as c
from klpkit.elf.model import ObjSection, ObjSymbol
from klpkit.errors import RefusedError
from klpkit.extract.making import UnitDraft
from klpkit.extract.onceuse import shared, with_uses_apart
from klpkit.target import Target
from klpkit.target.fidelity import FunctionFidelity, Verdict, fidelity_of
from klpkit.target.module import Module
from klpkit.target.original import Original
from klpkit.target.shipped import Shipped, shipped_code
from klpkit.target.vmlinux import Vmlinux

_NAMED = (c.STT_FUNC, c.STT_OBJECT)
_OWN_NAME = ("__func__", "__FUNCTION__", "__PRETTY_FUNCTION__")
_LANDING_PAD = b"\xf3\x0f\x1e\xfa"  # Intel SDM vol. 2, ENDBR64


class Sameness(StrEnum):
    """What became of one function's comparison."""

    EQUAL = "equal"
    EQUAL_ALONE = "equal-alone"
    """Equal to the unit's own where both are compiled so that no function depends on another one's body."""
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
    """Functions and static variables of which the kernel's compiler saw all there is and this draft's did not."""
    copies: tuple[str, ...] = ()
    """Functions copied along that this one calls, where the kernel's calls another copy."""
    has_code: bool = True
    """Whether the kernel has code of its own for it that was compared."""
    narrowed: bool = False
    """The kernel's own relies on what all of its callers pass."""
    keys_as_data: bool = False
    """The draft asks static keys as data."""

    @property
    def sentence(self) -> str:
        """The answer for a person."""
        if self.sameness is Sameness.EQUAL:
            return "code as in the kernel"
        if self.sameness is Sameness.UNKNOWN:
            return f"code not compared: {self.difference}"
        differs = f"differs at +{self.offset:#x}: {self.difference}{self._why}"
        if self.sameness is Sameness.EQUAL_ALONE:
            kernel = f"the kernel's {differs}" if self.has_code else self.difference
            return f"code as in the source, function by function; {kernel}"
        return f"code {differs}"

    @property
    def reasons(self) -> list[str]:
        """Why the kernel's code can differ from the draft's though nothing was lost."""
        reasons = [f"the kernel's compiler saw all there is of {', '.join(self.known)}"] * bool(self.known)
        reasons += [f"it calls copies of {', '.join(self.copies)}"] * bool(self.copies)
        reasons += ["the kernel's takes for granted what its callers pass"] * self.narrowed
        reasons += ["keys of a module are asked as data"] * self.keys_as_data
        return reasons

    @property
    def _why(self) -> str:
        return f" (that can be since {'; '.join(self.reasons)})" if self.reasons else ""


class Checker:
    """Compares drafts with the code of one kernel."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._shipped: dict[str, Shipped] = {}

    def check(self, draft: UnitDraft, original: Path, narrowed: Container[str] = ()) -> tuple[Checked, ...]:
        """Every patched function of `draft`, whose unit compiles to the object `original`.

        `narrowed` are functions of which the compiler says that they rely on their callers.
        """
        there = self._target.object(draft.home)
        if not isinstance(there, Module) and not (isinstance(there, Vmlinux) and there.has_code):
            why = "no code of the kernel is at hand"
            return tuple(Checked(name, Sameness.UNKNOWN, difference=why) for name in draft.functions)
        if draft.home not in self._shipped:
            self._shipped[draft.home] = shipped_code(there)
        found = compared(draft, draft.object, original, self._shipped[draft.home])
        keys = draft.keys_as_data
        return tuple(replace(each, narrowed=each.function in narrowed, keys_as_data=keys) for each in found)


def compared(draft: UnitDraft, path: Path, original: Path, shipped: Shipped) -> tuple[Checked, ...]:
    """Every patched function of `draft`, compiled to the object `path`, against `shipped` code of its unit."""
    renamed = path.with_name(f"{path.stem}-as-shipped.o")
    unit = _Unit(ElfFile.open(original))
    _with_kernel_names(draft, path, unit).write(renamed)
    try:
        found = fidelity_of(Original.open(renamed), shipped, source=str(draft.unit.source), owner=draft.home)
    except RefusedError as error:
        return tuple(Checked(name, Sameness.UNKNOWN, difference=error.message) for name in draft.functions)
    if shared(found.placing):
        why = "two of the draft's marks for once-only state are one in the kernel"
        return tuple(Checked(name, Sameness.DIFFERS, difference=why) for name in draft.functions)
    by_name = {each.name: each for each in found.functions}
    uses = _Uses(renamed)
    return tuple(_checked(name, by_name.get(name), unit, uses) for name in draft.functions)


@dataclass(frozen=True)
class _Unit:
    """The unit's compiled original."""

    elf: ElfFile

    @cached_property
    def static_variables(self) -> frozenset[str]:
        local = (symbol for symbol in self.elf.symbols if symbol.bind == c.STB_LOCAL)
        return frozenset(symbol.name for symbol in local if symbol.type == c.STT_OBJECT)

    def numbered(self, symbol: ObjSymbol, names: Mapping[str, str]) -> str:
        """What the unit calls the constant that the draft has as `symbol`, where the compiler numbers both.

        "" where it has none of this content, or several.  `names` are copy → function: `__func__` says the copy's.
        """
        section, plain = symbol.section, declared(symbol.name)
        if plain is None or symbol.type != c.STT_OBJECT or not isinstance(section, ObjSection):
            return ""
        if section.relocations or not section.name.startswith(".rodata"):
            return ""
        content = bytes(section.data[symbol.value : symbol.value + symbol.size])
        function = names.get(content[:-1].decode("latin-1")) if plain in _OWN_NAME else None
        content = content if function is None else function.encode() + b"\0"
        found = self._constants.get((plain, content), [])
        return found[0] if len(found) == 1 else ""

    @cached_property
    def _constants(self) -> Mapping[tuple[str, bytes], list[str]]:
        """Source name and content → symbols of the numbered constants."""
        found: dict[tuple[str, bytes], list[str]] = {}
        for symbol in self.elf.symbols:
            plain = declared(symbol.name) if symbol.type == c.STT_OBJECT and symbol.section > 0 else None
            if plain is not None and self.elf.sections.names[symbol.section].startswith(".rodata"):
                content = self.elf.content(symbol.section)[symbol.value : symbol.value + symbol.size]
                found.setdefault((plain, bytes(content)), []).append(symbol.name)
        return found

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


def _with_kernel_names(draft: UnitDraft, path: Path, unit: _Unit) -> ElfObject:
    """The compiled draft as if its functions and static variables were the kernel's."""
    names = {copy: name for name, copy in draft.functions.items()}
    names |= {each.name: each.symbol for each in draft.references if each.symbol}
    model = with_uses_apart(ElfFile.open(path))
    for symbol in model.symbols:
        copy = symbol.name
        symbol.name = names.get(copy) or unit.numbered(symbol, names) or copy
        section = symbol.section
        if copy in draft.functions.values() and isinstance(section, ObjSection):
            if section.name.startswith(".text."):  # its own: the draft is compiled with -ffunction-sections
                section.name = f".text.{symbol.name}"
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
    """Which functions and variables the code of each function of an object refers to; `inside` it has itself."""

    def __init__(self, path: Path) -> None:
        elf = ElfFile.open(path)
        graph = load(elf, Pool(), Pool())
        self.functions = {each.name for each in elf.symbols if each.type == c.STT_FUNC and each.section > 0}
        self.inside = {each.name for each in elf.symbols if each.type in _NAMED and each.section > 0}
        self.of: dict[str, set[str]] = {}
        references = graph.references
        for owner, target in zip(references.owner.tolist(), references.target.tolist(), strict=True):
            name = graph.names[owner].partition(".")[0]
            self.of.setdefault(name, set()).add(graph.names[target])


def _checked(name: str, found: FunctionFidelity | None, unit: _Unit, uses: _Uses) -> Checked:
    if name not in unit.functions:
        return Checked(name, Sameness.UNKNOWN, difference="the kernel has none of its own", has_code=False)
    if found is None or found.verdict in (Verdict.ABSENT, Verdict.DISCARDED, Verdict.OVERRIDDEN):
        why = found.difference.why if found and found.difference else "the kernel's code for it was not found"
        return Checked(name, Sameness.UNKNOWN, difference=why, has_code=False)
    if found.difference is None:
        return Checked(name, Sameness.EQUAL)
    used = uses.of.get(name, set()) - {name}
    return Checked(
        name,
        Sameness.DIFFERS,
        found.difference.offset,
        found.difference.why,
        known=_sorted(used & (unit.functions.keys() | unit.static_variables) - uses.inside),
        copies=_sorted(used & uses.functions - unit.functions.keys()),
    )


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def differs(checked: Iterable[Checked], *, explained: bool) -> bool:
    """Whether any differs; those that differ for a reason that is known count where `explained` says so."""
    return any(each.sameness is Sameness.DIFFERS and (explained or not each.reasons) for each in checked)


def alone(checked: Sequence[Checked], draft: UnitDraft, path: Path, original: Path) -> tuple[Checked, ...]:
    """`checked`, those set right whose code is equal in `path` and `original`.

    Both are `draft` and its unit, compiled so that no function's code depends on another one's body.
    """
    found = compared(draft, path, original, shipped_code(Module.read(original)))
    equal = {each.function for each in found if each.sameness is Sameness.EQUAL}
    return tuple(
        replace(each, sameness=Sameness.EQUAL_ALONE)
        if each.sameness is not Sameness.EQUAL and each.function in equal
        else each
        for each in checked
    )
