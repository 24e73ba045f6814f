"""How the module names what stays in the kernel: an ordinary symbol where that is exported, else a klp one.

The loader applies klp relocations against vmlinux when the patch loads, those against a module when that module
is there (`klp_resolve_symbols()` in `kernel/livepatch/core.c`).  A symbol that a module exports must not
be an ordinary one: the patch would need that module to load at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from klpkit.elf import constants as c
from klpkit.elf.arch import architecture
from klpkit.errors import RefusedError
from klpkit.livepatch.locate import Locator, the_global
from klpkit.livepatch.model import Kind, Reference
from klpkit.livepatch.unit import Unit, outside
from klpkit.target import VMLINUX, Target, TargetObject, TargetSymbol
from klpkit.target.module import Module
from klpkit.target.vmlinux import Vmlinux

# Each module has one; THIS_MODULE of patched code is that of the module it patches.
_OWN_MODULE = "__this_module"
_STATIC_CALLS = ("__SCT__", "__SCK__")


@dataclass(frozen=True, slots=True)
class Found:
    """A reference, and the symbol behind it where the target's files tell its place."""

    reference: Reference
    symbol: TargetSymbol | None = None


class KernelSymbols:
    """The references that all units of one patch make to the shipped kernel `target`."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.references: dict[str, Reference] = {}
        self.namespaces: set[str] = set()
        self._locators: dict[int, Locator] = {}

    def locator(self, unit: Unit) -> Locator:
        """Finds entities of the unit's original in the shipped object."""
        if id(unit) not in self._locators:
            self._locators[id(unit)] = Locator(unit.original, self.target.object(unit.owner))
        return self._locators[id(unit)]

    def find(self, unit: Unit, entity: int, user: str) -> Found:
        """How `unit` refers to an entity of its patched side that is outside of it or stays in the kernel."""
        if outside(unit.graph, entity):
            found = self._global(unit, unit.graph.names[entity])
        else:
            found = self._own(unit, entity)
        self._check(found, user)
        self._note(found.reference, user)
        return found

    def function(self, unit: Unit, original: int) -> TargetSymbol:
        """The shipped function that an original's function became; refused where another one has its name."""
        locator = self.locator(unit)
        symbol = locator(original)
        row = int(unit.original.entities.symbol[original])
        weak = int(unit.original.elf.symbols.bind[row]) == c.STB_WEAK
        if weak and locator.code is not None and not locator.code.fits(original, symbol):
            raise RefusedError(
                "overridden-weak",
                f"{symbol.name} of this source is weak, and the running kernel has another function of the name",
                hint="patch the function that overrides it",
            )
        return symbol

    # -- inside ------------------------------------------------------------------------------------------------

    def _own(self, unit: Unit, entity: int) -> Found:
        """What the unit defines itself: local or not as its original is, which is what the kernel has."""
        row, name = unit.partner(entity), unit.graph.names[entity]
        if row < 0:
            raise RefusedError("symbol-not-in-target", f"{name} is not in the original object", hint="report it")
        if not unit.original.entities.local[row]:
            return self._global(unit, unit.original.names[row])
        return self._klp(unit.owner, self.target.object(unit.owner), self.locator(unit)(row))

    def _global(self, unit: Unit, name: str) -> Found:
        owner = unit.owner
        export = self.target.exports().get(name)
        if owner != VMLINUX:
            mine = self.target.object(owner)
            if name == _OWN_MODULE or any(symbol.kind.isupper() for symbol in mine.positions(name)):
                return self._klp(owner, mine, the_global(mine, name))
        if export is not None and _object(export.module) == VMLINUX:
            if export.namespace:
                self.namespaces.add(export.namespace)
            return Found(Reference(Kind.EXPORT, name, VMLINUX), _only(self.target.vmlinux, name))
        if export is not None and owner != VMLINUX:
            other = self.target.object(_object(export.module))
            return self._klp(owner, other, the_global(other, name))
        if export is not None:
            raise RefusedError(
                "symbol-not-in-target",
                f"{name} belongs to module {export.module}, and {owner} refers to it",
                hint="check that Module.symvers is the running kernel's",
            )
        found = self._klp(VMLINUX, self.target.vmlinux, the_global(self.target.vmlinux, name))
        # Of a static call objtool would make a site whose key the loader can't find.
        plain = not name.startswith(_STATIC_CALLS)
        return Found(replace(found.reference, plain=plain), found.symbol)

    def _klp(self, patched: str, holder: TargetObject, symbol: TargetSymbol) -> Found:
        # The kernel wants symbols of vmlinux in the tables for vmlinux, whatever is patched.
        patched = VMLINUX if holder.name == VMLINUX else patched
        sympos = holder.sympos(symbol)
        return Found(Reference(Kind.KLP, symbol.name, holder.name, sympos, patched), symbol)

    def _check(self, found: Found, user: str) -> None:
        """Refuse what is in memory that the kernel frees."""
        symbol, name = found.symbol, found.reference.name
        if symbol is None:
            return
        vmlinux = self.target.vmlinux
        freed = (
            vmlinux.in_init(symbol.address)
            if found.reference.object == VMLINUX and isinstance(vmlinux, Vmlinux)
            else symbol.section.startswith(".init")
        )
        if freed:
            raise RefusedError(
                "init-reference",
                f"{user} refers to {name}, which the kernel has freed after its start",
                hint="keep init code and data out of the patch",
            )

    def _note(self, reference: Reference, user: str) -> None:
        known = self.references.get(reference.symbol, reference)
        users = tuple(sorted({*known.users, user}))
        self.references[reference.symbol] = replace(known, users=users)

    def sealed(self, found: Found) -> bool:
        """Whether an indirect call faults with IBT: the landing pad was taken away, or was never there."""
        symbol, vmlinux = found.symbol, self.target.vmlinux
        if symbol is None or not symbol.function or not isinstance(vmlinux, Vmlinux) or not vmlinux.sealed:
            return False
        holder = self.target.object(found.reference.object)
        if isinstance(holder, Vmlinux):
            return symbol.address in holder.sealed or not self._has_pad(holder, symbol)
        return isinstance(holder, Module) and (
            (symbol.section, symbol.address) in holder.sealed or not self._has_pad(holder, symbol)
        )

    def _has_pad(self, holder: Vmlinux | Module, symbol: TargetSymbol) -> bool:
        """Whether the shipped function begins with a landing pad; an architecture without any needs none."""
        elf = holder.elf
        facts = architecture(elf.machine, elf.byte_order) if elf is not None else None
        pads = facts.landing_pads if facts else ()
        return not pads or any(holder.code(symbol, len(pad)) == pad for pad in pads)


def _object(module: str) -> str:
    """A module as `Module.symvers` names it (`drivers/net/tun`), as the running kernel does."""
    return module.rpartition("/")[2].replace("-", "_")


def _only(vmlinux: TargetObject, name: str) -> TargetSymbol | None:
    try:
        return the_global(vmlinux, name)
    except RefusedError:
        return None
