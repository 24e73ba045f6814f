"""Functions that GCC narrowed in place to the arguments their callers pass, from its IPA-CP dump.

`-fdump-ipa-cp` writes, where it changes a function ("Modification phase of node NAME/ORDER"), one line for
each fact about a parameter that it took for granted: known bits, alignment, range, non-null (`ipcp_transform` in
gcc/ipa-cp.cc and ipa-prop.cc).  Such a function keeps its plain name, but a caller that passes anything else
is miscompiled.  The dump also holds the symbol table, which tells local functions (all callers known) and static
variables whose address is not taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from klpkit.errors import FormatError
from klpkit.records.suffixes import RENAMES, ancestry

_FUNCTION = re.compile(r"^;; Function .* \((\S+), funcdef_no=\d+, .*symbol_order=(\d+)\)")
_MODIFIED = re.compile(r"^Modification phase of node (.+)/(\d+)$")
_MASK = re.compile(r"^Adjusting mask for param (\d+) to (0x[0-9a-f]+)$")
_ALIGN = re.compile(r"^Adjusting align: (\d+), misalign: (\d+)$")
_RANGE = re.compile(r"^Setting value range of param (\d+) (?:\(now -?\d+\) )?(.+)$")
_NONNULL = re.compile(r"^Setting nonnull for (\d+)$")
_OTHER = re.compile(r"^(?:\s*(?:Adjusting|Setting|Aggregate replacements)\b.*)$")
_SYMBOL = re.compile(r"^(\S+)/(\d+) \((.*)\) @0x[0-9a-f]+$|^(\S+)/(\d+) \((.*)\)$")
_CALLER = re.compile(r"^\s+callsite\s+.+?/(\d+) -> .+/(\d+) :")
_BITS_OF = re.compile(r"^Propagated bits info for function \S+/(\d+):$")
_BITS = re.compile(r"^ param (\d+): value = (0x[0-9a-f]+), mask = 0x[0-9a-f]+$")
_PARENTHESES = re.compile(r"\([^()]*\)")
_USE = re.compile(r"(\S+)/\d+ \((\w+)\)")
_START = "IPA constant propagation start:"


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a function takes for granted of parameter `index` (from 0; -1 where the dump names none).

    `parameter` is its name where the dump prints the function, else empty; `says` completes "… is assumed ".
    """

    index: int
    parameter: str
    says: str

    def __str__(self) -> str:
        what = f"parameter {self.index + 1}" if self.index >= 0 else "a parameter"
        return (
            f"{what} ({self.parameter}) is assumed {self.says}"
            if self.parameter
            else f"{what} is assumed {self.says}"
        )


@dataclass(frozen=True, slots=True)
class Narrowing:
    """A function and all that it takes for granted; `callers` are the symbols of the functions that call it."""

    symbol: str
    order: int
    facts: tuple[Fact, ...]
    callers: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "; ".join(map(str, self.facts))


@dataclass(frozen=True, slots=True)
class Variable:
    """A static variable whose address no function takes, and the functions that use it."""

    symbol: str
    users: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CpDump:
    """What one IPA-CP dump says.

    `local` holds the symbols of functions whose callers are all known to the compiler, `called` those that
    something in the unit calls, `functions` all that the unit defines.
    """

    narrowings: tuple[Narrowing, ...]
    local: frozenset[str]
    called: frozenset[str]
    functions: frozenset[str]
    variables: tuple[Variable, ...]


def read_cp_dump(path: Path) -> CpDump:
    """Read the IPA-CP dump at `path`; `FormatError` where it is not one or ends early."""
    try:
        text = path.read_text(errors="surrogateescape")
    except OSError as error:
        raise FormatError(path, "", f"can't be read: {error.strerror}") from error
    if text.strip() and _START not in text:
        raise FormatError(path, "", "not an IPA-CP dump", hint="compile with -fdump-ipa-cp")
    return parse_cp_dump(text)


def parse_cp_dump(text: str) -> CpDump:
    """What the IPA-CP dump `text` says."""
    reader = _Reader()
    for line in text.splitlines():
        reader.take(line)
    return reader.result()


def narrowed_functions(dumps: Iterable[Path]) -> Mapping[str, str]:
    """For each function that one of the IPA-CP `dumps` shows narrowed in place: symbol → what it assumes.

    Clones have their own symbols and are not in the answer: they can't be called as the source declares them
    anyway.
    """
    found: dict[str, str] = {}
    for path in dumps:
        for row in read_cp_dump(path).narrowings:
            if not is_clone(row.symbol):
                found[row.symbol] = str(row)
    return found


def is_clone(symbol: str) -> bool:
    """Whether the suffixes of `symbol` say that it is a copy with a calling convention or meaning of its own."""
    return any(cause not in RENAMES for _, cause in ancestry(symbol))


class _Reader:
    """Reads a dump line by line: jump functions, the symbol table, then the functions as they are changed."""

    def __init__(self) -> None:
        self.symbols: dict[int, str] = {}
        self.facts: dict[int, list[Fact]] = {}
        self.parameters: dict[int, list[str]] = {}
        self.callers: dict[int, dict[int, None]] = {}
        self.local: set[int] = set()
        self.called: set[int] = set()
        self.functions: set[int] = set()
        self.addressed: set[int] = set()
        self.variables: dict[int, list[str]] = {}
        self.bits: dict[tuple[int, int], str] = {}
        self._bits = -1  # the function whose known bits are being told
        self._order = -1  # the function whose changes are being told, -1 outside
        self._index = -1  # the parameter named last
        self._entry = -1  # the symbol table entry that is open

    def take(self, line: str) -> None:
        if match := _MODIFIED.match(line):
            self._order, self._index, self._entry = int(match[2]), -1, -1
            self.symbols.setdefault(self._order, match[1])
        elif match := _FUNCTION.match(line):
            self.symbols[int(match[2])] = match[1]
            self._order = self._entry = -1
        elif match := _BITS_OF.match(line):
            self._bits = int(match[1])
        elif match := _BITS.match(line):
            self.bits[self._bits, int(match[1])] = match[2]
        elif match := _CALLER.match(line):
            self.callers.setdefault(int(match[2]), {})[int(match[1])] = None
        elif self._order >= 0:
            self._change(line)
        elif match := _SYMBOL.match(line):
            self._entry = int(match[2] or match[5])
            self.symbols.setdefault(self._entry, match[1] or match[4])
        elif self._entry >= 0:
            self._describe(line)

    def _change(self, line: str) -> None:
        """A line of a function's modification phase, or of its body once that is over."""
        if fact := self._fact(line):
            facts = self.facts.setdefault(self._order, [])
            if _ALIGN.match(line) and facts:
                facts.pop()  # the mask of a pointer says the same in other words
            facts.append(fact)
        elif line == "{" or line.startswith(";;"):
            self._order = -1
        elif line.endswith(")"):
            self.parameters[self._order] = _parameter_names(line)

    def _fact(self, line: str) -> Fact | None:
        if match := _MASK.match(line):
            self._index = int(match[1])
            return Fact(self._index, "", self._known_bits(match[2]))
        if match := _ALIGN.match(line):
            beside = f" plus {match[2]}" if match[2] != "0" else ""
            return Fact(self._index, "", f"to be a multiple of {match[1]}{beside}")
        if match := _RANGE.match(line):
            return Fact(int(match[1]), "", f"to be in {match[2]}")
        if match := _NONNULL.match(line):
            return Fact(int(match[1]), "", "not to be null")
        return Fact(-1, "", f"what the dump calls “{line.strip()}”") if _OTHER.match(line) else None

    def _known_bits(self, mask: str) -> str:
        value = self.bits.get((self._order, self._index))
        if value is None:
            return f"to be known in all bits but {mask}"
        return (
            f"to have no bits outside {mask}" if int(value, 16) == 0 else f"to be {value} outside the bits {mask}"
        )

    def _describe(self, line: str) -> None:
        text = line.strip()
        if not line.startswith(" "):
            self._entry = -1
        elif text.startswith("Type: variable definition"):
            self.variables[self._entry] = []
        elif text == "Address is taken." or (text.startswith("Visibility:") and " externally_visible" in text):
            self.addressed.add(self._entry)
        elif text.startswith("Type: function definition"):
            self.functions.add(self._entry)
        elif text.startswith("Function flags:") and "local" in _PARENTHESES.sub("", text).split():
            self.local.add(self._entry)
        elif text.startswith("Called by: "):
            self.called.add(self._entry)
        elif text.startswith("Referring:") and self._entry in self.variables:
            uses = _USE.findall(text)
            self.variables[self._entry] = [symbol for symbol, _ in uses]
            if any(kind == "addr" for _, kind in uses):
                self.addressed.add(self._entry)

    def result(self) -> CpDump:
        name = self.symbols
        narrowings = tuple(
            Narrowing(
                name[order],
                order,
                tuple(self._named(order, fact) for fact in facts),
                tuple(name.get(caller, "?") for caller in sorted(self.callers.get(order, ()))),
            )
            for order, facts in sorted(self.facts.items())
        )
        variables = tuple(
            Variable(name[order], tuple(dict.fromkeys(users)))
            for order, users in sorted(self.variables.items())
            if order not in self.addressed and users
        )
        local, called, functions = (
            frozenset(name[order] for order in orders) for orders in (self.local, self.called, self.functions)
        )
        return CpDump(narrowings, local, called, functions, variables)

    def _named(self, order: int, fact: Fact) -> Fact:
        names = self.parameters.get(order, [])
        known = names[fact.index] if 0 <= fact.index < len(names) else ""
        return Fact(fact.index, known, fact.says)


def _parameter_names(signature: str) -> list[str]:
    """The parameters' names in a line like `int f (int u, struct x * y)`; empty where it is not that plain."""
    inside = signature.partition(" (")[2].removesuffix(")")
    if "(" in inside or not inside:
        return []
    return [(re.findall(r"\w+", part) or [""])[-1] for part in inside.split(", ")]
