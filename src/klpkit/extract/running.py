"""What of a unit is in the running kernel, read from the object that the unit compiles to.

The object is the tree's own, or one compiled again with the unit's exact command; that it is what the kernel was
made of is for fidelity to show.
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Collection
from functools import cached_property
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.build.replays import replay
from klpkit.elf import ElfFile
from klpkit.elf import constants as c

_STT_TLS = 6  # gABI, "Symbol Types"
_LABEL = re.compile(r"([A-Za-z_.$][\w.$]*):")
_STATIC = re.compile(r"\b([A-Za-z_]\w*)\.(\d+)\b")


class CompiledOriginal:
    """The unit's object as `closure.Running` asks about it.

    `uncallable` are functions that are there under their plain names, yet assume what their callers passed.
    """

    def __init__(self, unit: TranslationUnit, path: Path, uncallable: Collection[str] = ()) -> None:
        self.unit = unit
        self.elf = ElfFile.open(path)
        self.uncallable = frozenset(uncallable)

    @cached_property
    def _kinds(self) -> dict[str, int]:
        return {symbol.name: symbol.type for symbol in self.elf.symbols if symbol.section}

    def function(self, name: str) -> bool:
        """Whether there is code under the plain name that may be called as the source declares it."""
        return self._kinds.get(name) == c.STT_FUNC and name not in self.uncallable

    def variable(self, name: str) -> bool:
        """Whether there is data under the plain name."""
        return self._kinds.get(name) in (c.STT_OBJECT, _STT_TLS)

    def static_local(self, function: str, name: str) -> str | None:
        """The symbol of the static variable `name` of `function`; None where that is not one.

        Read from the assembler code of the function itself, else of the whole unit, into which it was inlined.
        """
        own = self._static_uses[function].get(name, set())
        found = own or set().union(*(uses.get(name, set()) for uses in self._static_uses.values()))
        return next(iter(found)) if len(found) == 1 else None

    @cached_property
    def _static_uses(self) -> dict[str, dict[str, set[str]]]:
        """Function, without its clone's suffix → name → the numbered symbols that its code mentions."""
        uses: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        function = ""
        for line in self._assembler().splitlines():
            if label := _LABEL.match(line):
                name = label[1]
                if self._kinds.get(name) == c.STT_FUNC:
                    function = name.split(".")[0]
            elif function and line.startswith("\t") and not line.startswith("\t."):
                for found in _STATIC.finditer(line):
                    if self._kinds.get(found[0]) in (c.STT_OBJECT, _STT_TLS):
                        uses[function][found[1]].add(found[0])
        return uses

    def _assembler(self) -> str:
        with tempfile.TemporaryDirectory(prefix="klpkit-extract-") as folder:
            done = replay(self.unit, workdir=Path(folder), extra=("-S", "-g0"), output="unit.s")
            return done.object.read_text(errors="replace")
