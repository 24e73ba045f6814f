"""What a C file defines, and on which lines: functions, macros, types and variables, without a C parser.

The file is read as it is written, before preprocessing, because a patch is: both branches of an `#if` count.  What
can't be recognised stays visible as part of no definition; nothing is guessed away.  Tokens follow C17 6.4, with
GNU extensions; macros that define functions are known by the shape `NAME(first, …) {` and the table below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["function", "macro", "type", "variable", "declaration", "invocation"]

_TOKEN = re.compile(
    r"""
      (?P<directive>(?m:^)[ \t]*\#(?:/\*.*?\*/|//[^\n]*|\\\r?\n|[^\n])*)
    | (?P<blank>[ \t\r\f\v]+|\\\r?\n)
    | (?P<newline>\n)
    | (?P<comment>/\*.*?(?:\*/|\Z)|//(?:[^\n\\]|\\(?:.|\n))*)
    | (?P<string>(?:u8|[uUL])?(?:"(?:[^"\\\n]|\\(?:.|\n))*"?|'(?:[^'\\\n]|\\(?:.|\n))*'?))
    | (?P<word>[A-Za-z_$\u0080-\U0010ffff][\w$]*)
    | (?P<number>\.?\d(?:[eEpP][+-]|[\w.])*)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_DEFINE = re.compile(r"\s*#\s*define\s+(\w+)")
_CONDITIONAL = re.compile(r"\s*#\s*(if|ifdef|ifndef|elif|elifdef|elifndef|else|endif)\b")
_IDENTIFIER = re.compile(r"[A-Za-z_$]\w*")
_NOT_CODE = frozenset({"blank", "newline", "comment"})

# The function that a macro with a body defines, by the macro's name; `{0}` is its first argument.
FUNCTION_MACROS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"SYSCALL_DEFINE\d?$", "__do_sys_{0}"),
        (r"COMPAT_SYSCALL_DEFINE\d?$", "__do_compat_sys_{0}"),
        (r"BPF_CALL_\d$", "____{0}"),
        (r"DEFINE_IDTENTRY_(IRQ|SYSVEC|SYSVEC_SIMPLE|ERRORCODE|VMM|MCE|DF)\w*$", "__{0}"),
        (r"DEFINE_IDTENTRY$", "__{0}"),
        (r"DEFINE_FREEZER_ATTR$", "{0}"),
    )
)
# `NAME(…)` that belongs to the declaration beside it and is not its name.
_ATTRIBUTES = frozenset(
    {"__attribute__", "__attribute", "__declspec", "asm", "__asm__", "__asm", "_Alignas", "alignas"}
    | {"typeof", "__typeof__", "__typeof", "typeof_unqual", "_Atomic", "__extension__", "_BitInt"}
)
_ANNOTATION = re.compile(r"__\w*[a-z]\w*$|[A-Z][A-Z0-9_]+$")
_TYPES = frozenset(
    {"void", "char", "short", "int", "long", "float", "double", "signed", "unsigned", "bool", "_Bool", "auto"}
)
_STORAGE = frozenset({"static", "extern", "const", "volatile", "register", "inline", "_Thread_local", "__thread"})
_MACRO_NAME = re.compile(r"_*[A-Z][A-Z0-9_]*$")
# What may stand with arguments between `struct` and its brace.
_TYPE_ATTRIBUTES = _ATTRIBUTES | {"__aligned", "__section", "__no_randomize_layout", "ACPI_ALIGNED"}


@dataclass(frozen=True, slots=True)
class Token:
    """One token of code: its text and line; a preprocessor directive is one token."""

    text: str
    line: int
    kind: str

    @property
    def last_line(self) -> int:
        return self.line + self.text.count("\n")


@dataclass(frozen=True, slots=True)
class Definition:
    """One definition: lines `first` to `last` (from 1, both included).

    `tokens` is its code without comments and layout, `conditions` the `#if` lines that enclose it: two versions
    are the same where both are.  A type without a name has "".  A `declaration` is a function's prototype, an
    `invocation` a macro at the top level with its arguments, such as `EXPORT_SYMBOL(f);`.
    """

    kind: Kind
    name: str
    first: int
    last: int
    tokens: tuple[str, ...] = field(repr=False)
    conditions: tuple[str, ...] = ()

    def mentions(self, names: Iterable[str]) -> bool:
        """Whether the code, or a condition around it, has one of `names` as an identifier (its own name aside)."""
        wanted = set(names)
        return any(name in wanted for name in self.identifiers())

    def identifiers(self) -> Iterator[str]:
        """The identifiers of the code and of the conditions around it; a macro's own name is left out."""
        for text in (*self.tokens, *self.conditions):
            if text[:1] == "#" or text.lstrip()[:1] == "#":
                names = _IDENTIFIER.findall(text)
                yield from names[2:] if _DEFINE.match(text) and self.kind == "macro" else names
            else:
                yield text


def tokenize(text: str) -> Iterator[Token]:
    """The code of `text` token by token; comments and layout are dropped."""
    for kind, token, line in lexemes(text):
        if kind not in _NOT_CODE:
            yield Token(token, line, kind)


def lexemes(text: str) -> Iterator[tuple[str, str, int]]:
    """All of `text` in pieces: kind, text, line.  The kinds without code are `blank`, `newline` and `comment`."""
    line = 1
    for match in _TOKEN.finditer(text):
        yield match.lastgroup or "mark", match[0], line
        line += match[0].count("\n")


def definitions(text: str) -> list[Definition]:
    """What `text`, a C source or header, defines, in the order of the file."""
    return _Scanner().scan(text)


@dataclass(slots=True)
class _Open:
    """A declaration that is being read: its tokens at the top of the file, and all of them."""

    top: list[Token] = field(default_factory=list)
    all: list[Token] = field(default_factory=list)
    is_function: bool = False

    def copy(self) -> _Open:
        return _Open(list(self.top), list(self.all), self.is_function)


class _Scanner:
    """Reads declarations at the top level; a stack of brackets tells how deep it is.

    Branches of a conditional all start from the state before `#if`: a function whose head stands in each branch
    and whose body follows is then known under each head.
    """

    def __init__(self) -> None:
        self.found: list[Definition] = []
        self.current = _Open()
        self.stack: list[str] = []
        self.saved: list[tuple[list[str], _Open]] = []
        self.conditions: list[str] = []
        self.abandoned: list[_Open] = []

    def scan(self, text: str) -> list[Definition]:
        for token in tokenize(text):
            if token.kind == "directive":
                self._directive(token)
            else:
                self._token(token)
        self._finish()
        return sorted(self.found, key=lambda d: (d.first, d.last))

    def _directive(self, token: Token) -> None:
        if not self.stack and _is_bare_invocation(self.current.top, token):
            self._finish()
        if define := _DEFINE.match(token.text):
            self._add("macro", define[1], token.line, token.last_line, [token])
        if self.current.all:
            self.current.all.append(token)
        conditional = _CONDITIONAL.match(token.text)
        if conditional is None:
            return
        word, text = conditional[1], _normal(token.text)
        if word in ("if", "ifdef", "ifndef"):
            self.saved.append((list(self.stack), self.current.copy()))
            self.conditions.append(text)
        elif word == "endif":
            if self.saved:
                self.saved.pop()
                self.conditions.pop()
        elif self.saved:
            self._other_branch(text)

    def _other_branch(self, text: str) -> None:
        """Go back to the state before the `#if`; what was opened since ends where its sibling will end."""
        stack, before = self.saved[-1]
        if len(self.stack) != len(stack) or self.current.is_function != before.is_function:
            if self.current.is_function and not before.is_function:
                self.abandoned.append(self.current)
            self.stack, self.current = list(stack), before.copy()
        elif not stack and not before.top:
            self.current = before.copy() if self.current.top else self.current
        self.conditions[-1] = f"{self.conditions[-1]} {text}"

    def _token(self, token: Token) -> None:
        text = token.text
        if not self.stack and _is_bare_invocation(self.current.top, token):
            self._finish()
        if text == "{" and not self.stack and self._is_linkage():
            self.current = _Open()
            return
        self.current.all.append(token)
        if not self.stack:
            self._at_top(token)
        if text in "([{" and token.kind == "mark":
            self.stack.append(text)
        elif text in ")]}" and token.kind == "mark":
            if self.stack:
                self.stack.pop()
            elif text == "}":
                self.current = _Open()  # the end of `extern "C" {`, or of what was not understood
            if text == "}" and not self.stack and self.current.is_function:
                self._finish()
            elif not self.stack:
                self.current.top.append(token)

    def _at_top(self, token: Token) -> None:
        current = self.current
        if token.text == ";":
            if _is_old_style_head(current.top, current.all[:-1]):
                current.top.append(token)
            else:
                self._finish()
            return
        if token.text == "{" and not _has_initialiser(current.top) and _is_function_head(current.top):
            current.is_function = True
        current.top.append(token)

    def _is_linkage(self) -> bool:
        """Whether a brace here opens `extern "C"` or a namespace, whose contents are at the top level too."""
        words = [token.text for token in self.current.top]
        return words[:1] == ["namespace"] or (len(words) == 2 and words[0] == "extern" and words[1][:1] == '"')

    def _finish(self) -> None:
        """The current declaration is complete."""
        current, self.current = self.current, _Open()
        if not current.all:
            return
        last = current.all[-1].last_line
        for opened in [*self.abandoned, current] if current.is_function else [current]:
            tokens = opened.all if opened is current else opened.all + current.all
            for kind, name in _names(opened, current):
                self._add(kind, name, tokens[0].line, last, tokens)
        if current.is_function:
            self.abandoned.clear()

    def _add(self, kind: Kind, name: str, first: int, last: int, tokens: Sequence[Token]) -> None:
        texts = tuple(_normal(t.text) if t.kind == "directive" else t.text for t in tokens)
        self.found.append(Definition(kind, name, first, last, texts, tuple(self.conditions)))


def _normal(directive: str) -> str:
    """A directive without comments and layout."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", directive.replace("\\\n", " "), flags=re.DOTALL)
    return " ".join(text.split())


def _is_bare_invocation(top: Sequence[Token], following: Token) -> bool:
    """Whether `top` is `MACRO(…)` alone on its line and `following` begins something else."""
    if len(top) != 3 or top[2].text != ")" or following.line == top[2].line or following.kind == "mark":
        return False
    attribute = top[0].text in _ATTRIBUTES or (_ANNOTATION.match(top[0].text) and top[0].text.islower())
    return not attribute and not following.text.startswith("__")


def _has_initialiser(top: Sequence[Token]) -> bool:
    return any(token.text == "=" for token in top)


def _groups(top: Sequence[Token]) -> list[int]:
    """The positions in `top` of the words before a parenthesis: `NAME(`; contents of brackets are not in `top`."""
    return [i for i in range(len(top) - 1) if top[i].kind == "word" and top[i + 1].text == "("]


def _is_function_head(top: Sequence[Token]) -> bool:
    """Whether the declaration `top`, which a brace follows, is the head of a function and not of a type."""
    words = [token.text for token in top]
    for keyword in ("struct", "union", "enum", "class"):
        if keyword in words:
            rest = words[words.index(keyword) + 1 :]
            if all(rest[i] in _TYPE_ATTRIBUTES for i in _groups(top[len(words) - len(rest) :])):
                return any(i for i in _groups(top[: words.index(keyword)]) if words[i] not in _TYPE_ATTRIBUTES)
    return ")" in words


def _is_old_style_head(top: Sequence[Token], tokens: Sequence[Token]) -> bool:
    """Whether a `;` here ends a parameter declaration between the head and the body of a K&R function."""
    for index in _groups(top):
        if top[index].text in _ATTRIBUTES:
            continue
        inside = _inside(tokens, top[index])
        names = {token.text for token in inside if token.kind == "word"}
        plain = bool(inside) and all(token.kind == "word" or token.text == "," for token in inside)
        after = [token for token in top[index + 2 :] if token.kind == "word"]
        if plain and len(after) >= 2 and after[-1].text in names and not _has_initialiser(top):
            return all(token.text != "," for token in inside[::2])
    return False


def _inside(tokens: Sequence[Token], name: Token) -> list[Token]:
    """The tokens between the parentheses that follow `name`."""
    start = next(i for i, token in enumerate(tokens) if token is name) + 2
    depth, found = 1, []
    for token in tokens[start:]:
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0:
            break
        found.append(token)
    return found


def _names(opened: _Open, complete: _Open) -> list[tuple[Kind, str]]:
    """What a complete declaration defines; `opened` holds its head."""
    if complete.is_function:
        return [("function", _function_name(opened))]
    found: list[tuple[Kind, str]] = []
    words = [token.text for token in opened.top]
    if "{" in words and not _has_initialiser(opened.top[: words.index("{")]):
        found.append(("type", _type_name(words)))
    elif words[:1] == ["typedef"]:
        declarator = _Open(opened.top[1:], opened.all)
        found.append(("type", _object(declarator, has_type=False)[1]))
    if words[:1] == ["typedef"] and "{" in words:
        found.append(("type", _last_word(opened.top)))
    if words[:1] != ["typedef"]:
        found.append(_object(opened, has_type=bool(found)))
    return [entry for entry in dict.fromkeys(found) if entry[1] or entry[0] == "type"]


def _function_name(opened: _Open) -> str:
    top = opened.top
    groups = [i for i in _groups(top) if top[i].text not in _ATTRIBUTES]
    if not groups:
        return next((t.text for t in opened.all if t.kind == "word"), "")
    index = _name_group(top, groups)
    name, inside = top[index].text, _inside(opened.all, top[index])
    if name in _TYPES or (inside and inside[0].text == "*") or _is_wrapped(top, index, inside):
        return _wrapped_name(inside) or name
    for pattern, template in FUNCTION_MACROS:
        if pattern.match(name) and inside:
            return template.format(_first_argument(inside))
    if _MACRO_NAME.match(name) and inside and not _typed(top[:index]):
        return _first_argument(inside)
    return name


def _name_group(top: Sequence[Token], groups: Sequence[int]) -> int:
    """Which `NAME(` of a head names the function.

    Those that follow each other without a word between, as annotations follow parameters, form a chain; the
    last chain is the declarator's, and its first member the name unless it looks like an annotation itself.
    """
    chain = [groups[-1]]
    for index in reversed(groups[:-1]):
        if top[index + 2 : chain[0]] and any(token.text not in ("(", ")") for token in top[index + 2 : chain[0]]):
            break
        chain.insert(0, index)
    plain = [index for index in chain if not _ANNOTATION.match(top[index].text)]
    return plain[0] if plain and _typed(top[: plain[0]]) else chain[0]


def _typed(before: Sequence[Token]) -> bool:
    """Whether a type stands among the tokens before a name."""
    return any(token.kind == "word" and token.text not in ("static", "inline", "extern") for token in before)


def _is_wrapped(top: Sequence[Token], index: int, inside: Sequence[Token]) -> bool:
    """Whether `NAME(inside)(…)`: the parentheses hold the declarator, as in `int (f)(int)`."""
    return len(top) > index + 3 and top[index + 3].text == "(" and len(inside) == 1


def _wrapped_name(inside: Sequence[Token]) -> str:
    words = [i for i, token in enumerate(inside) if token.kind == "word"]
    called = [i for i in words if i + 1 < len(inside) and inside[i + 1].text == "("]
    return inside[(called or words)[0]].text if words else ""


def _first_argument(inside: Sequence[Token]) -> str:
    """The first macro argument as a name: `foo` of `(foo, int, a)`, and of `(_foo, …)` `_foo`."""
    return next((token.text for token in inside if token.kind == "word"), "")


def _type_name(words: Sequence[str]) -> str:
    """The tag of `struct NAME … {`, "" where there is none."""
    for keyword in ("struct", "union", "enum", "class"):
        if keyword in words:
            rest = words[words.index(keyword) + 1 : words.index("{")]
            tags = [word for word in rest if _IDENTIFIER.fullmatch(word) and word not in _ATTRIBUTES]
            return next((tag for tag in reversed(tags) if not tag.startswith("__")), tags[-1] if tags else "")
    return ""


def _last_word(top: Sequence[Token]) -> str:
    words = [token.text for token in top if token.kind == "word" and token.text not in _ATTRIBUTES]
    return words[-1] if words else ""


def _object(opened: _Open, *, has_type: bool) -> tuple[Kind, str]:
    """What a declaration declares that is neither a function with a body nor a type; the name may be ""."""
    top = opened.top
    words = [token.text for token in top]
    end = words.index("=") if "=" in words else len(top)
    groups = [i for i in _groups(top[:end]) if words[i] not in _ATTRIBUTES]
    if groups and not has_type:
        index = _name_group(top[:end], groups)
        inside = _inside(opened.all, top[index])
        if words[index] in _TYPES or (inside and inside[0].text == "*"):
            return "variable", _wrapped_name(inside)
        if index == 0 and end == len(top):
            return "invocation", f"{words[0]}({_first_argument(inside)})"
        if _MACRO_NAME.match(words[index]) and not _typed(top[:index]):
            return "variable", _first_argument(inside)
        if end == len(top) and not _ANNOTATION.match(words[index]):
            return "declaration", words[index]
    start = words.index("}") + 1 if has_type and "}" in words else 0
    return "variable", _declared(top[start:end], has_type=has_type)


def _declared(tokens: Sequence[Token], *, has_type: bool) -> str:
    """The name that the words before an initialiser declare; annotations may stand before and behind it."""
    names = [t.text for t in tokens if t.kind == "word" and t.text not in _ATTRIBUTES]
    plain = [name for name in names if not _ANNOTATION.match(name)]
    if has_type:
        return plain[-1] if plain else ""
    typed = (
        len(plain) == 1
        or plain[-1:] == []
        or plain[-1] in _TYPES | _STORAGE
        or plain[-2:-1] in (["struct"], ["enum"])
    )
    after = names[names.index(plain[-1]) + 1 :] if plain else names[1:]
    return after[0] if typed and after else (plain or names or [""])[-1]
