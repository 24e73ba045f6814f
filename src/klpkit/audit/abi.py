"""Whether each function of an object keeps the calling convention and meaning that its source declares."""

from __future__ import annotations

from collections.abc import Mapping

from klpkit.audit.model import AbiStatus, FunctionAbi
from klpkit.audit.object import DefinedFunction
from klpkit.compilers.flagstate import FlagState
from klpkit.compilers.passes import passes_of
from klpkit.records.causes import cause
from klpkit.records.narrowing import CpDump, Narrowing
from klpkit.records.suffixes import RENAMES, ancestry

# Passes that narrow a function in place to what its callers pass.
NARROWING = {
    "gcc": ("range", "bit-cp"),
    "clang": ("argument-propagation", "argument-removal"),
}
# Passes that let callers rely on less than the calling convention says; the dump does not tell who does.
CONTRACT = {
    "ipa-ra": "callers in its unit may keep values in registers that the calling convention lets it overwrite",
    "stack-alignment": "callers in its unit may leave the stack less aligned than the calling convention says",
}


NOCALL = "debug information says that it is not called as its source declares (DW_CC_nocall)"


def function_abis(
    functions: tuple[DefinedFunction, ...],
    state: FlagState,
    dump: CpDump | None,
    nocall: frozenset[str] = frozenset(),
) -> tuple[FunctionAbi, ...]:
    """The status of each of `functions`.

    `dump` is the unit's IPA-CP dump, None where there is none; `nocall` are the symbols that LLVM marked as
    having other parameters than the source says.
    """
    narrowings = {row.symbol: row for row in dump.narrowings} if dump else {}
    rules = _Rules(state, dump, narrowings, nocall)
    return tuple(rules.abi(function) for function in functions)


class _Rules:
    """The facts of one unit, and the order in which they decide."""

    def __init__(
        self,
        state: FlagState,
        dump: CpDump | None,
        narrowings: Mapping[str, Narrowing],
        nocall: frozenset[str],
    ) -> None:
        on = {row.slug for row in passes_of(state.kind) if state.on(row)}
        self.state = state
        self.dump = dump
        self.narrowings = narrowings
        self.nocall = nocall
        self.narrowing = [slug for slug in NARROWING[state.kind] if slug in on]
        self.contract = [text for slug, text in CONTRACT.items() if slug in on]
        self.registers = "local-calling-convention" in on

    def abi(self, function: DefinedFunction) -> FunctionAbi:
        symbol = function.symbol
        steps = [step for step in ancestry(symbol) if step[1] not in RENAMES]
        if steps:
            origin, slug = steps[0]
            note = cause(slug).sentence.format(user=symbol, body=origin)
            return FunctionAbi(symbol, AbiStatus.CLONE, (note, *self._facts(symbol)))
        if symbol in self.narrowings:
            return FunctionAbi(symbol, AbiStatus.NARROWED, self._facts(symbol))
        if symbol in self.nocall:
            return FunctionAbi(symbol, AbiStatus.NARROWED, (NOCALL,))
        doubts = self._doubts(function)
        if doubts:
            return FunctionAbi(symbol, AbiStatus.EXPOSED, doubts)
        return FunctionAbi(symbol, AbiStatus.PRESERVED, (self._why_preserved(function),))

    def _facts(self, symbol: str) -> tuple[str, ...]:
        row = self.narrowings.get(symbol)
        if row is None:
            return ()
        callers = f"its callers are {', '.join(row.callers)}" if row.callers else ""
        return tuple(filter(None, (*map(str, row.facts), callers)))

    def _doubts(self, function: DefinedFunction) -> tuple[str, ...]:
        doubts = []
        if self.state.lto:
            doubts.append("what becomes of it is decided when the program is linked")
        if function.local and self.narrowing and self.dump is None:
            doubts.append("the compiler may know all its callers, and no dump says what it made of that")
        if self.registers and function.local and (self.dump is None or function.symbol in self.dump.local):
            doubts.append("it may take its arguments in registers because it is only called directly")
        if self.contract and (self.dump is None or function.symbol in self.dump.called):
            doubts += self.contract
        return tuple(doubts)

    def _why_preserved(self, function: DefinedFunction) -> str:
        if not function.local:
            return "other units call it as declared"
        if not self.narrowing:
            return "the flags turn off what narrows a function"
        if self.dump and function.symbol in self.dump.local:
            return "all its callers are known, and the compiler took nothing of their arguments for granted"
        return "its address is taken, so its callers are not all known"
