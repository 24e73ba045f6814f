"""A translation unit as the compiler's own preprocessor sees it: expanded text by source line, macros, includes.

Read from the output of `-E -dD` (GCC's and Clang's manuals, "Preprocessor Output"): line markers
`# LINE "FILE" FLAGS` where flag 1 enters a file and 2 returns to one, and all `#define` lines in their places.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from klpkit.build.command import TranslationUnit
from klpkit.build.replays import replay
from klpkit.errors import FormatError

_MARKER = re.compile(r"""# (?P<line>\d+) "(?P<file>(?:[^"\\]|\\.)*)"(?P<flags>(?: \d)*)$""")
# Where Kbuild and command lines define the options of a configuration.
_CONFIGURATION = re.compile(r"(?:^|/)include/generated/autoconf\.h$|<command-line>$")
_WORD = re.compile(r"[A-Za-z_$][\w$]*")
_BETWEEN_WORDS = {code: " " for code in range(128) if not (chr(code).isalnum() or chr(code) in "_$")}


class Macro(NamedTuple):
    """One definition of a macro, with the file and line where it stands."""

    name: str
    text: str
    file: str
    line: int

    @property
    def words(self) -> list[str]:
        """The identifiers of its parameters and body."""
        return _WORD.findall(self.text)[2:]


@dataclass(slots=True)
class Include:
    """An `#include` in a local file: where it stands, what it names, and every file that came in with it first."""

    origin: str
    line: int
    file: str
    files: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Preprocessed:
    """What `read_preprocessed` found.

    `macros` has all definitions of a name in their order, the command line's too; `undefined` are the names that
    lose theirs somewhere.  `local` are the source and the `.c` files that it includes, in the order in which what
    they declare comes.
    """

    source: str
    lines: list[str] = field(default_factory=list, repr=False)
    pieces: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)
    """Of each file, as far as something is left of it: its first line, and where `lines` has it (begin, end)."""
    local: list[str] = field(default_factory=list)
    macros: dict[str, list[Macro]] = field(default_factory=dict)
    undefined: set[str] = field(default_factory=set)
    includes: list[Include] = field(default_factory=list)
    included: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Where each local file but the source is included: file → (file, line)."""
    _words: dict[str, frozenset[str]] = field(default_factory=dict)

    def expanded(self, file: str) -> list[tuple[int, str]]:
        """(line, text) of what is left of `file`."""
        return [
            (number, line)
            for first, begin, end in self.pieces.get(file, ())
            for number, line in enumerate(self.lines[begin:end], first)
            if line and line[0] != "#" and not line.isspace()
        ]

    def left(self, file: str) -> str:
        """What is left of `file`, without directives."""
        pieces = self.pieces.get(file, ())
        return "\n".join([line for _, begin, end in pieces for line in self.lines[begin:end] if line[:1] != "#"])

    def words(self, file: str) -> frozenset[str]:
        """The identifiers, and the numbers, in what is left of `file`."""
        if file not in self._words:
            self._words[file] = frozenset(self.left(file).translate(_BETWEEN_WORDS).split())
        return self._words[file]

    @property
    def templates(self) -> list[str]:
        """The headers that local files include several times and that leave text each time."""
        again = {include.file for include in self.includes if not include.files}
        places = {file: {place[0] for place in self.pieces.get(file, ())} for file in again}
        return sorted(file for file, lines in places.items() if len(lines) < len(self.pieces.get(file, ())))

    def option(self, name: str) -> bool | None:
        """Whether the configuration defines the option `name`; None where the unit's own files do or undo it."""
        if name in self.undefined:
            return None
        definitions = self.macros.get(name, ())
        if all(_CONFIGURATION.search(macro.file) for macro in definitions):
            return bool(definitions)
        return None


def expand(unit: TranslationUnit) -> list[str]:
    """The lines that the unit's own command prints as a preprocessor."""
    with tempfile.TemporaryDirectory(prefix="klpkit-extract-") as folder:
        done = replay(unit, workdir=Path(folder), extra=("-E", "-dD"), output="expanded.i")
        with done.object.open(errors="surrogateescape") as lines:
            return [line.rstrip("\n") for line in lines]


def read_preprocessed(lines: list[str], source: str) -> Preprocessed:
    """`lines` are a preprocessor's output for `source`, spelled as in the command."""
    reader = _Reader(lines, source)
    reader.read()
    if not reader.entered:
        raise FormatError(source, "preprocessor output", "no line marker names the source")
    # What an included `.c` file declares comes before what follows its include.
    reader.found.local.append(source)
    return reader.found


class _Reader:
    """Follows the line markers; `here` is the current file, and the line `first` there is the one at `begin`."""

    def __init__(self, lines: list[str], source: str) -> None:
        self.found = Preprocessed(source, lines)
        self.lines, self.source = lines, source
        self.here, self.first, self.begin = "", 0, 0
        self.entered = False
        self.locals = {source}
        self.include: Include | None = None
        self.seen: set[str] = set()

    def read(self) -> None:
        for index in [index for index, line in enumerate(self.lines) if line[:1] == "#"]:
            line = self.lines[index]
            if line[:2] != "# ":
                self._directive(line, self.first + index - self.begin)
            elif marker := _MARKER.match(line):
                self._piece(index)
                file = marker["file"].replace("\\\\", "\\").replace('\\"', '"')
                self._marker(int(marker["line"]), file, marker["flags"].split(), self.first + index - self.begin)
                self.begin = index + 1
        self._piece(len(self.lines))

    def _piece(self, end: int) -> None:
        if any(line and not line.isspace() for line in self.lines[self.begin : end]):
            self.found.pieces.setdefault(self.here, []).append((self.first, self.begin, end))

    def _marker(self, number: int, file: str, flags: list[str], before: int) -> None:
        """The line `number` of `file` follows; `before` is that of the current file which would."""
        self.entered = self.entered or file == self.source
        if "1" in flags:
            self._enter(file, before)
        elif "2" in flags and file in self.locals and self.include is not None:
            self.include.line = number - 1
            self.include = None
        elif "2" in flags and file in self.locals and self.here in self.locals:
            self.found.included[self.here] = (file, number - 1)
        self.here, self.first = file, number

    def _enter(self, file: str, line: int) -> None:
        if self.here in self.locals and file.endswith(".c"):
            self.locals.add(file)
            self.found.local.append(file)
        elif self.here in self.locals:
            self.include = Include(self.here, line, file)
            self.found.includes.append(self.include)
        if self.include is not None and file not in self.seen:
            self.include.files.append(file)
        self.seen.add(file)

    def _directive(self, text: str, line: int) -> None:
        what, _, rest = text.partition(" ")
        name = rest.partition(" ")[0].partition("(")[0]
        if what == "#define":
            self.found.macros.setdefault(name, []).append(Macro(name, text, self.here, line))
        elif what == "#undef":
            self.found.undefined.add(name)
