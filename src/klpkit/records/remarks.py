"""One document of Clang's optimisation records: the small, regular part of YAML that LLVM writes.

LLVM's `YAMLRemarkSerializer` prints each remark as a document

    --- !Passed
    Pass:            inline
    Name:            Inlined
    DebugLoc:        { File: a.c, Line: 11, Column: 26 }
    Function:        user1
    Args:
      - Callee:          always
        DebugLoc:        { File: a.c, Line: 4, Column: 0 }
    ...

with the scalar styles plain, single quoted, double quoted and block literal, and flow maps that wrap after a
comma.  Anything else is refused: a YAML library would take it, but LLVM would not have written it.  The format is
described in https://llvm.org/docs/Remarks.html.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from klpkit.records.model import Location

KINDS = frozenset({"Passed", "Missed", "Analysis", "AnalysisFPCommute", "AnalysisAliasing", "Failure"})
"""Every tag that LLVM gives to a remark; only `Passed` tells of code that was changed."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One piece of a remark's text: key (`String`, `Callee`…), value, and where what it names is defined."""

    key: str
    value: str
    where: Location | None = None


@dataclass(frozen=True, slots=True)
class Remark:
    """One remark.  `name` and `pass_name` are LLVM's; `function` is the assembler name the remark is about."""

    kind: str
    pass_name: str
    name: str
    function: str
    where: Location | None = None
    args: tuple[Argument, ...] = ()

    def argument(self, key: str) -> Argument | None:
        """The first argument with `key`."""
        return next((argument for argument in self.args if argument.key == key), None)


class RemarkSyntaxError(ValueError):
    """A document that is not as LLVM writes it; `offset` is where in its text, in characters."""

    def __init__(self, offset: int, problem: str) -> None:
        super().__init__(problem)
        self.offset = offset
        self.problem = problem


_SINGLE = re.compile(r"'((?:[^']|'')*)'")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
# LLVM quotes whatever holds another character than `[A-Za-z0-9_^., -]`; a few harmless ones more are taken.
_PLAIN = re.compile(r"[\w.^/$][\w.^,/$+()\t -]*", re.ASCII)
# A comma ends a value within braces only before a space: LLVM leaves a file named `a,b.c` without quotes.
_FLOW_PLAIN = re.compile(r"[\w.^/$](?:[\w.^/$+()\t -]|,(?![ \n]))*", re.ASCII)
_KEY = re.compile(r"""('(?:[^'\n]|'')*'|"(?:[^"\\\n]|\\.)*"|[\w.^/$][\w.^/$ -]*):(?= |\n)""", re.ASCII)
_HEAD = re.compile(r"--- !(\w+)\n")
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|\n[ \t]*|.)", re.DOTALL)
_FOLD = re.compile(r"[ \t]*\n((?:[ \t]*\n)*)[ \t]*")
# The one-letter escapes of YAML 1.2, section 5.7.
_LETTERS = {
    **dict(zip('0abtnvfre "/\\', '\0\a\b\t\n\v\f\r\x1b "/\\', strict=True)),
    "N": "\x85",
    "_": "\xa0",
    "L": "\u2028",
    "P": "\u2029",
    "\t": "\t",
}


def parse_remark(text: str) -> Remark:
    """The remark in `text`, which starts with its `--- !Kind` line and has no `...` line.

    Raises `RemarkSyntaxError` for anything that LLVM would not have written.
    """
    return _Reader(text).remark()


class _Reader:
    """A cursor over the text of one document."""

    def __init__(self, text: str) -> None:
        self.text = text if text.endswith("\n") else text + "\n"
        self.at = 0

    def remark(self) -> Remark:
        head = _HEAD.match(self.text)
        if not head or head[1] not in KINDS:
            raise self.wrong("expected '--- !' and the kind of a remark")
        self.at = head.end()
        fields: dict[str, str] = {}
        where: Location | None = None
        args: tuple[Argument, ...] = ()
        while self.at < len(self.text):
            start, key = self.at, self.key()
            if key in fields:
                self.at = start
                raise self.wrong(f"{key} is given twice")
            fields[key] = ""
            if key == "Args":
                args = self.arguments()
            elif key == "DebugLoc":
                where = self.location()
            else:
                fields[key] = self.scalar(0)
        for needed in ("Pass", "Name", "Function"):
            if needed not in fields:
                raise self.wrong(f"the document has no {needed}")
        return Remark(head[1], fields["Pass"], fields["Name"], fields["Function"], where, args)

    def arguments(self) -> tuple[Argument, ...]:
        """The list below `Args:`: each item one key with its value, then perhaps a `DebugLoc` map."""
        if self.take("[]\n"):
            return ()
        self.need("\n", "the arguments on lines of their own")
        args: list[Argument] = []
        while self.take("  - "):
            key = self.key()
            if key == "DebugLoc" and self.peek() == "{":
                raise self.wrong("expected a value; an argument does not start with a place")
            value = self.scalar(4)
            where = None
            if self.take("    DebugLoc:"):
                self.blanks()
                where = self.location()
            args.append(Argument(key, value, where))
        return tuple(args)

    def key(self) -> str:
        found = _KEY.match(self.text, self.at)
        if not found:
            raise self.wrong("expected a key and a colon")
        self.at = found.end()
        self.blanks()
        return _unquoted(found[1])

    def scalar(self, indent: int) -> str:
        """The scalar at the cursor up to and with the end of its line."""
        first = self.peek()
        if first == "|":
            return self.block(indent)
        if first in "'\"":
            value = self.quoted()
        elif first == "\n":
            raise self.wrong("expected a value")
        else:
            found = _PLAIN.match(self.text, self.at)
            if not found:
                raise self.wrong("expected a value")
            self.at = found.end()
            value = found[0].rstrip(" \t")
        self.need("\n", "the end of the line after a value; others would be in quotes")
        return value

    def quoted(self) -> str:
        pattern = _SINGLE if self.peek() == "'" else _DOUBLE
        found = pattern.match(self.text, self.at)
        if not found:
            raise self.wrong("the quote is not closed")
        try:
            value = _unquoted(found[0])
        except ValueError as error:
            raise self.wrong(str(error)) from None
        self.at = found.end()
        return value

    def block(self, indent: int) -> str:
        """A block literal: the lines that are indented further than `indent`, without their indentation."""
        if not self.take("|\n"):
            raise self.wrong("expected '|' alone")
        lines: list[str] = []
        margin = 0
        while self.at < len(self.text):
            end = self.text.index("\n", self.at)
            line = self.text[self.at : end]
            width = len(line) - len(line.lstrip(" "))
            if line.strip(" "):
                margin = margin or width
                if margin <= indent or width < margin:
                    break
            lines.append(line[margin:])
            self.at = end + 1
        return "\n".join(lines).rstrip("\n") + "\n" if any(lines) else ""

    def location(self) -> Location | None:
        """`{ File: …, Line: …, Column: … }`; None where LLVM says line 0 of no file."""
        self.need("{", "a place in braces")
        values: dict[str, str] = {}
        while True:
            self.skip_space()
            key = self.key()
            values[key] = self.flow_scalar()
            self.skip_space()
            if not self.take(","):
                break
        self.need("}", "the closing brace")
        self.blanks()
        self.need("\n", "the end of the line")
        if set(values) != {"File", "Line", "Column"} or not (values["Line"] + values["Column"]).isdecimal():
            raise self.wrong("a place has a File, a Line and a Column")
        place = Location(values["File"], int(values["Line"]), int(values["Column"]))
        return place if place.file else None

    def flow_scalar(self) -> str:
        if self.peek() in "'\"":
            return self.quoted()
        found = _FLOW_PLAIN.match(self.text, self.at)
        if not found:
            raise self.wrong("expected a value")
        self.at = found.end()
        return found[0].rstrip(" \t")

    def peek(self) -> str:
        return self.text[self.at : self.at + 1] or "\n"

    def take(self, word: str) -> bool:
        if self.text.startswith(word, self.at):
            self.at += len(word)
            return True
        return False

    def need(self, word: str, what: str) -> None:
        if not self.take(word):
            raise self.wrong(f"expected {what}")

    def blanks(self) -> None:
        while self.peek() == " ":
            self.at += 1

    def skip_space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \n":
            self.at += 1

    def wrong(self, problem: str) -> RemarkSyntaxError:
        return RemarkSyntaxError(min(self.at, len(self.text) - 1), problem)


def _unquoted(word: str) -> str:
    """The value of a scalar in one of the three styles of a line; `ValueError` for an unknown escape."""
    if word.startswith("'"):
        return _FOLD.sub(_folded, word[1:-1]).replace("''", "'")
    if word.startswith('"'):
        # Line folding must not touch what an escape makes, and `\` at the end of a line takes the line break away.
        pieces = re.split(r"(\\(?:\n[ \t]*|.))", word[1:-1], flags=re.DOTALL)
        folded = "".join(p if p.startswith("\\") else _FOLD.sub(_folded, p) for p in pieces)
        return _ESCAPE.sub(_unescaped, folded)
    return word.rstrip(" \t")


def _folded(found: re.Match[str]) -> str:
    """YAML's line folding: one line break is a space, n more are n line breaks."""
    return "\n" * found[1].count("\n") or " "


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    if code[0] in "xuU" and len(code) > 1:
        number = int(code[1:], 16)
        if number > 0x10FFFF:
            raise ValueError(f"\\{code} is no character")
        return chr(number)
    if code[0] == "\n":
        return ""
    if code not in _LETTERS:
        raise ValueError(f"unknown escape \\{code}")
    return _LETTERS[code]
