"""Line directives that give the unchanged lines of a patched file their old numbers.

A change of `__LINE__` alone would make code differ: it is an argument of warnings and assertions.  `#line`
(C17 6.10.4) stands only where a directive may: between statements or declarations, outside of comments, continued
lines and the arguments of macros.  Where no such place follows a hunk at once, lines keep their shifted numbers
until one does, and the diff sees through what is left.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from klpkit.build.csource import lexemes

_CONDITIONAL = re.compile(r"\s*#\s*(if|elif|else|endif)")
_OWN_LINES = re.compile(r"^\s*#\s*(?:line\b|\d)", re.MULTILINE)
_SUFFIXES = (".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".inc")
# A statement or a declaration is complete after these.
_COMPLETE = frozenset({"", ";", "{", "}"})


def with_line_directives(original: str, patched: str, name: str = "x.c") -> str:
    """`patched` with directives; unchanged where `name` is no C file or numbers its lines itself."""
    if not name.endswith(_SUFFIXES) or _OWN_LINES.search(patched):
        return patched
    wanted = _old_numbers(original.split("\n"), patched.split("\n"))
    return "\n".join(_numbered(patched, wanted))


def _old_numbers(original: list[str], patched: list[str]) -> list[int]:
    """For each line of `patched` the number of the same line in `original`, 0 for one that is new.

    Lines at the top that are in both need no matching, and are most of a large file.
    """
    same = next((i for i, (a, b) in enumerate(zip(original, patched, strict=False)) if a != b), None)
    same = min(len(original), len(patched)) if same is None else same
    numbers = [*range(1, same + 1), *([0] * (len(patched) - same))]
    # An empty line must not be what the sides are matched by.
    matcher = difflib.SequenceMatcher(lambda text: not text.strip(), original[same:], patched[same:])
    for old, new, size in matcher.get_matching_blocks():
        numbers[same + new : same + new + size] = range(same + old + 1, same + old + size + 1)
    return numbers


def _numbered(patched: str, wanted: list[int]) -> Iterator[str]:
    """The lines of `patched` and the directives between them."""
    places = _Places(patched)
    number, sure = 1, True
    touched: list[bool] = []  # for each open conditional, whether a directive stands in one of its branches
    for line, text in enumerate(patched.split("\n"), 1):
        old = wanted[line - 1]
        if old and (old != number or not sure) and line in places.legal:
            yield f"#line {old}"
            number, sure = old, True
            touched = [True] * len(touched)
        yield text
        word = places.conditionals.get(line)
        if word == "if":
            touched.append(False)
        elif word and touched:
            # What stands in a branch that is skipped has no effect after it.
            sure = sure and not touched[-1]
            if word == "endif":
                touched.pop()
        number += 1


@dataclass(slots=True)
class _Level:
    """What is open at some place of a file: brackets, and the last token before it."""

    depth: int = 0
    last: str = ""
    known: bool = True


@dataclass(slots=True)
class _Branches:
    """A conditional: what was open before it, and how deep its branches ended."""

    before: tuple[int, str]
    ends: list[int] = field(default_factory=list)


class _Places:
    """`legal`: lines before which a directive may stand; `conditionals`: line → if, elif, else or endif."""

    def __init__(self, text: str) -> None:
        self.legal = {1}
        self.conditionals: dict[int, str] = {}
        self._level = _Level()
        self._open: list[_Branches] = []
        self._at_start = True
        for kind, token, line in lexemes(text):
            self._take(kind, token, line)

    def _take(self, kind: str, token: str, line: int) -> None:
        level = self._level
        if kind == "newline":
            if level.known and not level.depth and level.last in _COMPLETE:
                self.legal.add(line + 1)
        elif kind == "directive":
            if match := _CONDITIONAL.match(token):
                # The line after a directive counts: that is where its effect begins.
                self.conditionals[line + token.count("\n")] = match[1]
                self._conditional(match[1])
        elif kind not in ("blank", "comment"):
            level.last = token
            level.depth += (token in "([" and kind == "mark") - (token in ")]" and kind == "mark")
            if token == "}" and (level.depth < 0 or self._at_start):
                level.depth, level.known = 0, True  # the end of a function, whatever was open before
        self._at_start = kind == "newline"

    def _conditional(self, word: str) -> None:
        level = self._level
        if word == "if":
            self._open.append(_Branches((level.depth, level.last)))
        elif self._open:
            branches = self._open[-1]
            branches.ends.append(level.depth)
            if word != "endif":
                level.depth, level.last = branches.before
                return
            self._open.pop()
            # Branches that open different brackets leave unknown what is open after them, until a body ends.
            level.known = level.known and len(set(branches.ends)) == 1
