"""Which functions a pass without a record and without a switch may have touched: too many rather than too few."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from klpkit.audit.model import Exposure
from klpkit.audit.object import DefinedFunction
from klpkit.compilers.flagstate import FlagState, passes_on
from klpkit.records.narrowing import CpDump


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is at hand of one unit: the functions of its object, and its IPA-CP dump where GCC made one."""

    functions: tuple[DefinedFunction, ...]
    dump: CpDump | None

    def all(self) -> list[str]:
        return [row.symbol for row in self.functions]

    def local(self) -> list[str]:
        return [row.symbol for row in self.functions if row.local]

    def known(self, symbols: frozenset[str] | set[str]) -> list[str]:
        """Those of `symbols` that have code in the object, in its order."""
        return [symbol for symbol in self.all() if symbol in symbols]


Found = tuple[list[str], str]


def _without_landing_pad(evidence: Evidence) -> Found:
    bare = [row.symbol for row in evidence.functions if row.local and row.landing_pad is not True]
    return bare, "calling one through a pointer that a patch takes is a fault"


def _users_of_variables(evidence: Evidence) -> Found:
    note = "each uses a static variable whose address is not taken; a patch that takes it must replace them too"
    if evidence.dump is None:
        return evidence.all(), note
    return evidence.known({user for row in evidence.dump.variables for user in row.users}), note


def _called(evidence: Evidence) -> Found:
    note = "a caller in the unit may have no cleanup for an exception that a patched version throws"
    return (evidence.known(evidence.dump.called) if evidence.dump else evidence.all()), note


def _called_directly(evidence: Evidence) -> Found:
    note = "each may take its arguments in registers"
    return (evidence.known(evidence.dump.local) if evidence.dump else evidence.local()), note


def _constexpr(_: Evidence) -> Found:
    return [], "every function that calls a constexpr function; neither the object nor a dump tells which"


def _all(evidence: Evidence) -> Found:
    return evidence.all(), "the object does not tell which callers rely on which callee"


def _local(evidence: Evidence) -> Found:
    return evidence.local(), "each may rely on what its callers pass"


# Pass → who is exposed.  A pass that is not named here exposes every function.
FINDERS: Mapping[str, Callable[[Evidence], Found]] = {
    "address-taken-function": _without_landing_pad,
    "address-taken-variable": _users_of_variables,
    "argument-propagation": _local,
    "argument-removal": _local,
    "constexpr": _constexpr,
    "local-calling-convention": _called_directly,
    "nothrow": _called,
}


def exposures(state: FlagState, evidence: Evidence) -> tuple[Exposure, ...]:
    """The functions exposed to each pass that is on, has no record and no switch, and changes code."""
    found = []
    for row in passes_on(state):
        if row.flagless and not row.recorded and row.affects == "code":
            functions, note = FINDERS.get(row.slug, _all)(evidence)
            if functions or row.slug == "constexpr":
                found.append(Exposure(row.slug, tuple(functions), note))
    return tuple(found)
