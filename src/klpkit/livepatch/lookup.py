"""Finding what a reference means among the symbols of the shipped kernel, and saying what it could mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from klpkit.errors import RefusedError
from klpkit.livepatch.klprela import VMLINUX, KlpReference
from klpkit.target import Export, TargetObject, TargetSymbol
from klpkit.target.sourcepaths import source_paths


class SymbolData(Protocol):
    """Where symbols are looked up: a `Target`, or the contents of a `symbols.klp` list."""

    @property
    def vmlinux(self) -> TargetObject: ...
    def object(self, name: str) -> TargetObject: ...
    def modules(self) -> tuple[str, ...]: ...
    def exports(self) -> Mapping[str, Export]: ...


def checked(reference: KlpReference, data: SymbolData | None) -> TargetSymbol | None:
    """The symbol that an annotation means; None where there are no data on its object."""
    if data is None or not (reference.symbol_object == VMLINUX or data.modules()):
        return None
    owner = data.object(reference.symbol_object)
    positions = owner.positions(reference.name)
    if not positions:
        raise RefusedError(
            "klp-unknown-symbol",
            f"{reference.symbol_object} has no symbol {reference.name}",
            hint=_elsewhere(reference.name, data),
        )
    if reference.sympos > len(positions) or (reference.sympos == 0 and len(positions) > 1):
        which = f"position {reference.sympos}" if reference.sympos else "no position"
        raise RefusedError(
            "klp-ambiguous",
            f"{reference.name} is annotated with {which}, and {reference.symbol_object} has {len(positions)}",
            hint=_choices([(owner, positions)]),
        )
    found = positions[max(reference.sympos, 1) - 1]
    _check_stays(owner, found)
    return found


def looked_up(name: str, patched: Sequence[str], data: SymbolData | None) -> tuple[KlpReference, TargetSymbol]:
    """The reference that the undefined symbol `name` without annotation stands for.

    Its name must tell it from all symbols of vmlinux and of the modules `patched`.
    """
    if data is None:
        raise RefusedError(
            "klp-unresolved",
            f"{name} is neither exported nor annotated",
            hint="annotate it, or name the kernel's symbols: --image, --vmlinux, --modules or --symbols",
        )
    objects = [data.vmlinux, *(data.object(each) for each in patched)]
    candidates = [(owner, positions) for owner in objects if (positions := owner.positions(name))]
    if not candidates:
        raise RefusedError(
            "klp-unresolved",
            f"{name} is neither exported nor annotated, and none of the objects that are patched has it",
            hint=_elsewhere(name, data),
        )
    (owner, positions), *others = candidates
    if others or len(positions) > 1:
        count = sum(len(each) for _, each in candidates)
        raise RefusedError(
            "klp-ambiguous", f"{name} may be any of {count} symbols: annotate it", hint=_choices(candidates)
        )
    _check_stays(owner, positions[0])
    return KlpReference(name, owner.name, owner.name, name, 0), positions[0]


def _choices(found: Sequence[tuple[TargetObject, Sequence[TargetSymbol]]]) -> str:
    """The annotations that are possible, one a line, with the source files where they are known."""
    lines = ["write one of:"]
    for owner, positions in found:
        for number, (symbol, source) in enumerate(zip(positions, source_paths(owner, positions), strict=True), 1):
            position = number if len(positions) > 1 else 0
            source = source or (f"source unknown, at {symbol.address:#x}" if symbol.address else "")
            text = f"    KLPKIT_RELOC({owner.name}, {owner.name}, {symbol.name}, {position});"
            lines.append(f"{text}  /* {source} */" if source else text)
    return "\n".join(lines)


def _elsewhere(name: str, data: SymbolData) -> str:
    """What to do about a name that is not where it was looked for."""
    near = (f"{name}.isra.0", f"{name}.constprop.0", f"{name}.part.0")
    clones = [other for other in near if data.vmlinux.positions(other)]
    if clones:
        return f"the compiler left only {', '.join(clones)}: patch the callers instead, or copy the function"
    return (
        "check its spelling and its object; a function that was inlined everywhere must be copied into the patch"
    )


def _check_stays(owner: TargetObject, symbol: TargetSymbol) -> None:
    """`RefusedError` for a symbol in memory that the kernel frees, or whose position changes when it does."""
    in_init = getattr(owner, "in_init", None)
    if in_init is not None and in_init(symbol.address):
        raise RefusedError(
            "klp-init-symbol",
            f"{symbol.name} of {owner.name} is in memory that is freed after boot",
            hint="copy what is needed of it into the patch",
        )
    owner.sympos(symbol)
