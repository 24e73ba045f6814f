"""What of a unit is in the running kernel, read from the object that the unit compiles to.

The object is the tree's own, or one compiled again with the unit's exact command; that it is what the kernel was
made of is for fidelity to show.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from pathlib import Path

from klpkit.diff.load import load
from klpkit.diff.names import declared
from klpkit.diff.pool import Pool
from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.errors import RefusedError
from klpkit.extract.statics import made_for_use

_STT_TLS = 6  # gABI, "Symbol Types"
_STATIC = re.compile(r"([A-Za-z_]\w*)\.\d+$")


class CompiledOriginal:
    """A unit's object as `closure.Running` asks about it.

    `uncallable` are functions that are there under their plain names, yet assume what their callers passed.
    """

    def __init__(self, path: Path, uncallable: Collection[str] = ()) -> None:
        self.elf = ElfFile.open(path)
        self.uncallable = frozenset(uncallable)

    @cached_property
    def _kinds(self) -> dict[str, int]:
        return {symbol.name: symbol.type for symbol in self.elf.symbols if symbol.section}

    def function(self, name: str) -> bool:
        """Whether there is code under the plain name that may be called as the source declares it."""
        return self._kinds.get(name) == c.STT_FUNC and name not in self.uncallable

    def place(self, name: str) -> tuple[int, int] | None:
        """(section, offset) of the function `name`, which its aliases share; None where it has no code."""
        named = (symbol for symbol in self.elf.symbols if symbol.name == name and symbol.section > 0)
        return next(((symbol.section, symbol.value) for symbol in named), None)

    def has_code(self, name: str) -> bool:
        """Whether there is code under the plain name, to be replaced at least."""
        return self._kinds.get(name) == c.STT_FUNC

    def variable(self, name: str) -> bool:
        """Whether there is data under the plain name."""
        return self._kinds.get(name) in (c.STT_OBJECT, _STT_TLS)

    @cached_property
    def state(self) -> frozenset[str]:
        """The variables that can change, without the numbers of the compiler's."""
        return frozenset(own_state(self.elf))

    def size(self, name: str) -> int | None:
        """The bytes of the variable `name`; None where there is none."""
        sizes = (symbol.size for symbol in self.elf.symbols if symbol.name == name and symbol.section > 0)
        return next(sizes, None)

    def static_local(self, function: str, name: str, others: Collection[str]) -> str | None:
        """The symbol of the static variable `name` of `function`; None where the unit has no such symbol.

        Read from what the code of the function itself refers to, else that of the whole unit, into which it was
        inlined.  `others` are functions with a static variable of that name as well: theirs are not meant.
        Raises `RefusedError` where nothing tells which symbol is: a wrong one, or a copy, would be another state.
        """
        # Not every reference is seen as one to the variable: its symbol alone says that it is there.
        everywhere = self._used(name, self._static_uses) | self._numbered.get(name, set())
        own = self._used(name, (function,))
        if not everywhere:
            return None
        left = own if len(own) == 1 else (own or everywhere) - self._used(name, others)
        if len(left) == 1 and (own or all(self._used(name, (other,)) for other in others)):
            return next(iter(left))
        raise RefusedError(
            "static-local-ambiguous",
            f"{function}: nothing tells which of the unit's symbols its static variable {name} is",
            hint="give the variables distinct names, or extract the callers of the function",
        )

    @cached_property
    def _numbered(self) -> dict[str, set[str]]:
        """Name in the source → the numbered symbols of static variables inside functions."""
        found: dict[str, set[str]] = defaultdict(set)
        for symbol in self._kinds:
            if (numbered := _STATIC.match(symbol)) and self.variable(symbol):
                found[numbered[1]].add(symbol)
        return found

    def _used(self, name: str, functions: Iterable[str]) -> set[str]:
        """The symbols of static variables called `name` that the code of `functions` refers to."""
        known = (self._static_uses[function].get(name, set()) for function in tuple(functions))
        return set[str]().union(*known)

    @cached_property
    def _static_uses(self) -> dict[str, dict[str, set[str]]]:
        """Function, without its clone's suffix → name → the numbered symbols that its code refers to."""
        uses: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        graph = load(self.elf, Pool(), Pool())
        references = graph.references
        pairs = zip(references.owner.tolist(), references.target.tolist(), strict=True)
        for owner, target in dict.fromkeys(pairs):
            # An empty variable, as a lock class mostly is, has the place of the one behind it.
            also = (self.elf.symbols.names[row] for row in graph.aliases.get(target, ()))
            for symbol in (graph.names[target], *also):
                if (numbered := _STATIC.match(symbol)) and self.variable(symbol):
                    uses[graph.names[owner].split(".")[0]][numbered[1]].add(symbol)
        return uses


def own_state(elf: ElfFile) -> Iterator[str]:
    """The static variables of an object that can change, as its source calls them; what macros make left out."""
    for symbol in elf.symbols:
        if symbol.section <= 0 or symbol.bind != c.STB_LOCAL or symbol.type not in (c.STT_OBJECT, _STT_TLS):
            continue
        section = elf.sections[symbol.section]
        if symbol.size and section.flags & c.SHF_WRITE and not made_for_use(symbol.name, section.name):
            yield declared(symbol.name) or symbol.name
