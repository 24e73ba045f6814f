"""How a function can be replaced, from the object or linked image that holds its code.

By its symbol, only through its callers, or not at all because no code of its own is left; whether livepatch
finds an ftrace location at its start; and whether it is in code that must not be patched.  The kernel's own
words are in Documentation/livepatch/livepatch.rst, section 7.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from klpkit.elf import ElfFile
from klpkit.impact.forbidden import boundary_symbols, forbidden_in_image, forbidden_section
from klpkit.impact.result import How, Patchability
from klpkit.impact.tracesites import TraceSites
from klpkit.records.causes import cause
from klpkit.records.model import Function
from klpkit.records.objects import ObjectCode, refuse_intermediate_code
from klpkit.records.suffixes import RENAMES, ancestry

_NOTHING: Mapping[str, str] = {}

NOTRACE = "it has no ftrace location (notrace, or compiled without one)"
UNTRACED_OBJECT = "nothing in its object has an ftrace location: compiled without -pg or its like"
NOCALL = "its calling convention is not what its source declares (DW_CC_nocall): patch its callers"


def assess(
    object_path: Path,
    functions: Sequence[Function],
    *,
    owner: str = "",
    narrowed: Mapping[str, str] = _NOTHING,
    nocall: Collection[str] = (),
) -> list[Patchability]:
    """How each of `functions` can be replaced, told from the file at `object_path`; in their order.

    `owner` is what the object is linked into.  `narrowed` names functions that keep their plain name and yet
    take for granted what their callers pass, each with a sentence saying so: they are called as their source
    declares them, so a new body can take their place, but new code can't call the running one.  `nocall` names
    functions whose calling convention is not their source's.  An object's own debugging information is asked for
    such functions too; for a linked image hand in what was read from its DWARF
    (`klpkit.records.dwarf.nocall_functions`), since a whole kernel's takes seconds.

    `FormatError` for a broken file, `RefusedError` (`lto-object`) for GCC's intermediate code.
    """
    assessor = _Assessor(object_path, owner, narrowed, nocall)
    return [assessor.assess(function.symbol) for function in functions]


def functions_of(path: Path) -> tuple[Function, ...]:
    """Every function that has code in the file at `path`, in symbol table order; its unit is `path`."""
    elf = ElfFile.open(path)
    refuse_intermediate_code(elf)
    code = ObjectCode(elf)
    names = (name for name, place in zip(code.pieces.names, code.places, strict=True) if place[0])
    return tuple(Function(str(path), name) for name in dict.fromkeys(names))


class _Assessor:
    """Answers for one file."""

    def __init__(self, path: Path, owner: str, narrowed: Mapping[str, str], nocall: Collection[str]) -> None:
        elf = ElfFile.open(path)
        refuse_intermediate_code(elf)
        self._path, self._owner = path, owner
        self._narrowed, self._given = narrowed, frozenset(nocall)
        self._elf = elf
        self._code = ObjectCode(elf)
        self._sites = TraceSites(self._code)
        self._positions: dict[str, list[int]] = {}
        for position, (name, place) in enumerate(zip(self._code.pieces.names, self._code.places, strict=True)):
            if place[0]:
                self._positions.setdefault(name, []).append(position)

    @cached_property
    def _nocall(self) -> frozenset[str]:
        """Functions that are not called as their source says: told by the caller, or by the object's own DWARF."""
        if not (self._elf.relocatable and self._elf.sections.find(".debug_info")):
            return self._given
        from klpkit.records.dwarf import nocall_functions

        return self._given | {function.symbol for function in nocall_functions(self._path)}

    @cached_property
    def _descendants(self) -> dict[str, list[str]]:
        """Name → the functions here that were made from it."""
        found: dict[str, list[str]] = {}
        for name in self._positions:
            for ancestor, _ in ancestry(name):
                found.setdefault(ancestor, []).append(name)
        return found

    @cached_property
    def _twins(self) -> dict[tuple[int, int], list[str]]:
        """Place → all function names there."""
        found: dict[tuple[int, int], list[str]] = {}
        for name, place in zip(self._code.pieces.names, self._code.places, strict=True):
            names = found.setdefault(place, [])
            if place[0] and name not in names:
                names.append(name)
        return found

    @cached_property
    def _boundaries(self) -> dict[str, int]:
        symbols = self._elf.symbols
        return {name: int(symbols.value[row]) for name in boundary_symbols() for row in symbols.find(name)}

    def assess(self, symbol: str) -> Patchability:
        positions = self._positions.get(symbol, [])
        return self._present(symbol, positions) if positions else self._absent(symbol)

    def _absent(self, symbol: str) -> Patchability:
        """A function without code under its own name."""
        if any(self._elf.symbols.section[row] == 0 for row in self._elf.symbols.find(symbol)):
            return Patchability(owner=self._owner, notes=("its code is in another object",))
        left = self._descendants.get(symbol, [])
        renamed = [name for name in left if all(step in RENAMES for _, step in ancestry(name))]
        if len(renamed) == 1:
            found = self._present(renamed[0], self._positions[renamed[0]])
            note = f"its symbol is {renamed[0]}"
            return replace(found, notes=(note, *found.notes))
        notes = (f"only copies of it are left: {', '.join(sorted(left))}",) if left else ()
        return Patchability(How.GONE, owner=self._owner, notes=notes)

    def _present(self, symbol: str, positions: list[int]) -> Patchability:
        traces = [self._sites.traced(position) for position in positions]
        ftrace = None if None in traces else all(traces)
        how, callable_, notes = self._how(symbol, positions[0])
        if len(positions) > 1:
            notes.append(f"{len(positions)} functions have this name here: say which by its position (sympos)")
        notes += [f"it shares its code with {twin}" for twin in self._twins_of(symbol, positions)]
        if ftrace is False:
            notes.append(NOTRACE if self._sites.any else UNTRACED_OBJECT)
        reasons = [self._forbidden(position, ftrace) for position in positions]
        section = self._elf.sections.names[self._code.places[positions[0]][0]]
        return Patchability(
            how, self._owner, section, ftrace, next(filter(None, reasons), ""), tuple(notes), callable_
        )

    def _how(self, symbol: str, position: int) -> tuple[How, bool | None, list[str]]:
        """How it is replaced, whether it can be called, and the notes on both."""
        derived = self._code.pieces.derivation(position)
        if derived and derived[1] not in RENAMES:
            what = cause(derived[1]).sentence.format(user="it", body=derived[0])
            return How.CALLERS, False, [f"{what}: patch its callers"]
        if symbol in self._nocall:
            return How.CALLERS, False, [NOCALL]
        if symbol in self._narrowed:
            return How.SYMBOL, False, [self._narrowed[symbol]]
        return How.SYMBOL, None, []

    def _twins_of(self, symbol: str, positions: list[int]) -> list[str]:
        names = {name for position in positions for name in self._twins[self._code.places[position]]}
        return sorted(names - {symbol})

    def _forbidden(self, position: int, traced: bool | None) -> str:
        section, start = self._code.places[position]
        slug = forbidden_section(self._elf.sections.names[section], traced)
        if slug or self._elf.relocatable:
            return slug
        address = int(self._elf.sections.address[section]) + start
        return forbidden_in_image(self._boundaries, address, traced)
