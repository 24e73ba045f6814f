"""The proof of one function: hide, compare, set apart what changed only because others were inlined differently.

A function that is equal in *any* build in which the body is hidden does not need the body: the compiler made the
same code without it.  A function that differs in a build in which nothing near it was decided otherwise relies on
the body.  What is neither in any of the builds tried is undecided.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from klpkit.programs import ProgramFailedError, parallel
from klpkit.proof.assuming import assumption
from klpkit.proof.builds import Build
from klpkit.proof.changes import Change, Changes, changes
from klpkit.proof.decisions import Difference, difference, source_name
from klpkit.proof.hiding import HidingError, Pins
from klpkit.proof.model import Method, Proof, Use, Verdict
from klpkit.proof.refusals import complaint
from klpkit.proof.text import SourceFunction
from klpkit.proof.unit import ProofUnit

ROUNDS = 3
"""How often pins are added at most."""

Done = Callable[[str, Proof], None]


def prove_all(
    unit: ProofUnit, names: Iterable[str], *, jobs: int | None = None, done: Done | None = None
) -> list[Proof]:
    """The proofs of several functions of `unit`, `jobs` compilers at a time; `done` is called for each."""
    wanted = [unit.function(name).name for name in names]
    if any(unit.load(name) is None for name in wanted):
        _ = unit.baseline, unit.functions
    return parallel(lambda name: prove(unit, name), wanted, jobs=jobs, done=done)


def prove(unit: ProofUnit, name: str) -> Proof:
    """What hiding the body of the function `name` shows; from the cache where nothing changed since."""
    known = unit.load(name)
    if known is None:
        with tempfile.TemporaryDirectory(prefix="klpkit-proof-") as folder:
            known = _Proving(unit, unit.function(name), Path(folder)).proof()
        unit.store(known)
    return known


@dataclass(slots=True)
class _Trial:
    """One build with the body hidden, and what differs in it from the baseline."""

    build: Build
    changes: Changes
    difference: Difference

    @property
    def swallowed(self) -> frozenset[str]:
        """Functions that lost their own code because they went into the hidden one."""
        gone = {source_name(change.symbol) for change in self.changes.by_symbol.values() if change.gone}
        return self.difference.swallowed & gone

    def unclear(self) -> frozenset[str]:
        """Functions (by source name) whose change other decisions may explain: those near a different one."""
        changed = {source_name(symbol) for symbol in self.changes.by_symbol}
        todo = [*self.difference.places, *self.swallowed]
        found = set(todo)
        while todo:
            for near in self.changes.linked.get(todo.pop(), ()):
                if near in changed and near not in found:
                    found.add(near)
                    todo.append(near)
        return frozenset(found)


@dataclass(slots=True)
class _Proving:
    """The proof of one function in the making."""

    unit: ProofUnit
    function: SourceFunction
    folder: Path
    trials: list[_Trial] = field(default_factory=list)
    runs: int = 0

    def proof(self) -> Proof:
        function = self.function
        if not self.unit.alive(function.name):
            return self._made(Method.UNUSED)
        if function.always_inline:
            return self._by_definition("")
        if function.unhidable:
            return self._unhidable(function.unhidable)
        try:
            first = self._trial({})
        except ProgramFailedError as error:
            return self._unhidable(complaint(error))
        except HidingError as error:
            return self._unhidable(error.message)
        if first.build.decisions.uses_body(function.symbol):
            return self._unhidable("its body was still inlined or cloned with the attribute on it")
        self._pinned_trials()
        return self._judged()

    # -- builds ------------------------------------------------------------------------------------------------

    def _trial(self, pins: Pins) -> _Trial:
        self.runs += 1
        build = self.unit.hiding(self.function.name, self.folder / str(self.runs), pins=pins)
        symbol = self.function.symbol
        found = changes(self.unit.baseline.object, build.object, symbol)
        trial = _Trial(build, found, difference(self.unit.baseline.decisions, build.decisions, symbol))
        self.trials.append(trial)
        return trial

    def _pinned_trials(self) -> None:
        pins: dict[str, str] = {}
        for _ in range(ROUNDS):
            last = self.trials[-1]
            if not self._open():
                return
            wanted = {**pins, **self._pins(last)}
            if wanted == pins:
                return
            try:
                self._trial(wanted)
            except ProgramFailedError as error:
                complaint(error)
                return
            pins = wanted

    def _pins(self, trial: _Trial) -> dict[str, str]:
        """Attributes that take decisions back: against inlining and cloning that is new; failing that, for what
        is missing in a function that is not settled."""
        found = trial.difference
        pins = dict.fromkeys(found.cloned, "noclone")
        for name in {body for body, _ in found.more} | trial.swallowed:
            pins[name] = "noinline, noclone" if name in found.cloned else "noinline"
        if not pins:
            unsettled = {source_name(symbol) for symbol in self._open()}
            pins = {body: "always_inline" for body, user in found.fewer if user in unsettled}
        return {name: word for name, word in pins.items() if name in self.unit.functions}

    def _open(self) -> set[str]:
        """The symbols that no trial has shown to be equal, nor to rely on the body."""
        return {symbol for symbol, verdict in self._verdicts().items() if verdict is Verdict.UNDECIDED}

    # -- judging -----------------------------------------------------------------------------------------------

    def _verdicts(self) -> dict[str, Verdict]:
        return {symbol: self._verdict(symbol) for symbol in self.trials[0].changes.by_symbol if self._asks(symbol)}

    def _asks(self, symbol: str) -> bool:
        """Whether `symbol` is another function, under the name by which it is told of."""
        aliased = self.unit.aliases.get(symbol) in self.trials[0].changes.by_symbol
        return not (self._is_own(symbol) or aliased or source_name(symbol) in self.function.siblings)

    def _verdict(self, symbol: str) -> Verdict:
        name = source_name(symbol)
        if name == self.function.symbol:
            return Verdict.PROVEN
        if any(symbol not in trial.changes.by_symbol for trial in self.trials[1:]):
            return Verdict.KNOCK_ON
        if any(trial.changes.by_symbol[symbol].renamed for trial in self.trials):
            return Verdict.CONVENTION
        if name in self.unit.baseline.decisions.holders(self.function.symbol):
            return Verdict.PROVEN
        if any(name not in trial.unclear() for trial in self.trials):
            return Verdict.PROVEN
        return Verdict.UNDECIDED

    def _is_own(self, symbol: str) -> bool:
        """Whether `symbol` is the function itself, under whatever name, or a part of it that goes by one."""
        own = symbol.removeprefix("__pfx_").removesuffix(".cold")
        return own == self.function.symbol or own in self.function.aliases

    def _judged(self) -> Proof:
        first = self.trials[0].changes.by_symbol
        uses = [self._use(first[symbol], verdict) for symbol, verdict in self._verdicts().items()]
        uses += [
            Use(name, Verdict.PROVEN, ("same-text",), "it is made from the same text")
            for name in sorted(self.unit.symbols)
            if source_name(name) in self.function.siblings
        ]
        own = first.get(self.function.symbol)
        found = assumption(self.unit, self.function, own, self.folder) if own else None
        return self._made(
            Method.HIDDEN,
            uses,
            assumes=found.says if found and found.of_arguments else "",
            assumes_causes=found.causes if found and found.of_arguments else (),
            cause_runs=found.runs if found else 0,
            carries=self._carried(uses),
        )

    def _use(self, change: Change, verdict: Verdict) -> Use:
        causes: tuple[str, ...] = ()
        how = change.how
        if source_name(change.symbol) == self.function.symbol:
            causes = (_clone_cause(change.symbol),)
            how = "it is made from the body"
        elif verdict is Verdict.CONVENTION:
            causes = ("calls-clone",)
            how = f"{how}; its code is the same otherwise"
        elif verdict is Verdict.PROVEN and source_name(change.symbol) in self._holders:
            causes = ("inline",)
        elif verdict is Verdict.UNDECIDED:
            how = f"{how}; what else was inlined differently could not be undone"
        return Use(change.symbol, verdict, causes, how)

    @property
    def _holders(self) -> frozenset[str]:
        return self.unit.baseline.decisions.holders(self.function.symbol)

    def _carried(self, uses: Sequence[Use]) -> tuple[str, ...]:
        """Impacted functions that this one calls: arguments of its callers reach them through it."""
        called = set(self.function.mentions)
        return tuple(use.symbol for use in uses if use.impacted and source_name(use.symbol) in called)

    # -- other methods -----------------------------------------------------------------------------------------

    def _unhidable(self, reason: str) -> Proof:
        if self.function.constant:
            return self._anywhere(reason)
        inlined = self.unit.baseline.decisions.uses_body(self.function.symbol)
        if inlined and self.function.symbol not in self.unit.symbols:
            return self._by_definition(reason)
        names = {*self._holders, *self.unit.callers(self.function.name)} - {self.function.symbol}
        uses = [
            Use(name, Verdict.UNDECIDED, (), f"the body of {self.function.name} could not be hidden")
            for name in sorted(names)
        ]
        return self._made(Method.UNDECIDED, uses, reason=reason)

    def _anywhere(self, reason: str) -> Proof:
        """A function that the compiler computes while it reads the text leaves no trace where its result went."""
        how = f"a constant in it may be computed by {self.function.title or self.function.name}"
        names = sorted(self.unit.symbols - {self.function.symbol})
        uses = [Use(name, Verdict.UNDECIDED, (), how) for name in names]
        return self._made(Method.UNDECIDED, uses, reason=f"it is constexpr and can't be called instead: {reason}")

    def _by_definition(self, reason: str) -> Proof:
        callers = self.unit.callers(self.function.name)
        how = "it can only be inlined into it"
        uses = [Use(name, Verdict.PROVEN, ("inline",), how) for name in callers]
        return self._made(Method.DEFINITION, uses, reason=reason)

    def _made(
        self,
        method: Method,
        uses: Sequence[Use] = (),
        *,
        reason: str = "",
        assumes: str = "",
        assumes_causes: tuple[str, ...] = (),
        carries: tuple[str, ...] = (),
        cause_runs: int = 0,
    ) -> Proof:
        function = self.function
        return Proof(
            function=function.name,
            place=f"{function.file}:{function.line}",
            method=method,
            uses=tuple(sorted(uses, key=lambda use: (use.verdict, use.symbol))),
            assumes=assumes,
            assumes_causes=assumes_causes,
            callers=self.unit.callers(function.name),
            carries=carries,
            reason=reason,
            has_code=function.symbol in self.unit.symbols,
            compilations=self.runs,
            cause_runs=cause_runs,
        )


def _clone_cause(symbol: str) -> str:
    from klpkit.records.suffixes import ancestry

    return next((cause for _, cause in ancestry(symbol)), "clone")
