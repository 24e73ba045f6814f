"""The draft as text: what the plan keeps, in the order of the source, under names that don't clash."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from klpkit.build.csource import lexemes
from klpkit.errors import RefusedError
from klpkit.extract.chunks import Source
from klpkit.extract.closure import Kept, Mode, Plan
from klpkit.extract.items import Item, Name, after_group, head_tokens
from klpkit.extract.modulekeys import AS_DATA
from klpkit.extract.numbering import numbered, plain
from klpkit.extract.preprocessed import Include, Macro
from klpkit.extract.statics import (
    StaticLocal,
    functions_with,
    starts_anew,
    static_locals,
    without_static_locals,
)
from klpkit.extract.syscalls import call_of, copied_call, copied_name
from klpkit.extract.text import joined, prototype, renamed, without_static

PREFIX = "klpp_"
# Macros that make a header define what its users only declare: one kernel has room for one of these.
_DEFINING = frozenset({"CREATE_TRACE_POINTS"})
_NOTRACE = "notrace"
_PLACING = re.compile(r"\b_*(section|used|unused|noinline|always_inline|gnu_inline|aligned|alias)_*\b")


@dataclass(slots=True)
class Draft:
    """The body of the C file: `text` for people, and `numbered` as it is compiled for comparison.

    `functions` maps the patched functions to their names in the draft, `symbols` names of the draft to the
    kernel's symbols where they differ: static local variables.  `anew` are functions of the source with state of
    macros' that the draft does not share with the kernel.
    """

    functions: dict[str, str] = field(default_factory=dict)
    text: str = ""
    numbered: str = ""
    symbols: dict[str, str] = field(default_factory=dict)
    anew: list[str] = field(default_factory=list)


class StaticSymbols(Protocol):
    """What the draft asks about the symbols of the compiled unit."""

    def has_code(self, name: str) -> bool:
        """Whether the function `name` has code of its own there: else its users carry it, here as there."""

    def static_local(self, function: str, name: str, others: Collection[str]) -> str | None:
        """The symbol of the static variable `name` of `function`; None where the unit has none.

        `others` are functions with such a variable too.  Raises `RefusedError` where nothing tells which is meant.
        """

    def size(self, name: str) -> int | None:
        """The bytes of the variable `name` of the unit; None where there is none."""


def write_draft(
    source: Source, plan: Plan, includes: Sequence[Include], statics: StaticSymbols, *, keys_as_data: bool = False
) -> Draft:
    """Put everything together; `keys_as_data` is that of `klpkit.extract.modulekeys`.

    Raises `RefusedError` for a variable that can't be declared without its value.
    """
    return _Writer(source, plan, statics).write(includes, keys_as_data=keys_as_data)


class _Writer:
    def __init__(self, source: Source, plan: Plan, statics: StaticSymbols) -> None:
        self.source, self.plan, self.statics = source, plan, statics
        self.names = {name: PREFIX + name for name in plan.patched}
        self.draft = Draft()

    def write(self, includes: Sequence[Include], *, keys_as_data: bool) -> Draft:
        rank = self.source.rank
        pieces = [(rank(line), text) for line, text in (*self._includes(includes), *self._macros())]
        ranks = sorted(rank(line) for line, _ in self._includes(includes))
        after_includes = (*(ranks[-1] if ranks else ()), 0.5)
        if keys_as_data:
            begin = (*ranks[0][:-1], ranks[0][-1] - 0.5) if ranks else (0.0,)
            pieces.append((begin, AS_DATA))
        pieces += [(after_includes, self._redefined(macro)) for macro in self.plan.header_macros]
        pieces += [((*after_includes[:-1], 0.25), text) for text in self._declared_early()]
        for kept in self.plan.kept.values():
            where = after_includes if kept.chunk.header else rank(kept.chunk.first)
            pieces.append((where, renamed(self._text(kept), self.names)))
        texts = [text for _, text in sorted(pieces) if text]
        whole = texts[:1]
        for before, text in pairwise(texts):
            whole += ["", text] if not _stick_together(before, text) else [text]
        self.draft.text = plain("\n".join(whole)).strip("\n") + "\n"
        self.draft.numbered = numbered("\n".join(whole), self.source.where) + "\n"
        return self.draft

    def _declared_early(self) -> Iterator[str]:
        """Declarations of copies that are used before they are defined: a header declares the original."""
        rank = self.source.rank
        verbatim = [kept for kept in self.plan.kept.values() if kept.verbatim]
        for kept in verbatim:
            here = rank(kept.chunk.first)
            earlier = [one for one in verbatim if one.chunk.header or rank(one.chunk.first) < here]
            for name, mode in kept.modes.items():
                used = any(name in item.tokens for one in earlier for item in one.chunk.items)
                if mode is Mode.PATCHED and used and self.source.header_declares(name):
                    yield f"extern typeof({name}) {PREFIX}{name};"

    def _includes(self, includes: Sequence[Include]) -> Iterator[tuple[int, str]]:
        for include in includes:
            line = self.source.place(include.origin, include.line)
            yield line, self.source.lines[line - 1].strip()

    def _redefined(self, macro: Macro) -> str:
        """A header's macro that uses the draft's copy of a function."""
        return f"#undef {macro.name}\n{renamed(macro.text, self.names)}"

    def _macros(self) -> Iterator[tuple[int, str]]:
        taken = [(kept.chunk.first, kept.chunk.last) for kept in self.plan.kept.values() if kept.verbatim]
        for name, definitions in self.plan.macros.items():
            for macro in definitions if name not in _DEFINING else ():
                line = self.source.place(macro.file, macro.line)
                if not any(first <= line <= last for first, last in taken):
                    yield line, renamed(self.source.macro_text(macro), self.names)

    def _text(self, kept: Kept) -> str:
        """What of a chunk the draft takes."""
        if kept.verbatim:
            return self._functions(kept)
        parts = []
        for item in kept.chunk.items:
            wanted = [name for name in item.declares if name.text in kept.modes]
            referenced = [name for name in wanted if kept.modes[name.text] is Mode.REFERENCED]
            parts += [
                prototype(self._storage_shown(kept.chunk.text), name.text)
                or _declaration(item, name, self.statics.size(name.text))
                for name in referenced
                if not self.source.header_declares(name.text)
            ]
            if wanted and not referenced:
                parts.append(joined(item.tokens))
        return "\n".join(dict.fromkeys(parts))

    def _functions(self, kept: Kept) -> str:
        """The chunk's own text; static local variables of its functions are the running kernel's."""
        text, before = kept.chunk.text, []
        patched = [name for name, mode in kept.modes.items() if mode is Mode.PATCHED]
        call = call_of(text)
        if patched and not call and any(not re.search(rf"\b{re.escape(name)}\b", text) for name in patched):
            text = "\n\n".join(joined(item.tokens) for item in kept.chunk.items)  # a macro makes the name
        for item in kept.chunk.items:
            for name in item.declares:
                if name.kind == "function":
                    locals_ = static_locals(item, name.text, kept.chunk.text)
                    found = [local for local in locals_ if self._known(local)]
                    text = without_static_locals(text, found)
                    self.draft.anew += [name.text] * starts_anew(item, kept.chunk.text)
                    before += [local.declaration for local in found]
        for function in patched:
            if self.statics.has_code(function):
                text = without_static(self._storage_shown(text), function, inline=self._untraced)
            self.draft.functions[function] = PREFIX + function
        if patched and call:
            text = "\n".join([copied_call(text, PREFIX), *self._visible(kept, patched, call)])
        return "\n".join([*before, *([""] if before else []), text])

    def _storage_shown(self, text: str) -> str:
        """`text` with `static` in the place of macros that stand for it."""
        words = {word for kind, word, _ in lexemes(text) if kind == "word"}
        return renamed(text, {word: shown for word in words if (shown := self.source.storage(word))})

    @property
    def _untraced(self) -> str:
        """`notrace` where the source's `inline` says that (`include/linux/compiler_types.h`): a copy stays so."""
        definitions = self.source.found.macros.get("inline")
        return _NOTRACE if definitions and _NOTRACE in definitions[-1].text.split() else ""

    def _visible(self, kept: Kept, patched: Sequence[str], call: str) -> Iterator[str]:
        """Names that the glue can use for the functions of a system call; some are static by their macro."""
        defined = {
            name.text: item for item in kept.chunk.items for name in item.declares if name.kind == "function"
        }
        for function in patched:
            made = copied_name(function, call, PREFIX)
            if "static" not in head_tokens(defined[function]):
                self.draft.functions[function] = made
            elif self.statics.has_code(function):
                yield f'extern typeof({made}) {PREFIX}{function} __attribute__((alias("{made}")));'

    def _known(self, local: StaticLocal) -> bool:
        """Note the symbol of a static variable; one that the kernel does not have is copied: it never changes."""
        others = functions_with(self.source.chunks, local.name) - {local.function}
        symbol = self.statics.static_local(local.function, local.name, others)
        if symbol is not None:
            self.draft.symbols[local.alias] = symbol
        return symbol is not None


def _stick_together(before: str, text: str) -> bool:
    """Whether two pieces stand without a blank line between them: single lines of one kind."""
    if "\n" in before or "\n" in text:
        return False
    return plain(before).split()[0] == plain(text).split()[0]


def _declaration(item: Item, name: Name, size: int | None) -> str:
    """A declaration from expanded tokens, where the source's own text holds none.

    `size` is what the kernel's has in bytes, for an array whose bound only its initialiser tells.
    """
    words = ("static", "inline", "extern", "typedef", ";")
    head = [token for token in _without_sections(head_tokens(item)) if token not in words]
    if ("[", "]") not in pairwise(head):
        return f"extern {joined(head)};"
    place = head.index(name.text) if name.text in head else len(head)
    if not size or head[place + 1 : place + 3] != ["[", "]"]:
        raise RefusedError(
            "array-of-unknown-size",
            f"{name.text} is an array whose size only its initialiser tells",
            hint="give the array a size in the draft by hand",
        )
    element = joined([*head[:place], *head[place + 3 :]])
    return f"extern {joined(head[: place + 1])}[{size} / sizeof({element})]{joined(head[place + 3 :])};"


def _without_sections(tokens: Sequence[str]) -> list[str]:
    """`tokens` without attributes that say where a definition is placed: those are not for declarations."""
    kept: list[str] = []
    index = 0
    while index < len(tokens):
        if tokens[index] in ("__attribute__", "__attribute"):
            end = after_group(tokens, index + 1)
            if not _PLACING.search(" ".join(tokens[index:end])):
                kept += tokens[index:end]
            index = end
        else:
            kept.append(tokens[index])
            index += 1
    return kept
