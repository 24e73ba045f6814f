"""A translation unit as the compiler's own preprocessor sees it: expanded text by source line, macros, includes.

Read from the output of `-E -dD` (GCC's and Clang's manuals, "Preprocessor Output"): line markers
`# LINE "FILE" FLAGS` where flag 1 enters a file and 2 returns to one, and all `#define` lines in their places.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.build.replays import replay
from klpkit.errors import FormatError

_LINE = re.compile(
    r"""^\#(?:\ (?P<line>\d+)\ "(?P<file>(?:[^"\\\n]|\\.)*)"(?P<flags>(?:\ \d)*)$
      |\s*(?P<what>define|undef)\ (?P<name>[A-Za-z_$][\w$]*).*$)""",
    re.VERBOSE | re.MULTILINE,
)
_DIRECTIVE = re.compile(r"^#.*$", re.MULTILINE)
# Where Kbuild and command lines define the options of a configuration.
_CONFIGURATION = re.compile(r"(?:^|/)include/generated/autoconf\.h$|<command-line>$")
_WORD = re.compile(r"[A-Za-z_$][\w$]*")


@dataclass(frozen=True, slots=True)
class Macro:
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
    """What `preprocess` found.

    `macros` has all definitions of a name in their order, the command line's too; `undefined` are the names that
    lose theirs somewhere.  `local` are the source and the `.c` files that it includes, in the order in which what
    they declare comes.
    """

    source: str
    text: str = field(default="", repr=False)
    pieces: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)
    """Of each file, as far as something is left of it: its first line, and where `text` has it (begin, end)."""
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
            for number, line in enumerate(self.text[begin:end].split("\n"), first)
            if line and line[0] != "#" and not line.isspace()
        ]

    def left(self, file: str) -> str:
        """What is left of `file`, without directives."""
        text = "".join(self.text[begin:end] for _, begin, end in self.pieces.get(file, ()))
        return _DIRECTIVE.sub("", text) if "#" in text else text

    def words(self, file: str) -> frozenset[str]:
        """The identifiers in what is left of `file`."""
        if file not in self._words:
            self._words[file] = frozenset(_WORD.findall(self.left(file)))
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


def preprocess(unit: TranslationUnit) -> Preprocessed:
    """Run the unit's own command as a preprocessor and read what it says."""
    with tempfile.TemporaryDirectory(prefix="klpkit-extract-") as folder:
        done = replay(unit, workdir=Path(folder), extra=("-E", "-dD"), output="expanded.i")
        text = done.object.read_text(errors="surrogateescape")
    return read_preprocessed(text, unit.source_argument)


def read_preprocessed(text: str, source: str) -> Preprocessed:
    """`text` is a preprocessor's output for `source`, spelled as in the command."""
    reader = _Reader(text, source)
    reader.read()
    if not reader.entered:
        raise FormatError(source, "preprocessor output", "no line marker names the source")
    # What an included `.c` file declares comes before what follows its include.
    reader.found.local.append(source)
    return reader.found


class _Reader:
    """Follows the line markers; `here` is the current file, `number` the line there of what `place` points to."""

    def __init__(self, text: str, source: str) -> None:
        self.found = Preprocessed(source, text)
        self.text, self.source = text, source
        self.here, self.number, self.place = "", 0, 0
        self.entered = False
        self.locals = {source}
        self.include: Include | None = None
        self.seen: set[str] = set()

    def read(self) -> None:
        began = (0, 0)
        for match in _LINE.finditer(self.text):
            self.number += self.text.count("\n", self.place, match.start())
            self.place = match.start()
            if match["name"]:
                self._directive(match)
                continue
            self._piece(*began, match.start())
            file = match["file"].replace("\\\\", "\\").replace('\\"', '"')
            self._marker(int(match["line"]), file, match["flags"].split())
            self.place = min(match.end() + 1, len(self.text))
            began = (self.number, self.place)
        self._piece(*began, len(self.text))

    def _piece(self, number: int, begin: int, end: int) -> None:
        if end > begin and not self.text[begin:end].isspace():
            self.found.pieces.setdefault(self.here, []).append((number, begin, end))

    def _marker(self, number: int, file: str, flags: list[str]) -> None:
        self.entered = self.entered or file == self.source
        if "1" in flags:
            self._enter(file)
        elif "2" in flags and file in self.locals and self.include is not None:
            self.include.line = number - 1
            self.include = None
        elif "2" in flags and file in self.locals and self.here in self.locals:
            self.found.included[self.here] = (file, number - 1)
        self.here, self.number = file, number

    def _enter(self, file: str) -> None:
        if self.here in self.locals and file.endswith(".c"):
            self.locals.add(file)
            self.found.local.append(file)
        elif self.here in self.locals:
            self.include = Include(self.here, self.number, file)
            self.found.includes.append(self.include)
        if self.include is not None and file not in self.seen:
            self.include.files.append(file)
        self.seen.add(file)

    def _directive(self, match: re.Match[str]) -> None:
        name = match["name"]
        if match["what"] == "undef":
            self.found.undefined.add(name)
        else:
            self.found.macros.setdefault(name, []).append(Macro(name, match[0], self.here, self.number))
