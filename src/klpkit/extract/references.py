"""Where each undefined symbol of a compiled draft is to come from in the running kernel.

Exported symbols are the module loader's business.  All others become klp relocations: an annotation in the source
says object, symbol and position (`klpkit/livepatch/include/klpkit.h`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.errors import RefusedError
from klpkit.livepatch.klpkinds import KEY_TABLES
from klpkit.target import VMLINUX


class Origin(StrEnum):
    """Where a symbol comes from."""

    EXPORTED = "exported"
    ANNOTATED = "annotated"
    PROVIDED = "provided"
    """By the module's own build or the loader: `__fentry__`, `_GLOBAL_OFFSET_TABLE_`, `__this_module`."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One undefined symbol: `name` in the draft, `symbol` in `object` of the kernel at position `sympos`."""

    name: str
    origin: Origin
    object: str = ""
    symbol: str = ""
    sympos: int = 0

    def annotation(self, patched: str) -> str:
        """The line for the draft, where it is one to annotate; `patched` is the livepatched object."""
        place = f"{patched}, {self.object}, {self.symbol}, {self.sympos}"
        if self.name == self.symbol:
            return f"KLPKIT_RELOC({place});"
        return f"KLPKIT_RELOC_AS({self.name}, {place});"


class Kernel(Protocol):
    """What classification asks of the kernel to be patched."""

    def exporter(self, name: str) -> str | None:
        """The object that exports `name`, None where none does."""

    def find(self, name: str) -> tuple[str, str, int] | None:
        """(object, symbol, sympos) of what the unit calls `name`; None where the kernel has none.

        Raises `RefusedError` where there are several and nothing tells which.
        """


_PROVIDED = frozenset({"__fentry__", "mcount", "_mcount", "_GLOBAL_OFFSET_TABLE_", "__this_module"})


def references(draft: ElfFile, kernel: Kernel, renamed: Mapping[str, str]) -> list[Reference]:
    """Classify every undefined symbol of `draft`.

    `renamed` maps names of the draft to the kernel's symbols where
    the two differ.  Raises `RefusedError` naming all symbols that are nowhere in the kernel.
    """
    found, missing = [], []
    for name in _undefined(draft):
        reference = _reference(name, kernel, renamed.get(name, name))
        if reference is None:
            missing.append(renamed.get(name, name))
        else:
            found.append(reference)
    if missing:
        raise RefusedError(
            "symbol-not-in-kernel",
            f"the running kernel has no {', '.join(sorted(missing))}",
            hint="copy what it stands for into the draft, or patch its callers instead",
        )
    _refuse_module_keys(draft, found)
    return found


def _refuse_module_keys(draft: ElfFile, found: Iterable[Reference]) -> None:
    """Keys of jump labels and static calls are looked up before those of a module can be resolved."""
    of_modules = {each.name for each in found if each.object not in ("", VMLINUX)}
    for section in (number for table in KEY_TABLES for number in draft.sections.find(table)):
        for table in draft.relocations_of(section):
            names = {draft.symbols.names[row] for row in table.symbol.tolist()} & of_modules
            if names:
                raise RefusedError(
                    "module-key",
                    f"a jump label or static call of the draft uses {', '.join(sorted(names))}, a key of a module",
                    hint="use static_key_enabled() or an ordinary call in a copy of the function made by hand",
                )


def _undefined(draft: ElfFile) -> Iterator[str]:
    for symbol in draft.symbols:
        if symbol.section == c.SHN_UNDEF and symbol.name:
            yield symbol.name


def _reference(name: str, kernel: Kernel, symbol: str) -> Reference | None:
    if name in _PROVIDED:
        return Reference(name, Origin.PROVIDED)
    if name == symbol and kernel.exporter(symbol) is not None:
        return Reference(name, Origin.EXPORTED)
    place = kernel.find(symbol)
    return Reference(name, Origin.ANNOTATED, *place) if place else None


def annotation_lines(found: Iterable[Reference], patched: str) -> list[str]:
    """The lines for all references that need one, in the order of their names."""
    wanted = [reference for reference in found if reference.origin is Origin.ANNOTATED]
    return [reference.annotation(patched) for reference in sorted(wanted, key=lambda reference: reference.name)]
