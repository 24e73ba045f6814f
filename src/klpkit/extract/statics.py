"""Static local variables of copied functions: the running kernel's are used, so that their values live on.

A compiler names them `NAME.NUMBER`; which one belongs to a function is read from the function's own code in the
compiled original.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from klpkit.build.csource import lexemes
from klpkit.diff.names import declared
from klpkit.errors import RefusedError
from klpkit.extract.chunks import Chunk
from klpkit.extract.items import Item, after_group, initialiser, split
from klpkit.extract.numbering import LEFT_OUT
from klpkit.extract.text import joined, renamed

_OPEN, _CLOSE = "([{", ")]}"
_TYPEOF = ("typeof", "__typeof", "__typeof__", "typeof_unqual")
# What the compiler makes once for each function, and macros once for each use: a copy has its own.
_MADE_FOR_USE = re.compile(r"_rs|__\w+")
_RATE_LIMIT = "_rs"  # state of messages, whoever writes it down (`include/linux/ratelimit.h`)
# One place that can be told to print (`include/linux/dynamic_debug.h`), by whatever name a macro calls it.
_PRINTING_PLACE = "_ddebug"
_PRINTING_PLACES = "__dyndbg"
# Its address alone counts (`include/linux/lockdep_types.h`): a copy is another class of locks, as it should be.
_KEY = "lock_class_key"


@dataclass(frozen=True, slots=True)
class StaticLocal:
    """A static variable inside a function: its name there, and its declaration under the name `alias`."""

    function: str
    name: str
    declaration: str

    @property
    def alias(self) -> str:
        return f"klpp_{self.function}_{self.name}"


def static_locals(item: Item, function: str, text: str = "") -> Iterator[StaticLocal]:
    """The static variables that the function of `item` names in its own `text`; constants and macros' left out.

    Raises `RefusedError` for a declaration that can't be taken apart: a copy of it would have a state of its own.
    """
    spelled = {token for kind, token, _ in lexemes(text) if kind == "word"}
    seen = set()
    for declaration in _declarations(item.tokens):
        head = declaration[: initialiser(declaration)]
        words = [index for index, token in enumerate(head) if re.match(r"[A-Za-z_]\w*$", token)]
        bracket = _first_bracket(head)
        named = [index for index in words if index < bracket]
        name = head[named[-1]] if named else ""
        if _made_for_use(head, name, spelled) or _KEY in head or (named and _is_constant(head[: named[-1]])):
            continue
        if not name or name in seen or head[bracket : bracket + 1] == ["("] or len(split(declaration, ",")) > 1:
            raise _unclear(function, joined(declaration))
        seen.add(name)
        made = StaticLocal(function, name, "")
        shown = joined([*head[: named[-1]], made.alias, *head[named[-1] + 1 :]])
        yield StaticLocal(function, name, f"extern {shown};")


def _first_bracket(head: Sequence[str]) -> int:
    """The position of the first bracket behind the type; past the end where there is none."""
    index = 0
    while index < len(head) and head[index] not in ("[", "("):
        index = after_group(head, index + 1) if head[index] in _TYPEOF else index + 1
    return index


def functions_with(chunks: Iterable[Chunk], name: str) -> set[str]:
    """The functions of a source that have a static variable `name`."""
    return {
        each.text
        for chunk in chunks
        for item in chunk.items
        if name in item.tokens and any(name in _name_part(words) for words in _declarations(item.tokens))
        for each in item.declares
        if each.kind == "function"
    }


def _name_part(declaration: Sequence[str]) -> Sequence[str]:
    return declaration[: initialiser(declaration)]


def _made_for_use(head: Sequence[str], name: str, spelled: Container[str]) -> bool:
    """Whether a macro made the variable: one whose name a person has `spelled` is the function's own state."""
    made = bool(_MADE_FOR_USE.fullmatch(name)) and (name == _RATE_LIMIT or name not in spelled)
    return made or _PRINTING_PLACE in head


def starts_anew(item: Item, text: str = "") -> bool:
    """Whether macros in the `text` of `item` keep state for each use: messages said once, rate limits."""
    spelled = {token for kind, token, _ in lexemes(text) if kind == "word"}
    for declaration in _declarations(item.tokens):
        head = declaration[: initialiser(declaration)]
        words = [index for index, token in enumerate(head) if re.match(r"[A-Za-z_]\w*$", token)]
        if words and _made_for_use(head, head[words[-1]], spelled) and not _is_constant(head[: words[-1]]):
            return True
    return False


def _unclear(function: str, what: str) -> RefusedError:
    return RefusedError(
        "static-local-declaration",
        f"{function}: can't take out the declaration of its static variable: {what}",
        hint="give each static variable a declaration of its own in the source, or extract its callers",
    )


def made_for_use(name: str, section: str) -> bool:
    """Whether a compiled variable is what a macro makes for one use: the symbol `name` in `section`."""
    return section == _PRINTING_PLACES or _MADE_FOR_USE.fullmatch(declared(name) or name) is not None


def lock_keys(chunks: Iterable[Chunk]) -> set[str]:
    """The words of declarations of lock classes, of which each copy is to have its own."""
    declarations = (words for chunk in chunks for item in chunk.items for words in _declarations(item.tokens))
    return {word for words in declarations if _KEY in words for word in words}


def without_static_locals(text: str, found: Sequence[StaticLocal]) -> str:
    """A function's `text` with the definitions of `found` gone and their uses renamed."""
    for local in found:
        less = _without_definition(text, local.name)
        if less == text:
            raise _unclear(local.function, local.name)
        text = less
    return renamed(text, {local.name: local.alias for local in found})


def _declarations(tokens: Sequence[str]) -> Iterator[list[str]]:
    """The words after each `static` inside of braces, up to the semicolon."""
    depth = 0
    for index, token in enumerate(tokens):
        depth += (token == "{") - (token == "}")
        if token == "static" and depth:
            yield _statement(tokens[index + 1 :])


def _statement(tokens: Sequence[str]) -> list[str]:
    """`tokens` up to the first semicolon outside of brackets, attributes left out."""
    found: list[str] = []
    depth = skip = 0
    for index, token in enumerate(tokens):
        if token == ";" and depth == 0:
            break
        if token in ("__attribute__", "__attribute") and depth == 0:
            skip = 1
        depth += (token in _OPEN) - (token in _CLOSE)
        if not skip:
            found.append(token)
        elif token == ")" and depth == 0 and tokens[index - 1] == ")":
            skip = 0
    return found


def _is_constant(head: Sequence[str]) -> bool:
    """Whether the object itself is constant: `const` after the last `*`, or anywhere without one."""
    stars = [index for index, token in enumerate(head) if token == "*"]
    return "const" in head[stars[-1] if stars else 0 :]


def _without_definition(text: str, name: str) -> str:
    """`text` without the statement that begins with `static` and declares `name`."""
    pieces = [(kind, token) for kind, token, _ in lexemes(text)]
    start = None
    for index, (kind, token) in enumerate(pieces):
        if kind == "word" and token == "static":
            start = index
        elif token == ";" and start is not None:
            if any(piece == ("word", name) for piece in pieces[start:index]):
                before = "".join(token for _, token in pieces[:start]).rstrip(" \t")
                after = "".join(token for _, token in pieces[index + 1 :])
                return before + LEFT_OUT + after
            start = None
    return text
