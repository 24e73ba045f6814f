"""Evidence for an impact query: one table of effects, and the files with the code of its units.

Whatever the evidence comes from (`sources.py`), a query reads it in the same way, and `patchability` tells from
the code how each function of the answer can be replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from klpkit.errors import UserError
from klpkit.impact.graph import Graph
from klpkit.impact.patchability import assess
from klpkit.impact.query import answer, find_functions
from klpkit.impact.result import ImpactAnswer, Patchability
from klpkit.records.model import EffectTable, Function


@dataclass(frozen=True, slots=True)
class CodeFile:
    """Where the code of a unit is.

    `owner` is what it is linked into, "" where unknown.  `narrowed` has the functions that keep their plain name
    and yet take for granted what their callers pass, each with a sentence saying so; `nocall` those
    whose calling convention is not their source's.
    """

    path: Path
    owner: str = ""
    narrowed: Mapping[str, str] = field(default_factory=dict)
    nocall: frozenset[str] = frozenset()


def no_code(_: str) -> CodeFile | None:
    """For evidence without any code at hand."""
    return None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Effects, and for a unit's name the file with its code, where there is one.

    `kinds` names what was read, for a reader of the answer; `warnings` say what may be missing.
    """

    table: EffectTable
    code: Callable[[str], CodeFile | None] = no_code
    kinds: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def ask(self, specs: Sequence[str], *, all_chains: bool = False, lost: Sequence[str] = ()) -> ImpactAnswer:
        """What the functions `specs` (`name` or `file:name`) impact, and how each can be patched.

        Those of `specs` that are in `lost` may be missing from the evidence: then a warning takes the place of
        the `UserError` that an unknown function is, unless nothing at all is left to ask.
        """
        rows: list[int] = []
        warnings = list(self.warnings)
        for spec in specs:
            try:
                rows += find_functions(self.table, spec)
            except UserError as error:
                if spec not in lost:
                    raise not_found(error, self.table) from None
                warnings.append(f"{spec} leaves no trace in what was compiled: {error.message}")
        if not rows:
            raise UserError("none of the functions is in what was compiled", hint="\n  ".join(warnings))
        found = answer(self.table, rows, all_chains=all_chains, evidence=self.kinds, warnings=warnings)
        return _with(found, self.patchability([item.function for item in found.impacted]))

    def patchability(self, functions: Iterable[Function]) -> dict[Function, Patchability]:
        """How each of `functions` can be replaced, for those whose code is at hand; each file is read once."""
        by_unit: dict[str, list[Function]] = {}
        for function in functions:
            by_unit.setdefault(function.unit, []).append(function)
        known: dict[Function, Patchability] = {}
        for unit, members in by_unit.items():
            file = self.code(unit)
            if file is not None:
                rows = assess(file.path, members, owner=file.owner, narrowed=file.narrowed, nocall=file.nocall)
                known.update(zip(members, rows, strict=True))
        return known


def not_found(error: UserError, table: EffectTable) -> UserError:
    """`error` with what `table` lacks, which may be why a function was not found in it."""
    return UserError(error.message, hint="\n  ".join([error.hint, *table.warnings]))


class EveryAnswer(Mapping[Function, ImpactAnswer]):
    """The answers for all functions of `evidence`, each made when it is looked at.

    What holds for all of them is said once: `kinds` of evidence, and `warnings` on what may be missing.
    """

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self.kinds = evidence.kinds
        self.warnings = tuple(dict.fromkeys((*evidence.table.warnings, *evidence.warnings)))
        self._graph = Graph(evidence.table)
        self._by_node = self._graph.rows_by_node()
        _, first = np.unique(self._graph.node_of, return_index=True)
        self._rows = {evidence.table.function(row): row for row in first.tolist()}
        functions = map(evidence.table.function, range(evidence.table.function_count))
        self._known = evidence.patchability(functions)

    def __getitem__(self, function: Function) -> ImpactAnswer:
        row, evidence = self._rows[function], self._evidence
        found = answer(evidence.table, [row], evidence=evidence.kinds, graph=self._graph, by_node=self._by_node)
        return _with(replace(found, warnings=()), self._known)

    def __iter__(self) -> Iterator[Function]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _with(found: ImpactAnswer, known: Mapping[Function, Patchability]) -> ImpactAnswer:
    items = (replace(item, patchability=known.get(item.function, item.patchability)) for item in found.impacted)
    return replace(found, impacted=tuple(items))
