"""What goes into a module, decided before anything is built: selections, names, references, patched functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from klpkit.diff import Verdict
from klpkit.diff.union import CODE
from klpkit.elf import ElfObject
from klpkit.elf.special import Role
from klpkit.errors import RefusedError
from klpkit.livepatch.callbacks import MEMBERS, callbacks, states
from klpkit.livepatch.carve import carve
from klpkit.livepatch.hazards import hazards
from klpkit.livepatch.kernelsymbols import KernelSymbols
from klpkit.livepatch.model import PairLike, PatchedFunction, PatchedObject, Warned
from klpkit.livepatch.names import new_names
from klpkit.livepatch.selection import Selection, select
from klpkit.livepatch.tracepoints import silent_tracepoints
from klpkit.livepatch.unit import Unit, outside
from klpkit.target import VMLINUX, Target
from klpkit.target.exports import ExportingModules


@dataclass(slots=True)
class Plan:
    """What goes into the module, before anything is built."""

    target: Target
    kernel: KernelSymbols
    selections: list[Selection]
    objects: list[PatchedObject]
    carved: list[ElfObject]
    names: list[dict[int, str]]
    states: list[tuple[int, int]] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)

    def cut(self) -> set[str]:
        """The new symbols of functions in which a tracepoint's jump was taken out."""
        pairs = zip(self.selections, self.names, strict=True)
        return {names[s.unit.function_of(each.function)] for s, names in pairs for each in s.silent}

    def new(self) -> tuple[tuple[str, str, int], ...]:
        """What comes along that the kernel does not have: (name, sort, bytes)."""
        found = []
        for selection, names in zip(self.selections, self.names, strict=True):
            graph = selection.unit.graph
            for entity in sorted(selection.taken):
                sort = _SORTS.get(Role(int(graph.entities.role[entity])))
                if entity in selection.unit.new:
                    found.append((names[entity], "function", graph.size_of(entity)))
                elif sort and graph.names[entity]:
                    found.append((graph.names[entity], sort, graph.size_of(entity)))
        return tuple(found)


_SORTS = {Role.DATA: "data", Role.RODATA: "constant"}


def plan_module(pairs: Sequence[PairLike], target: Target) -> Plan:
    """Select, refuse, and cut out: everything but the build."""
    owners = ExportingModules(target.exports())
    units = [Unit(pair, owners) for pair in pairs]
    for unit in units:
        unit.refuse_obstacles()
    units = [unit for unit in units if unit.diff.verdict is not Verdict.NO_CHANGE]
    if not any(unit.changed for unit in units):
        raise RefusedError(
            "nothing-changed",
            "no function of the kernel changes",
            hint="check the patch, and that the configuration builds what it changes",
        )
    _refuse_moved(units)
    kernel = KernelSymbols(target)
    selections = select_together(units, target)
    names = new_names(selections)
    elsewhere = frozenset(_defined(selections))
    carved = [carve(s, kernel, n, elsewhere) for s, n in zip(selections, names, strict=True)]
    objects = _objects(selections, names, kernel)
    plan = Plan(target, kernel, selections, objects, carved, names)
    plan.states += _states(selections)
    plan.warnings += [warned for selection in selections for warned in hazards(selection)]
    return plan


def select_together(units: Sequence[Unit], target: Target) -> list[Selection]:
    """The selections of all units; what one refers to and another brings along new is taken there."""
    providers = {unit.graph.names[entity]: (unit, entity) for unit in units for entity in _new_globals(unit)}
    wanted: dict[int, set[int]] = {id(unit): set() for unit in units}
    silent = {id(unit): silent_tracepoints(unit, target) for unit in units}
    while True:
        selections = [select(unit, wanted[id(unit)], silent[id(unit)]) for unit in units]
        more = False
        for selection in selections:
            for entity in selection.kernel:
                name = selection.unit.graph.names[entity]
                if name in providers and outside(selection.unit.graph, entity):
                    unit, provided = providers[name]
                    more |= provided not in wanted[id(unit)]
                    wanted[id(unit)].add(provided)
        if not more:
            return [selection for selection in selections if selection.taken]


def _refuse_moved(units: Sequence[Unit]) -> None:
    """Callers that are not compiled anew would go on with the old body."""
    new = {unit.graph.names[entity] for unit in units for entity in _new_globals(unit)}
    for unit in units:
        both, entities = unit.result.both, unit.original.entities
        for row in unit.result.unmatched:
            gone = row < unit.split and both.sort[row] == CODE and not entities.local[row]
            if gone and unit.original.names[row] in new:
                raise RefusedError(
                    "moved-function",
                    f"{unit.original.names[row]} moves to another source, and its other callers would not follow",
                    hint="leave it where it is",
                )


def _new_globals(unit: Unit) -> list[int]:
    """Functions and data that the original lacks and other units can see."""
    result, entities = unit.result, unit.graph.entities
    rows = [row - unit.split for row in result.unmatched if row >= unit.split and row not in result.home]
    return [entity for entity in rows if not entities.local[entity] and unit.graph.names[entity]]


def _defined(selections: Sequence[Selection]) -> list[str]:
    return [
        selection.unit.graph.names[entity]
        for selection in selections
        for entity in _new_globals(selection.unit)
        if entity in selection.taken
    ]


def _objects(
    selections: Sequence[Selection], names: Sequence[dict[int, str]], kernel: KernelSymbols
) -> list[PatchedObject]:
    """vmlinux and the modules with their functions and callbacks, vmlinux first."""
    functions: dict[str, list[PatchedFunction]] = {}
    calls: dict[str, dict[str, str]] = {}
    for selection, table in zip(selections, names, strict=True):
        functions.setdefault(selection.unit.owner, []).extend(_functions(selection.unit, table, kernel))
        for callback in callbacks(selection.unit.graph):
            known = calls.setdefault(callback.object, {})
            if callback.member in known:
                raise RefusedError(
                    "patch-callback",
                    f"{callback.object} has two callbacks {callback.member}",
                    hint="call both from one function",
                )
            known[callback.member] = table[callback.function]
    order = sorted({*functions, *calls}, key=lambda name: (name != VMLINUX, name))
    return [PatchedObject(name, tuple(functions.get(name, ())), _in_order(calls.get(name, {}))) for name in order]


def _functions(unit: Unit, names: Mapping[int, str], kernel: KernelSymbols) -> list[PatchedFunction]:
    """The changed functions of one unit, each with its place in the shipped kernel."""
    described = {function.patched_name or function.name: function for function in unit.diff.functions}
    found = []
    for entity, original in sorted(unit.changed.items()):
        symbol = kernel.function(unit, original)
        known = described.get(unit.graph.names[entity])
        why = tuple(reason.detail or str(reason.cause) for reason in known.reasons) if known else ()
        sizes = (unit.original.size_of(original), unit.graph.size_of(entity))
        sympos = kernel.target.object(unit.owner).sympos(symbol)
        found.append(PatchedFunction(symbol.name, sympos, names[entity], why, sizes))
    return found


def _states(selections: Sequence[Selection]) -> list[tuple[int, int]]:
    """The states of all units, by id."""
    found = sorted(state for selection in selections for state in states(selection.unit.graph))
    ids = [number for number, _ in found]
    if len(set(ids)) != len(ids):
        raise RefusedError("patch-callback", "a state is declared twice", hint="use each id once")
    return found


def _in_order(calls: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((member, calls[member]) for member in MEMBERS if member in calls)
