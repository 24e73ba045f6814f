"""From pairs of objects to a verified module: the order of the steps."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from klpkit.diff import Verdict
from klpkit.elf import ElfObject
from klpkit.errors import RefusedError, UserError
from klpkit.livepatch.callbacks import MEMBERS, callbacks
from klpkit.livepatch.carve import carve
from klpkit.livepatch.glue import Glue, glue_source
from klpkit.livepatch.hazards import hazards
from klpkit.livepatch.kbuild import link_module
from klpkit.livepatch.kernelsymbols import KernelSymbols
from klpkit.livepatch.klprela import KlpReference, write_klp_relocations
from klpkit.livepatch.model import Kind, LivePatch, PairLike, PatchedFunction, PatchedObject, Warned
from klpkit.livepatch.names import new_names
from klpkit.livepatch.selection import Selection, select
from klpkit.livepatch.unit import Unit, outside
from klpkit.livepatch.verify import verify
from klpkit.target import Target

_NAME = re.compile(r"[A-Za-z0-9_]{1,55}")


def make_module(
    pairs: Sequence[PairLike],
    target: Target,
    headers: Path,
    out: Path,
    *,
    name: str = "",
    replace: bool = True,
    states: Sequence[tuple[int, int]] = (),
) -> LivePatch:
    """Build the live patch for `pairs` with the Kbuild of `headers` and put it at `out`, verified.

    `headers` is a header package or a build tree.  `name` is the module's name (by default that of `out`),
    `replace` whether it replaces all live patches before it, `states` the (id, version) of what its callbacks
    leave in the system.  `RefusedError` with a slug where the patch can't be carried; then nothing is written.
    """
    plan = plan_module(pairs, target)
    name = module_name(name or out.name)
    with tempfile.TemporaryDirectory(prefix="klpkit-module-") as folder:
        return _built(plan, name, headers.absolute(), out, Path(folder), replace, states)


@dataclass(slots=True)
class Plan:
    """What goes into the module, before anything is built."""

    target: Target
    kernel: KernelSymbols
    selections: list[Selection]
    objects: list[PatchedObject]
    carved: list[ElfObject]
    names: list[dict[int, str]]
    warnings: list[Warned] = field(default_factory=list)


def plan_module(pairs: Sequence[PairLike], target: Target) -> Plan:
    """Select, refuse, and cut out: everything but the build."""
    exports = target.exports()
    owners = {export.name: export.module.rpartition("/")[2] for export in exports.values()}
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
    kernel = KernelSymbols(target)
    selections = select_together(units)
    names = new_names(selections)
    elsewhere = frozenset(_defined(selections))
    carved = [carve(s, kernel, n, elsewhere) for s, n in zip(selections, names, strict=True)]
    objects = _objects(selections, names, kernel)
    plan = Plan(target, kernel, selections, objects, carved, names)
    plan.warnings += [warned for selection in selections for warned in hazards(selection)]
    return plan


def select_together(units: Sequence[Unit]) -> list[Selection]:
    """The selections of all units; what one refers to and another brings along new is taken there."""
    providers = {unit.graph.names[entity]: (unit, entity) for unit in units for entity in _new_globals(unit)}
    wanted: dict[int, set[int]] = {id(unit): set() for unit in units}
    while True:
        selections = [select(unit, wanted[id(unit)]) for unit in units]
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
        unit = selection.unit
        described = {function.patched_name or function.name: function for function in unit.diff.functions}
        mine = functions.setdefault(unit.owner, [])
        for entity, original in sorted(unit.changed.items()):
            symbol = kernel.function(unit, original)
            sympos = kernel.target.object(unit.owner).sympos(symbol)
            known = described.get(unit.graph.names[entity])
            why = tuple(reason.detail or str(reason.cause) for reason in known.reasons) if known else ()
            sizes = (unit.original.size_of(original), unit.graph.size_of(entity))
            mine.append(PatchedFunction(symbol.name, sympos, table[entity], why, sizes))
        for callback in callbacks(unit.graph):
            known_calls = calls.setdefault(callback.object, {})
            if callback.member in known_calls:
                raise RefusedError(
                    "patch-callback",
                    f"{callback.object} has two callbacks {callback.member}",
                    hint="call both from one function",
                )
            known_calls[callback.member] = table[callback.function]
    order = sorted({*functions, *calls}, key=lambda name: (name != "vmlinux", name))
    return [PatchedObject(name, tuple(functions.get(name, ())), _in_order(calls.get(name, {}))) for name in order]


def _in_order(calls: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((member, calls[member]) for member in MEMBERS if member in calls)


def _built(
    plan: Plan, name: str, headers: Path, out: Path, work: Path, replace: bool, states: Sequence[tuple[int, int]]
) -> LivePatch:
    glue = glue_source(Glue(plan.objects, sorted(plan.kernel.namespaces), states, replace))
    _export_callbacks(plan)
    made = link_module(name, glue, plan.carved, headers, work)
    module = ElfObject.read(made)
    references = list(plan.kernel.references.values())
    write_klp_relocations(
        module,
        [
            KlpReference(r.symbol, r.patched_object, r.object, r.name, r.sympos)
            for r in references
            if r.kind is Kind.KLP
        ],
    )
    content = module.to_bytes()
    verify(content, out, plan.objects, plan.target)
    from klpkit.elf.writer import write_whole

    write_whole(out, content)
    return LivePatch(
        out, name, tuple(plan.objects), tuple(references), _new(plan), tuple(plan.warnings), len(content)
    )


def _export_callbacks(plan: Plan) -> None:
    """Make the callbacks visible to the glue."""
    wanted = {function for each in plan.objects for _, function in each.callbacks}
    for carved in plan.carved:
        for symbol in carved.symbols:
            if symbol.section is not None and symbol.name in wanted:
                symbol.bind = 1


def _new(plan: Plan) -> tuple[tuple[str, str, int], ...]:
    """What came along that the kernel does not have."""
    found = []
    for selection, names in zip(plan.selections, plan.names, strict=True):
        graph = selection.unit.graph
        for entity in sorted(selection.taken):
            if entity in selection.unit.new:
                found.append((names[entity], "function", graph.size_of(entity)))
            elif graph.entities.role[entity] in (1, 2) and graph.names[entity]:
                sort = "data" if graph.entities.role[entity] == 1 else "constant"
                found.append((graph.names[entity], sort, graph.size_of(entity)))
    return tuple(found)


def module_name(name: str) -> str:
    """`name` as the kernel takes it: without `.ko`, dashes as underscores."""
    found = name.removesuffix(".ko").replace("-", "_")
    if not _NAME.fullmatch(found):
        raise UserError(f"{name}: no name for a module", hint="use letters, digits, dashes and underscores")
    return found
