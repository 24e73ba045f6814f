"""The functions of one preprocessed C text: where each is, how it is declared, and which others it mentions.

The proof works on preprocessed text, so that functions behind `#if`, made by macros or named like one are plain
functions.  `# LINE "FILE"` markers (the GNU preprocessor manual, "Preprocessor Output") tell where each came from.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from klpkit.build.csource import Definition, definitions

_MARKER = re.compile(r'^# (\d+) "((?:[^"\\\n]|\\.)*)"', re.MULTILINE)
_ALWAYS_INLINE = frozenset({"always_inline", "__always_inline__"})
_ASM = frozenset({"asm", "__asm__", "__asm"})
_ALIASED = re.compile(r'\b(?:__alias__|alias)\s*\(\s*"([^"\n]*)"')
_ALIAS = frozenset({"alias", "__alias__"})


@dataclass(frozen=True, slots=True)
class SourceFunction:
    """A function that the text defines.

    `first` and `last` are lines of the text, `file` and `line` the place in the sources.  `symbol` is its name for
    the assembler.  `mentions` are the functions of the text that its body names, `aliases` the names declared as
    aliases of it.

    In C++ `name` is the symbol and `title` the name as people write it, `siblings` are other symbols made from
    the same text (instances of a template, a constructor's second body).  `unhidable` says why its body can't be
    hidden; `constant`, that the compiler may compute calls of it while it reads the text (`constexpr`); `made`,
    that the compiler makes it itself, as it does constructors.
    """

    name: str
    symbol: str
    file: str
    line: int
    first: int
    last: int
    static: bool
    always_inline: bool
    mentions: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    siblings: tuple[str, ...] = ()
    title: str = ""
    unhidable: str = ""
    constant: bool = False
    made: bool = False


def source_functions(text: str, others: Container[str] = ()) -> dict[str, SourceFunction]:
    """The functions that the preprocessed C `text` defines, by name; of several definitions of a name the last.

    Bodies may also name functions in `others`.
    """
    found = definitions(text)
    bodies = {d.name: d for d in found if d.kind == "function"}
    attributes = _Attributes(found, bodies)
    places = Places(text)
    unread = set(_ALIASED.findall(text)) - attributes.aliases.keys()
    functions = {}
    for name, body in bodies.items():
        file, line = places.of(body.first)
        functions[name] = SourceFunction(
            name=name,
            symbol=attributes.labels.get(name, name),
            file=file,
            line=line,
            first=body.first,
            last=body.last,
            static=name in attributes.static,
            always_inline=name in attributes.always_inline,
            mentions=tuple(sorted({word for word in body.tokens if word in bodies or word in others} - {name})),
            aliases=tuple(sorted(attributes.aliases.get(name, ()))),
            unhidable="an alias of it can't be read" if name in unread else "",
        )
    return functions


def callers_of(functions: Mapping[str, SourceFunction], name: str) -> tuple[str, ...]:
    """The functions whose bodies name the function `name`."""
    return tuple(function.name for function in functions.values() if name in function.mentions)


class _Attributes:
    """What declarations and definitions together say of functions."""

    def __init__(self, found: Iterable[Definition], bodies: Mapping[str, Definition]) -> None:
        self.static: set[str] = set()
        self.always_inline: set[str] = set()
        self.labels: dict[str, str] = {}
        self.aliases: dict[str, set[str]] = {}
        for definition in found:
            # A prototype whose name begins with two underscores may be told as a variable.
            if definition.kind in ("function", "declaration", "variable"):
                self._take(definition, bodies)

    def _take(self, definition: Definition, bodies: Mapping[str, Definition]) -> None:
        head = _head(definition)
        words = set(head)
        if definition.name in bodies:
            if "static" in words:
                self.static.add(definition.name)
            if words & _ALWAYS_INLINE:
                self.always_inline.add(definition.name)
            if label := _argument(head, _ASM):
                self.labels[definition.name] = label
        target = _argument(head, _ALIAS)
        if target in bodies:
            self.aliases.setdefault(target, set()).add(definition.name)


def _head(definition: Definition) -> tuple[str, ...]:
    tokens = definition.tokens
    return tokens[: tokens.index("{")] if "{" in tokens else tokens


def _argument(head: tuple[str, ...], words: frozenset[str]) -> str:
    """The string in `WORD("…")`, "" where there is none."""
    for index, word in enumerate(head[:-2]):
        if word in words and head[index + 1] == "(" and head[index + 2].startswith('"'):
            return head[index + 2].strip('"')
    return ""


class Places:
    """Lines of the text → file and line in the sources."""

    def __init__(self, text: str) -> None:
        self._at: list[int] = []
        self._to: list[tuple[str, int]] = []
        line, seen = 1, 0
        for match in _MARKER.finditer(text):
            line += text.count("\n", seen, match.start())
            seen = match.start()
            self._at.append(line)
            self._to.append((match[2], int(match[1])))

    def of(self, line: int) -> tuple[str, int]:
        index = bisect_right(self._at, line) - 1
        if index < 0:
            return "", line
        file, first = self._to[index]
        return file, first + line - self._at[index] - 1
