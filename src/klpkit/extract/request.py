"""From functions that a person names to drafts: closed over their impacted functions, grouped by unit.

A function without code of its own is in the draft to be edited, and its users replace the kernel's; one that
exists only as a clone brings in the functions that call the clone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.tree import BuildTree
from klpkit.errors import RefusedError
from klpkit.extract.kernel import ShippedKernel
from klpkit.extract.making import UnitDraft, draft_unit
from klpkit.extract.package import Wanted
from klpkit.impact.evidence import CodeFile, Evidence
from klpkit.impact.result import How, ImpactAnswer, ImpactedFunction
from klpkit.impact.treesource import from_build
from klpkit.records.causes import cause
from klpkit.target import VMLINUX, Target

ASKED = "asked for"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Extraction:
    """The drafts, each with its functions; `warnings` say what the lists may miss."""

    drafts: tuple[tuple[UnitDraft, tuple[Wanted, ...]], ...]
    warnings: tuple[str, ...]


def extract(
    tree: BuildTree, specs: Sequence[str], target: Target, work: Path, *, closed: bool = True, progress: Progress
) -> Extraction:
    """Draft the functions `specs` (`name` or `file:name`) of `tree` for the kernel `target`, in the folder `work`.

    `closed` takes in every impacted function as well.  Raises `RefusedError` where a function can't be patched.
    """
    with from_build(tree, specs, progress=progress) as evidence:
        answer, clones = _closed(evidence, specs)
        wanted = [item for item in answer.impacted if closed or not item.chain]
        drafts = [
            _draft(tree, evidence, unit, items, clones, target, work / str(number))
            for number, (unit, items) in enumerate(_by_unit(wanted).items())
        ]
    return Extraction(tuple(drafts), answer.warnings)


def _closed(evidence: Evidence, specs: Sequence[str]) -> tuple[ImpactAnswer, dict[str, str]]:
    """The answer for `specs` and the callers of clones among what they impact; caller → clone."""
    asked, clones = list(specs), dict[str, str]()
    while True:
        answer = evidence.ask(asked)
        more = [
            (f"{item.function.unit}:{caller}", item.function.symbol)
            for item in answer.impacted
            if item.patchability.how is How.CALLERS
            for caller in _callers(evidence.code(item.function.unit), item.function.symbol)
        ]
        new = {spec: clone for spec, clone in more if spec not in asked}
        if not new:
            return answer, clones
        asked += new
        clones |= {spec.rpartition(":")[2]: clone for spec, clone in new.items()}


def _callers(code: CodeFile | None, symbol: str) -> Iterator[str]:
    """The functions of an object whose code refers to `symbol`."""
    from klpkit.diff.load import load
    from klpkit.diff.pool import Pool
    from klpkit.elf import ElfFile

    if code is None:
        return
    graph = load(ElfFile.open(code.path), Pool(), Pool())
    rows, first = graph.users
    for entity in range(len(graph.entities.role)):
        if graph.names[entity] == symbol:
            for row in rows[int(first[entity]) : int(first[entity + 1])].tolist():
                name = graph.names[int(graph.references.owner[row])]
                if name and name != symbol:
                    yield name.partition(".cold")[0]


def _by_unit(items: Sequence[ImpactedFunction]) -> dict[str, list[ImpactedFunction]]:
    groups: dict[str, list[ImpactedFunction]] = {}
    for item in items:
        groups.setdefault(item.function.unit, []).append(item)
    return groups


def _draft(
    tree: BuildTree,
    evidence: Evidence,
    name: str,
    items: Sequence[ImpactedFunction],
    clones: dict[str, str],
    target: Target,
    work: Path,
) -> tuple[UnitDraft, tuple[Wanted, ...]]:
    code = evidence.code(name)
    assert code is not None, "evidence from a build tree has every unit's object"
    _refuse(items)
    work.mkdir(parents=True, exist_ok=True)
    unit = tree.ensure_unit(name)
    home = re.sub("-", "_", code.owner.rpartition("/")[2]) or VMLINUX
    kernel = ShippedKernel(target, code.path, home)
    sources = list(dict.fromkeys(_source_name(item) for item in items))
    draft = draft_unit(unit, sources, code.path, kernel, work, home=home, uncallable=code.narrowed)
    return draft, tuple(_wanted(item, clones, kernel) for item in items if not _is_clone(item))


def _source_name(item: ImpactedFunction) -> str:
    """The function as its source calls it, without the suffix of a clone."""
    return item.function.symbol.partition(".")[0]


def _is_clone(item: ImpactedFunction) -> bool:
    return item.patchability.how is How.CALLERS and "." in item.function.symbol


def _refuse(items: Sequence[ImpactedFunction]) -> None:
    for item in items:
        if item.patchability.forbidden:
            raise RefusedError(
                item.patchability.forbidden,
                f"{item.function.symbol} can't be patched, and {_why(item, {})}",
                hint="docs/reasons.md says what this word means and what can be done",
            )


def _wanted(item: ImpactedFunction, clones: dict[str, str], kernel: ShippedKernel) -> Wanted:
    name = item.function.symbol
    place = kernel.find(name) if item.patchability.how is How.SYMBOL else None
    return Wanted(name, _why(item, clones), place[2] if place else 0, place is not None)


def _why(item: ImpactedFunction, clones: dict[str, str]) -> str:
    """Why the function is in, as the header comment says it."""
    if item.chain:
        effect = item.chain[-1]
        return cause(effect.cause).sentence.format(user=effect.user.symbol, body=effect.body.symbol)
    clone = clones.get(item.function.symbol)
    return f"it calls the clone {clone}" if clone else ASKED
