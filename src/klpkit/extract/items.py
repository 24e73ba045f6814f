"""Expanded C → its top-level items: which source lines each covers, what it declares, and what it uses.

The text is C after preprocessing (C17 6.7 and 6.9 with GNU extensions), so there are no macros to guess at.
An item is a declaration up to its `;`, or a function up to its closing brace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?:u8|[uUL])?"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[A-Za-z_$\u0080-\U0010ffff][\w$]*|\.?\d(?:[eEpP][+-]|[\w.])*
      |\.\.\.|<<=|>>=|<<|>>|->|\+\+|--|&&|\|\||[-+*/%&|^<>=!]=|[^\s]""",
    re.VERBOSE,
)
_WORD = re.compile(r"[A-Za-z_$\u0080-\U0010ffff][\w$]*$")
_OPEN, _CLOSE = "([{", ")]}"
# Words that take a parenthesis with them and declare nothing.
_WITH_ARGUMENTS_LIST = """
    __attribute__ __attribute asm __asm__ __asm _Alignas typeof __typeof__ __typeof __typeof_unqual__
    typeof_unqual _Atomic
"""
_WITH_ARGUMENTS = frozenset(_WITH_ARGUMENTS_LIST.split())
_TYPES_IN_PARENTHESES = frozenset({"typeof", "typeof_unqual", "Atomic"})
_TAGGED = frozenset({"struct", "union", "enum"})
_KEYWORDS_LIST = """
    auto break case char const continue default do double else enum extern float for goto if inline int long
    register restrict return short signed sizeof static struct switch typedef union unsigned void volatile
    while _Alignas _Alignof _Atomic _Bool _Complex _Generic _Noreturn _Static_assert _Thread_local __thread
    __inline __inline__ __const __const__ __volatile__ __volatile __signed__ __restrict __restrict__
    __extension__ __builtin_va_list __int128 __label__ __auto_type __alignof__ __alignof asm __asm__
    __attribute__ typeof __typeof__
"""
KEYWORDS = frozenset(_KEYWORDS_LIST.split())


@dataclass(frozen=True, slots=True)
class Name:
    """Something declared: its kind tells what a use needs."""

    text: str
    kind: str
    """`function` (with a body), `prototype`, `variable`, `extern`, `typedef`, `tag`, `forward` or `constant`."""


@dataclass(slots=True)
class Item:
    """One top-level item.  `first` and `last` are source lines; `uses` has ordinary names, `tags` the others."""

    first: int
    last: int
    tokens: list[str]
    declares: list[Name] = field(default_factory=list)
    uses: set[str] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)


def items(expanded: Iterable[tuple[int, str]]) -> list[Item]:
    """The items of expanded lines (source line, text), in their order."""
    found: list[Item] = []
    current: list[tuple[str, int]] = []
    depth = 0
    for number, text in expanded:
        for token in _TOKEN.findall(text):
            current.append((token, number))
            if token in _OPEN:
                depth += 1
            elif token in _CLOSE:
                depth = max(depth - 1, 0)
            if depth == 0 and (token == ";" or (token == "}" and _is_function(current))):
                found.append(_item(current))
                current = []
    if current:
        found.append(_item(current))
    return found


def _is_function(current: Sequence[tuple[str, int]]) -> bool:
    """Whether the brace that was just closed ends a function: its head has parameters and no initialiser."""
    tokens = [token for token, _ in current]
    head = tokens[: _body(tokens)]
    plain = _without_attributes(head)
    return initialiser(head) == len(head) and ")" in plain and not _ends_in_tag(plain)


def _ends_in_tag(head: Sequence[str]) -> bool:
    """Whether the brace after `head` opens a struct: `struct tag {` or `struct {`."""
    return bool(head) and (head[-1] in _TAGGED or (len(head) > 1 and head[-2] in _TAGGED))


def initialiser(tokens: Sequence[str]) -> int:
    """The position of the first `=` outside of brackets; past the end where there is none."""
    depth = 0
    for index, token in enumerate(tokens):
        depth += (token in _OPEN) - (token in _CLOSE)
        if token == "=" and depth == 0:
            return index
    return len(tokens)


def head_tokens(item: Item) -> list[str]:
    """The tokens without a function's body or a variable's initialiser."""
    return item.tokens[: min(initialiser(item.tokens), _body(item.tokens))]


def _body(tokens: Sequence[str]) -> int:
    """The position of the brace that opens a function's body; past the end where there is none."""
    depth, last = 0, len(tokens)
    for index, token in enumerate(tokens):
        if token == "{" and depth == 0:
            last = index
        depth += (token in _OPEN) - (token in _CLOSE)
    return last if tokens[-1:] == ["}"] else len(tokens)


def _without_attributes(tokens: Sequence[str]) -> list[str]:
    """`tokens` without attributes and assembler names, each with its parenthesis; a type in one is `typeof`."""
    kept: list[str] = []
    index = 0
    while index < len(tokens):
        if tokens[index] in _WITH_ARGUMENTS and tokens[index + 1 : index + 2] == ["("]:
            kept += ["typeof"] * (tokens[index].strip("_") in _TYPES_IN_PARENTHESES)
            index = after_group(tokens, index + 1)
            continue
        if tokens[index] != "__extension__":
            kept.append(tokens[index])
        index += 1
    return kept


def after_group(tokens: Sequence[str], index: int) -> int:
    """The position after the bracket that closes the one at `index`."""
    depth = 0
    for place in range(index, len(tokens)):
        depth += (tokens[place] in _OPEN) - (tokens[place] in _CLOSE)
        if depth == 0:
            return place + 1
    return len(tokens)


def _item(current: Sequence[tuple[str, int]]) -> Item:
    tokens = [token for token, _ in current]
    item = Item(min(line for _, line in current), max(line for _, line in current), tokens)
    item.declares = declared(tokens)
    note_uses(item)
    return item


def note_uses(item: Item) -> None:
    """Fill in what the tokens of `item` use."""
    before = ""
    for token in item.tokens:
        if _WORD.match(token) and token not in KEYWORDS:
            if before in _TAGGED:
                item.tags.add(token)
            elif before not in (".", "->"):
                item.uses.add(token)
        before = token


def declared(tokens: Sequence[str]) -> list[Name]:
    """What one item declares at file scope, tags and enumeration constants within it included."""
    plain = _without_attributes(tokens)
    if plain[:1] in (["_Static_assert"], ["static_assert"], [";"]):
        return []
    found = _tags(plain)
    head = _collapsed(plain)
    is_function = plain[-1:] == ["}"] and ")" in head
    kind = "typedef" if "typedef" in head else "extern" if "extern" in head and "=" not in head else "variable"
    for number, part in enumerate(_declarators(head)):
        name, called = _declarator(part, first=number == 0)
        if name and kind != "typedef" and called:
            found.append(Name(name, "function" if is_function else "prototype"))
        elif name:
            found.append(Name(name, kind))
    return found


def _tags(plain: Sequence[str]) -> list[Name]:
    """Tags with a body and constants, wherever they stand in the item's declarations; forward tags alone."""
    found = []
    for index, token in enumerate(plain):
        if token not in _TAGGED:
            continue
        following = plain[index + 1 : index + 3]
        if following[1:] == ["{"]:
            found.append(Name(following[0], "tag"))
        elif index == 0 and following[1:] == [";"]:
            found.append(Name(following[0], "forward"))
        body = index + 1 + (following[:1] != ["{"])
        if token == "enum" and plain[body : body + 1] == ["{"]:
            found += [
                Name(name, "constant") for name in _constants(plain[body + 1 : after_group(plain, body) - 1])
            ]
    return found


def _constants(body: Sequence[str]) -> list[str]:
    """The names in an enumeration's braces: the first word of each part."""
    return [part[0] for part in split(body, ",") if part]


def _collapsed(plain: Sequence[str]) -> list[str]:
    """The item with every `struct TAG {…}` and every other `{…}` gone, so that only declarators are left."""
    kept: list[str] = []
    index = 0
    while index < len(plain):
        if plain[index] in _TAGGED:
            # The tag is no declared name: leave the keyword as the type.
            kept.append(plain[index])
            index += 1 + bool(index + 1 < len(plain) and _WORD.match(plain[index + 1]))
        elif plain[index] == "{":
            index = after_group(plain, index)
        else:
            kept.append(plain[index])
            index += 1
    return kept


def _declarators(head: Sequence[str]) -> list[list[str]]:
    parts = split([token for token in head if token != ";"], ",")
    return [part[: part.index("=")] if "=" in part else part for part in parts]


def split(tokens: Sequence[str], mark: str) -> list[list[str]]:
    """`tokens` cut at each `mark` outside of brackets."""
    parts: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token in _OPEN) - (token in _CLOSE)
        if token == mark and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _declarator(part: Sequence[str], *, first: bool) -> tuple[str, bool]:
    """The name that a declarator declares, and whether it is a function; ("", False) where it names none."""
    words = [index for index, token in enumerate(part) if _WORD.match(token) and token not in KEYWORDS]
    start = next((index for index, token in enumerate(part) if token in "(["), len(part))
    before = [index for index in words if index < start]
    typed = len(before) > 1 or not first or any(token in KEYWORDS for token in part[: before[-1] if before else 0])
    wrapped = part[start : start + 1] == ["("] and (part[start + 1 : start + 2] in (["*"], ["("], ["^"]))
    if before and not wrapped and (typed or start < len(part)):
        called = part[start : start + 1] == ["("]
        return part[before[-1]], called
    if part[start : start + 1] == ["("]:
        return _inside(part, start)
    return "", False


def _inside(part: Sequence[str], start: int) -> tuple[str, bool]:
    """The name in `(*name)(…)`, `(name)(…)` or `(*name(…))(…)`; only the latter two are functions."""
    inner = part[start + 1 : after_group(part, start) - 1]
    name, called = _declarator([token for token in inner if token != "*"], first=False)
    return name, called or (bool(name) and "*" not in inner)
