"""`#if … #endif` in source text, and which of them the kernel's configuration settles.

Options (`CONFIG_…`) are defined before the first line of a source and never change after it, so that a condition
on nothing but options has one answer in the whole unit (`include/linux/kconfig.h` has the macros for them).  What
a condition on anything else yields depends on where it stands: those stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

# What can hide a directive, and directives themselves; nothing else begins with these characters.
_PIECE = re.compile(
    r"""(?P<directive>(?m:^)[ \t]*\#(?:/\*.*?\*/|//[^\n]*|\\\r?\n|[^\n])*)
      |/\*.*?(?:\*/|\Z)|//(?:[^\n\\]|\\(?:.|\n))*
      |"(?:[^"\\\n]|\\(?:.|\n))*"?|'(?:[^'\\\n]|\\(?:.|\n))*'?""",
    re.VERBOSE | re.DOTALL,
)
_CONDITIONAL = re.compile(r"\s*#\s*(ifdef|ifndef|if|elifdef|elifndef|elif|else|endif)\b(.*)", re.DOTALL)
_LAYOUT = re.compile(r"/\*.*?\*/|//.*|\\\n", re.DOTALL)
_WORD = re.compile(r"\w+|&&|\|\||[!()]|[^\s\w]")
_OPTION = re.compile(r"CONFIG_\w+$")
# kconfig.h: macro → what is appended to the option's name to ask whether that is defined.
_ASKING = {"defined": ("",), "IS_ENABLED": ("", "_MODULE"), "IS_BUILTIN": ("",), "IS_MODULE": ("_MODULE",)}
_NAMED = {"ifdef": "defined({})", "elifdef": "defined({})", "ifndef": "!defined({})", "elifndef": "!defined({})"}

Options = Callable[[str], bool | None]
"""Whether an option is defined; None where that may change within the unit."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One directive of a conditional, on lines `first` to `last` (from 1), and what it asks; "" for `#endif`."""

    first: int
    last: int
    condition: str


Conditional = Sequence[Branch]
"""From `#if` to `#endif`; each branch reaches to the next directive."""


def conditionals(text: str) -> Iterator[Conditional]:
    """The complete conditionals of `text`, inner ones first."""
    opened: list[list[Branch]] = []
    line, place = 1, 0
    for match in _PIECE.finditer(text):
        line += text.count("\n", place, match.start())
        place = match.start()
        if not match["directive"] or not (directive := _CONDITIONAL.match(match[0])):
            continue
        word, rest = directive[1], " ".join(_LAYOUT.sub(" ", directive[2]).split())
        branch = Branch(line, line + match[0].count("\n"), _condition(word, rest))
        if word.startswith("if"):
            opened.append([branch])
        elif opened:
            opened[-1].append(branch)
            if word == "endif":
                yield opened.pop()


def _condition(word: str, rest: str) -> str:
    if word in ("else", "endif"):
        return "1" if word == "else" else ""
    return _NAMED.get(word, "{}").format(rest)


def settled(conditional: Conditional, options: Options) -> list[tuple[int, int]] | None:
    """The lines (first, last) that the compiler leaves out, directives included; what stays is the branch taken.

    None where `options` don't say.
    """
    gone, taken = [], False
    for branch, following in pairwise(conditional):
        answer = False if taken else _Reader(branch.condition, options).answer()
        if answer is None:
            return None
        gone.append((branch.first, branch.last if answer else following.first - 1))
        taken = taken or answer
    return [*gone, (conditional[-1].first, conditional[-1].last)]


class _Reader:
    """A condition of options: `!`, `&&`, `||`, brackets; each part is true, false or unknown (None)."""

    def __init__(self, text: str, options: Options) -> None:
        self.words = _WORD.findall(text)[::-1]
        self.options = options

    def answer(self) -> bool | None:
        found = self._either()
        return None if self.words else found

    def _take(self, *wanted: str) -> str:
        return self.words.pop() if self.words and (not wanted or self.words[-1] in wanted) else ""

    def _either(self) -> bool | None:
        found = self._both()
        while self._take("||"):
            found = _either(found, self._both())
        return found

    def _both(self) -> bool | None:
        found = self._one()
        while self._take("&&"):
            found = _not(_either(_not(found), _not(self._one())))
        return found

    def _one(self) -> bool | None:
        if self._take("!"):
            return _not(self._one())
        if self._take("("):
            found = self._either()
            return found if self._take(")") else None
        word = self._take()
        if word in ("0", "1"):
            return word == "1"
        return self._asked(word) if word in _ASKING else None

    def _asked(self, macro: str) -> bool | None:
        bracket = self._take("(")
        name = self._take()
        if not _OPTION.match(name) or (bracket and not self._take(")")):
            return None
        found: bool | None = False
        for suffix in _ASKING[macro]:
            found = _either(found, self.options(name + suffix))
        return found


def _not(answer: bool | None) -> bool | None:
    return None if answer is None else not answer


def _either(one: bool | None, other: bool | None) -> bool | None:
    if one or other:
        return True
    return None if one is None or other is None else False
