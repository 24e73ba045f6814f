"""From proofs of single functions to the impacted functions of a change: their closure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from klpkit.proof.classes import HOW, relying_on_classes
from klpkit.proof.decisions import source_name
from klpkit.proof.explaining import explain
from klpkit.proof.model import Answer, Impacted, Method, Proof, Verdict
from klpkit.proof.proving import prove_all
from klpkit.proof.recorded import read_records
from klpkit.proof.unit import ProofUnit

Progress = Callable[[int, int], None]
ASSUMES = "its own code takes for granted what its callers pass"


def _silent(done: int, total: int) -> None:
    """Progress for nobody."""


def together(
    unit: ProofUnit,
    seeds: Sequence[str],
    *,
    causes: bool = True,
    jobs: int | None = None,
    progress: Progress = _silent,
) -> Answer:
    """The impacted functions of `seeds`, proven; `causes` asks for the passes behind what records don't show.

    Every function that is reached is proven in its turn.  Callees' assumptions are followed from the seeds alone:
    what an unchanged function passes depends on a seed's body only as far as hiding the seed shows.
    """
    names = dict.fromkeys(unit.function(seed).name for seed in seeds)
    return _Closure(unit, tuple(names), causes, jobs, progress).answer()


class _Closure:
    """The closure of some functions in the making; breadth first, one round of proofs a level."""

    def __init__(
        self, unit: ProofUnit, seeds: tuple[str, ...], causes: bool, jobs: int | None, progress: Progress
    ) -> None:
        self.unit = unit
        self.seeds = seeds
        self.causes = causes
        self.jobs = jobs
        self.progress = progress
        self.proofs: dict[str, Proof] = {}
        self.reached: dict[str, Impacted] = {}
        self.asked = 0

    def answer(self) -> Answer:
        before = self.unit.compilations.value
        for seed in self.seeds:
            symbol = self.unit.function(seed).symbol
            has_code = symbol in self.unit.symbols
            self.reached[symbol] = Impacted(symbol, Verdict.PROVEN, recorded=True, has_code=has_code)
        self._prove(self.seeds)
        level = [self._explained(self.proofs[seed]) for seed in self.seeds]
        callees = self._callees()
        self._prove(list(callees))
        fresh = [self.reached[self.unit.function(seed).symbol] for seed in self.seeds]
        fresh += self._assuming(callees)
        for symbol in relying_on_classes(self.unit):
            fresh += self._add(symbol, Verdict.UNDECIDED, self.seeds[0], ("devirtualisation",), HOW, 1)
        distance = 0
        while level:
            distance += 1
            fresh += self._take(level, distance)
            names = self._unproven(fresh)
            self._prove(names)
            level, fresh = [self._explained(self.proofs[name]) for name in names], []
        return self._made(before)

    def _explained(self, proof: Proof) -> Proof:
        if self.causes:
            proof = self.proofs[proof.function] = explain(self.unit, proof)
        return proof

    def _prove(self, names: Sequence[str]) -> None:
        todo = [name for name in dict.fromkeys(names) if name not in self.proofs]
        self.asked += len(todo)
        self.progress(len(self.proofs), self.asked)

        def done(name: str, proof: Proof) -> None:
            self.proofs[name] = proof
            self.progress(len(self.proofs), self.asked)

        prove_all(self.unit, todo, jobs=self.jobs, done=done)

    def _callees(self) -> dict[str, str]:
        """Static functions with code that a seed calls, directly or from what is inlined into it → that seed."""
        functions = self.unit.functions
        found: dict[str, str] = {}
        for seed in self.seeds:
            seen, todo = {seed}, [seed]
            while todo:
                fresh = [name for name in functions[todo.pop()].mentions if name not in seen]
                seen.update(fresh)
                coded = [name for name in fresh if functions[name].symbol in self.unit.coded]
                found.update((name, seed) for name in coded if functions[name].static and name not in found)
                todo += [name for name in fresh if name not in coded]
        return found

    def _assuming(self, callees: Mapping[str, str]) -> list[Impacted]:
        fresh = []
        for name, seed in callees.items():
            proof = self.proofs[name]
            if proof.assumes:
                fresh += self._add(proof.function, Verdict.PROVEN, seed, proof.assumes_causes, ASSUMES, 1)
            for symbol in proof.carries:
                if self._carried(symbol):
                    how = f"it takes for granted what {name} passes on"
                    fresh += self._add(symbol, Verdict.PROVEN, seed, ("range",), how, 1)
        return fresh

    def _carried(self, symbol: str) -> bool:
        """Whether a function that is affected through its caller assumes arguments at all."""
        self._prove([name] if (name := source_name(symbol)) in self.unit.functions else [])
        proof = self.proofs.get(source_name(symbol))
        return proof is None or bool(proof.assumes) or symbol != source_name(symbol)

    def _add(
        self, symbol: str, verdict: Verdict, via: str, causes: tuple[str, ...], how: str, distance: int
    ) -> list[Impacted]:
        if symbol in self.reached:
            return []
        has_code = symbol in self.unit.symbols
        item = Impacted(symbol, verdict, via, causes, how, distance=distance, has_code=has_code)
        self.reached[symbol] = item
        return [item]

    def _take(self, level: Sequence[Proof], distance: int) -> list[Impacted]:
        fresh = []
        for proof in level:
            for use in proof.impacted:
                fresh += self._add(use.symbol, use.verdict, proof.function, use.causes, use.how, distance)
        return fresh

    def _unproven(self, fresh: Sequence[Impacted]) -> list[str]:
        names = dict.fromkeys(source_name(item.symbol) for item in fresh)
        return [name for name in names if name in self.unit.functions and name not in self.seeds]

    # -- the answer --------------------------------------------------------------------------------------------

    def _made(self, before: int) -> Answer:
        recorded = self._recorded()
        items = tuple(self._with_record(item, recorded) for item in self.reached.values())
        symbols = set(self.reached)
        knock_on = {
            use.symbol
            for seed in self.seeds
            for use in self.proofs[seed].with_verdict(Verdict.KNOCK_ON)
            if use.symbol not in symbols
        }
        assuming = {
            proof.function: proof.assumes for proof in self.proofs.values() if proof.assumes and proof.has_code
        }
        return Answer(
            unit=self.unit.name,
            seeds=self.seeds,
            impacted=items,
            recorded_only=tuple(sorted(recorded - symbols)),
            knock_on=tuple(sorted(knock_on)),
            not_callable=assuming,
            proofs=tuple(self.proofs.values()),
            warnings=tuple(self._warnings()),
            compilations=self.unit.compilations.value - before,
        )

    def _recorded(self) -> frozenset[str]:
        known = read_records(self.unit).impact
        symbols = [self.unit.functions[seed].symbol for seed in self.seeds]
        return frozenset().union(*(known.get(symbol, frozenset()) for symbol in symbols)) - set(symbols)

    @staticmethod
    def _with_record(item: Impacted, recorded: frozenset[str]) -> Impacted:
        from dataclasses import replace

        return replace(item, recorded=True) if item.symbol in recorded else item

    def _warnings(self) -> list[str]:
        said = []
        if unfaithful := read_records(self.unit).unfaithful:
            names = ", ".join(unfaithful)
            said.append(f"preprocessed text compiles to other code for {names}: their proofs don't count")
        for seed in self.seeds:
            proof = self.proofs[seed]
            if proof.method is Method.UNDECIDED:
                said.append(f"{seed} is undecided: {proof.reason}")
            elif proof.method is Method.UNUSED:
                said.append(f"{seed}: nothing in {self.unit.name} has its body or calls it")
        return said
