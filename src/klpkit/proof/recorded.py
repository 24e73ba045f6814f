"""What records say of the same unit: for each function the impacted functions that have code, for comparison."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from klpkit.build.replays import replay
from klpkit.cachedir import atomic_write
from klpkit.impact.closure import reach
from klpkit.impact.graph import Graph
from klpkit.impact.units import RECORD_FLAGS, UnitFiles, read_unit
from klpkit.proof.changes import changes
from klpkit.proof.decisions import source_name
from klpkit.proof.interposing import inferred_noreturn
from klpkit.proof.unit import ProofUnit
from klpkit.records.model import EffectTable

# Where a compiler writes down which functions it found never to return.
NORETURN_DUMPS = {"gcc": ("-fdump-tree-local-pure-const1",)}
_NORETURN = re.compile(r"^Function found to be noreturn: (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Records:
    """What the unit's own compilation tells.

    `impact` maps functions to the symbols with code that records list as impacted by them, themselves left out;
    `noreturn` holds those found never to return.  `unfaithful` are functions whose code differs between the
    unit and its preprocessed text: proofs of the text don't hold for them.
    """

    impact: dict[str, frozenset[str]]
    noreturn: frozenset[str]
    unfaithful: tuple[str, ...]


@lru_cache(maxsize=8)
def read_records(unit: ProofUnit) -> Records:
    """The records of `unit`; made once."""
    with unit.lock:
        path = unit.folder / "recorded.json"
        if not path.exists():
            found = _read(unit)
            lists = {name: sorted(symbols) for name, symbols in found.impact.items()}
            known = {"impact": lists, "noreturn": sorted(found.noreturn), "unfaithful": found.unfaithful}
            with atomic_write(path) as stream:
                stream.write(json.dumps(known))
            return found
        known = json.loads(path.read_text())
    impact = {name: frozenset(symbols) for name, symbols in known["impact"].items()}
    return Records(impact, frozenset(known["noreturn"]), tuple(known["unfaithful"]))


def _read(unit: ProofUnit) -> Records:
    if unit.linked:
        return _of_link(unit)
    with tempfile.TemporaryDirectory(prefix="klpkit-proof-") as folder:
        flags = (*RECORD_FLAGS.get(unit.unit.kind, ()), *NORETURN_DUMPS.get(unit.unit.kind, ()))
        made = replay(unit.unit, workdir=Path(folder), extra=("-w", "-g0", *flags))
        unit.compilations.add()
        table = read_unit(UnitFiles(unit.name, made.dumps, made.object), lenient=True).table
        said = "".join(path.read_text(errors="replace") for path in made.dumps if ".local-pure-const" in path.name)
        differing = changes(made.object, unit.baseline.object, frames=False).by_symbol
    noreturn = frozenset(_NORETURN.findall(said)) or inferred_noreturn(unit.baseline.object)
    return Records(_impact(unit, table), noreturn, tuple(sorted(differing)))


def _of_link(unit: ProofUnit) -> Records:
    """A program's records: where the bodies went, by the dumps of its link."""
    with tempfile.TemporaryDirectory(prefix="klpkit-proof-") as folder:
        differing = changes(unit.own_build(Path(folder)), unit.baseline.object, frames=False).by_symbol
    names = {source_name(symbol) for symbol in unit.symbols}
    impact = {}
    for row in unit.functions.values():
        users = unit.baseline.decisions.holders(row.symbol) & names
        impact[row.symbol] = frozenset(
            s for s in unit.symbols if source_name(s) in users or _clone_of(s, row.symbol)
        )
    return Records(impact, frozenset(), tuple(sorted(differing)))


def _clone_of(symbol: str, name: str) -> bool:
    return symbol != name and source_name(symbol) == name


def _impact(unit: ProofUnit, table: EffectTable) -> dict[str, frozenset[str]]:
    graph = Graph(table)
    symbols = [table.strings[int(number)] for number in table.symbol]
    rows, first = graph.rows_by_node()
    found: dict[str, set[str]] = {}
    for row, symbol in enumerate(symbols):
        for node in reach(graph, [int(graph.node_of[row])]).distance:
            members = rows[int(first[node]) : int(first[node + 1])].tolist()
            found.setdefault(symbol, set()).update(symbols[other] for other in members)
    return {name: frozenset((found[name] & unit.symbols) - {name}) for name in found}
