"""A strict reader of shell commands: what can't be proved equal to a plain list of words is refused.

It knows the part of POSIX's "Shell Command Language" that build systems use for compile commands: words, the
three kinds of quotes, and lists joined by `;` and `&&`.  Nothing is ever given to a shell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r]+|\\\n)
    | (?P<operator>&&|\|\||;;|[;&|()<>\n])
    | (?P<plain>[^\s'"\\$`&|;()<>*?\[\]{}#~!]+)
    | '(?P<single>[^']*)'
    | "(?P<double>(?:[^"\\$`]|\\(?:.|\n))*)"
    | \\(?P<escaped>.)
    | (?P<inner>[~#!\]])
    | (?P<trick>.)
    """,
    re.VERBOSE,
)
# Whatever needs the careful reader outside single quotes.
_SPECIAL = re.compile(r'["\\$`;&|()<>*?\[{}\n]|(?<!\S)[~#!]')
# What `\` does between double quotes: it escapes these and is itself kept before any other character.
_ESCAPED_IN_DOUBLE = re.compile(r'\\(["\\$`]|\n)')
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_NAMES = {
    "$": "a variable or command substitution",
    "`": "a command substitution",
    "*": "a file name pattern",
    "?": "a file name pattern",
    "[": "a file name pattern",
    "{": "a brace expansion",
    "}": "a brace expansion",
    "'": "a quote without an end",
    '"': "a quote without an end, or with a substitution inside",
    "\\": "a backslash at the end",
    "~": "a home folder",
    "#": "a comment",
    "!": "a negation",
}


class ShellTrickError(ValueError):
    """The text needs a shell to be understood; `str()` says where and what."""


@dataclass(frozen=True, slots=True)
class Simple:
    """One simple command: its words, and the operators before and after it ("" at either end)."""

    words: tuple[str, ...]
    before: str
    after: str


def split_words(text: str) -> tuple[str, ...]:
    """The words of `text`, which must be one plain command; raises `ShellTrickError` where it is not."""
    commands = split_commands(text)
    if len(commands) != 1 or commands[0].after:
        raise ShellTrickError("more than one command" if commands else "no command")
    return commands[0].words


def split_commands(text: str) -> list[Simple]:
    """The simple commands of `text` in order; raises `ShellTrickError` at the first thing that is not plain.

    Operators are kept as they stand, so that a caller can refuse a command that is in a pipe or redirected.
    """
    plain = _split_plain(text)
    if plain is not None:
        return [Simple(plain, "", "")] if plain else []
    commands: list[Simple] = []
    words: list[str] = []
    word: list[str] | None = None
    before = ""
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind in ("space", "operator"):
            if word is not None:
                words.append("".join(word))
                word = None
            if kind == "operator":
                operator = match["operator"]
                if words:
                    commands.append(Simple(tuple(words), before, operator))
                before, words = operator, []
            continue
        piece = _piece(match, at_start=word is None)
        word = [piece] if word is None else [*word, piece]
    if word is not None:
        words.append("".join(word))
    if words:
        commands.append(Simple(tuple(words), before, ""))
    return commands


def _split_plain(text: str) -> tuple[str, ...] | None:
    """The words of a line of plain characters and single quotes; None for what the careful reader must see.

    Nearly every recorded command is such a line, and a kernel has megabytes of them.
    """
    pieces = text.split("'")
    if len(pieces) % 2 == 0 or any(_SPECIAL.search(piece) for piece in pieces[::2]):
        return None
    words: list[str] = []
    joined = False  # whether the next piece goes on with the last word
    for index, piece in enumerate(pieces):
        parts = [piece] if index % 2 else piece.split()
        if joined and parts and (index % 2 or not piece[0].isspace()):
            words[-1] += parts.pop(0)
        words += parts
        joined = bool(index % 2) or (not piece and joined) or (bool(piece) and not piece[-1].isspace())
    return tuple(words)


def _piece(match: re.Match[str], *, at_start: bool) -> str:
    """The characters that one token adds to its word."""
    kind = match.lastgroup
    if kind == "double":
        return _ESCAPED_IN_DOUBLE.sub(lambda m: "" if m[1] == "\n" else m[1], match["double"])
    if kind == "trick" or (kind == "inner" and at_start and match["inner"] != "]"):
        character = match[0]
        raise ShellTrickError(f"column {match.start() + 1}: {_NAMES.get(character, repr(character))}")
    return match[kind] if kind else ""


def is_assignment(word: str) -> bool:
    """Whether a shell takes `word`, at the start of a command, for a variable assignment."""
    return _ASSIGNMENT.match(word) is not None
