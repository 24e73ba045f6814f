"""Where a C++ function stands in preprocessed text, found from the place of its name that a compiler tells.

Nothing is parsed that a compiler knows better: from the name on, parameters and what follows them are skipped
bracket by bracket to the brace of the body (C++20, [dcl.fct.def.general]); backwards, to where the declaration
starts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from klpkit.build.csource import lexemes

_BLANK = frozenset({"blank", "newline", "comment", "directive"})
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_ENDS = frozenset({";", "{", "}"})
_CONSTANT = frozenset({"constexpr", "consteval"})
_ALWAYS_INLINE = frozenset({"always_inline", "__always_inline__"})
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Head:
    """A function definition: offsets where an attribute goes and of its body's braces, and the words before it.

    `constant` are the offsets of words that let the front end compute its calls.
    """

    name: int
    opening: int
    closing: int
    words: frozenset[str]
    constant: tuple[int, ...]

    @property
    def always_inline(self) -> bool:
        return bool(self.words & _ALWAYS_INLINE)


class CxxText:
    """Preprocessed C++ text, in tokens with their offsets."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        self.offsets: list[int] = []
        self.lines = _line_offsets(text)
        offset = 0
        for kind, token, _ in lexemes(text):
            if kind not in _BLANK:
                self.tokens.append(token)
                self.offsets.append(offset)
            offset += len(token)

    def offset(self, line: int, column: int) -> int:
        """The offset of a place as a compiler counts, from 1."""
        return self.lines[line - 1] + column - 1 if 0 < line <= len(self.lines) else -1

    def line_of(self, offset: int) -> int:
        """The line, from 1, of an offset."""
        return bisect_right(self.lines, offset)

    def head_at(self, line: int, column: int) -> Head | None:
        """The definition whose name begins there; None where the text there is no function with a body."""
        offset = self.offset(line, column)
        index = bisect_left(self.offsets, offset)
        if index == len(self.offsets) or self.offsets[index] != offset:
            return None
        return self._head(index)

    def heads_in(self, line: int, name: str) -> list[Head]:
        """The definitions of functions called `name` whose name stands in that line."""
        first = bisect_left(self.offsets, self.offset(line, 1))
        last = bisect_left(self.offsets, self.lines[line]) if line < len(self.lines) else len(self.offsets)
        hits = [index for index in range(first, last) if self.tokens[index] == name]
        return [head for index in hits if (head := self._head(index)) is not None]

    def _head(self, index: int) -> Head | None:
        parameters = self._parameters(index)
        opening = self._body(parameters)
        if opening < 0:
            return None
        closing = min(self._skipped(opening), len(self.tokens)) - 1
        start = index
        while start > 0 and self.tokens[start - 1] not in _ENDS:
            start -= 1
        # A lambda has no name: its attributes follow its parameters.
        place = self._skipped(parameters) if self.tokens[index] == "[" else index
        return Head(
            self.offsets[place],
            self.offsets[opening],
            self.offsets[closing],
            frozenset(self.tokens[start:opening]),
            tuple(self.offsets[at] for at in range(start, opening) if self.tokens[at] in _CONSTANT),
        )

    def _parameters(self, index: int) -> int:
        """The position of the parenthesis that opens the parameters of the name at `index`, -1 if none."""
        last = min(index + _LONGEST_NAME, len(self.tokens))
        while index < last:
            token = self.tokens[index]
            if token == "operator" and self.tokens[index + 1 : index + 3] == ["(", ")"]:
                index += 3
            elif token == "<" and self.tokens[index - 1] not in ("operator", "<"):
                index = self._angle(index)
            elif token == "(":
                return index
            elif token in _ENDS or (token == "=" and self.tokens[index - 1] in (")", "]")):
                return -1
            else:
                index += 1
        return -1

    def _body(self, index: int) -> int:
        """The position of the body's brace behind the parameters that open at `index`, -1 if none."""
        if index < 0:
            return -1
        index = self._skipped(index)
        while index < len(self.tokens):
            token = self.tokens[index]
            if token == "{":
                return index
            if token in (";", "=", "}", ","):
                return -1
            if token == ":" and ":" not in (self.tokens[index - 1], *self.tokens[index + 1 : index + 2]):
                return self._after_initialisers(index + 1)
            index = self._skipped(index) if token in _CLOSING else index + 1
        return -1

    def _after_initialisers(self, index: int) -> int:
        """The brace behind a constructor's `a(1), b{2}`."""
        while index < len(self.tokens):
            token = self.tokens[index]
            if token in ("(", "{"):
                index = self._skipped(index)
                while self.tokens[index : index + 1] == ["."]:
                    index += 1
                if self.tokens[index : index + 1] != [","]:
                    return index if self.tokens[index : index + 1] == ["{"] else -1
                index += 1
            elif token == "<":
                index = self._angle(index)
            else:
                index += 1
        return -1

    def _skipped(self, index: int) -> int:
        """The position behind the bracket that closes the one at `index`."""
        stack = []
        while index < len(self.tokens):
            token = self.tokens[index]
            if token in _CLOSING:
                stack.append(_CLOSING[token])
            elif stack and token == stack[-1]:
                stack.pop()
            index += 1
            if not stack:
                break
        return index

    def _angle(self, index: int) -> int:
        """The position behind template arguments."""
        depth = 0
        while index < len(self.tokens):
            token = self.tokens[index]
            depth += (token == "<") - (token == ">")
            if depth == 0:
                return index + 1
            index = self._skipped(index) if token in _CLOSING else index + 1
        return index


def _line_offsets(text: str) -> list[int]:
    offsets, at = [0], text.find("\n")
    while at >= 0:
        offsets.append(at + 1)
        at = text.find("\n", at + 1)
    return offsets
