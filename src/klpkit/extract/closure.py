"""What a draft needs: from the functions that are patched to everything of the source that their text mentions.

How a function or variable is taken in depends on the running kernel: one that is there is referred to, so that
there stays one of it; one that is not (all copies were inlined, or it was optimised away) is copied along.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from klpkit.build.csource import lexemes
from klpkit.errors import UserError
from klpkit.extract.chunks import Chunk, Source
from klpkit.extract.items import Item, Name, head_tokens, note_uses
from klpkit.extract.preprocessed import Macro


class Mode(StrEnum):
    """How something of the source comes into the draft."""

    PATCHED = "patched"
    """A function to be edited, under a name of its own."""
    COPIED = "copied"
    """As it stands."""
    REFERENCED = "referenced"
    """Declared only: the running kernel's is used."""


class Running(Protocol):
    """What the closure asks about the kernel that is to be patched."""

    def function(self, name: str) -> bool:
        """Whether the unit's function `name` can be called there by its symbol, as its source declares it."""

    def variable(self, name: str) -> bool:
        """Whether the unit's variable `name` is there under its symbol."""


@dataclass(slots=True)
class Kept:
    """A chunk that the draft takes in: the mode of each name needed of it, and who asked first."""

    chunk: Chunk
    modes: dict[str, Mode] = field(default_factory=dict)
    asked_by: str = ""

    @property
    def verbatim(self) -> bool:
        """Whether the chunk's own text is taken, as it is or renamed."""
        return Mode.PATCHED in self.modes.values() or Mode.REFERENCED not in self.modes.values()


@dataclass(slots=True)
class Plan:
    """All that a draft takes from its source; `names` is every identifier used, `macros` those of the source."""

    patched: list[str]
    kept: dict[int, Kept]
    macros: dict[str, list[Macro]]
    names: set[str]
    header_macros: list[Macro]
    """Macros of headers that use functions of headers which are patched."""


def plan(source: Source, functions: Sequence[str], running: Running) -> Plan:
    """The closure of `functions`, names that the source defines.

    Raises `UserError` for a function that it does not define.
    """
    return _Closure(source, functions, running).run()


class _Closure:
    def __init__(self, source: Source, functions: Sequence[str], running: Running) -> None:
        self.source, self.running = source, running
        self.patched = list(dict.fromkeys(functions))
        self.kept: dict[int, Kept] = {}
        self.macros: dict[str, list[Macro]] = {}
        self.names: set[str] = set()
        self.todo: list[tuple[str, bool, str]] = []
        self.done: set[tuple[str, bool]] = set()
        self.done_macros: set[str] = set()
        self.adopted: set[str] = set()
        self.header_macros: list[Macro] = []

    def run(self) -> Plan:
        for name in self.patched:
            if not self.source.declared(name, ("function",)):
                if not self.source.adopt(name):
                    raise UserError(
                        f"{self.source.found.source} has no function {name} in this configuration",
                        hint="name a function of this source, or the source that has it: FILE:NAME",
                    )
                self.adopted.add(name)
        for name in self.patched:
            self._need(name, tag=False, by="")
        while self.todo:
            name, tag, by = self.todo.pop()
            self._resolve(name, tag, by)
        return Plan(self.patched, self.kept, self.macros, self.names, self.header_macros)

    def _need(self, name: str, *, tag: bool, by: str) -> None:
        if (name, tag) not in self.done:
            self.done.add((name, tag))
            self.names.add(name)
            self.todo.append((name, tag, by))

    def _resolve(self, name: str, tag: bool, by: str) -> None:
        wanted = ("tag", "forward") if tag else _ORDINARY
        places = [place for place in self.source.by_name.get(name, ()) if place[1].kind in wanted]
        # What follows a definition only repeats it; exports are of that kind.
        defined = min((chunk.first for chunk, found in places if found.kind in _DEFINING), default=None)
        for chunk, found in places:
            if defined is None or chunk.first <= defined:
                self._keep(chunk, found, by)

    def _keep(self, chunk: Chunk, name: Name, by: str) -> None:
        mode = self._mode(name)
        kept = self.kept.setdefault(chunk.first, Kept(chunk, asked_by=by))
        kept.modes[name.text] = mode
        for item in chunk.items:
            if mode is not Mode.REFERENCED or any(other.text == name.text for other in item.declares):
                self._uses(item, name.text, head=mode is Mode.REFERENCED)
        if mode is not Mode.REFERENCED:
            self._macro_uses(_words(chunk.text), chunk.first)

    def _mode(self, name: Name) -> Mode:
        if name.text in self.patched:
            return Mode.PATCHED
        if name.kind == "function" and self.running.function(name.text):
            return Mode.REFERENCED
        if name.kind == "variable" and self.running.variable(name.text):
            return Mode.REFERENCED
        return Mode.COPIED

    def _uses(self, item: Item, by: str, *, head: bool) -> None:
        uses, tags = (head_uses(item)) if head else (item.uses, item.tags)
        for name in sorted(uses):
            self._need(name, tag=False, by=by)
        for name in sorted(tags):
            self._need(name, tag=True, by=by)

    def _macro_uses(self, words: Iterable[str], line: int) -> None:
        """Keep the source's own macros among `words`, and those that the macros' bodies mention."""
        todo = list(words)
        while todo:
            word = todo.pop()
            self.names.add(word)
            if word in self.done_macros or word not in self.source.found.macros:
                continue
            self.done_macros.add(word)
            if word in self.source.macros:
                self.macros[word] = self.source.macros[word]
            else:
                self._header_macro(word)
            for macro in self.source.found.macros[word]:
                todo += macro.words

    def _header_macro(self, word: str) -> None:
        """A header's macro that uses a header's function which is edited: it must use the edited copy."""
        definitions = self.source.found.macros[word]
        if self.adopted.intersection(definitions[-1].words):
            self.header_macros.append(definitions[-1])


# What an ordinary identifier can name; tags have a name space of their own (C17 6.2.3).
_DEFINING = ("function", "variable")
_ORDINARY = ("function", "prototype", "variable", "extern", "typedef", "constant")


def head_uses(item: Item) -> tuple[set[str], set[str]]:
    """The ordinary names and tags that an item's declaration alone needs, its body or initialiser left out."""
    head = Item(item.first, item.last, head_tokens(item))
    note_uses(head)
    return head.uses, head.tags


def _words(text: str) -> list[str]:
    """The identifiers in a text, comments and strings left out, directives included."""
    words: list[str] = []
    for kind, token, _ in lexemes(text):
        if kind == "word":
            words.append(token)
        elif kind == "directive":
            words += re.findall(r"[A-Za-z_]\w*", token)
    return words
