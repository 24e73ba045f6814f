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

_MARKER = re.compile(r'# (\d+) "((?:[^"\\]|\\.)*)"((?: \d)*)$')
_DEFINE = re.compile(r"#\s*define ([A-Za-z_$][\w$]*)")
_UNDEFINE = re.compile(r"#\s*undef ([A-Za-z_$][\w$]*)")
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

    `expanded` has (line, text) of each file, as far as something is left of it; `macros` all definitions of a name
    in their order, the command line's too; `undefined` are the names that lose theirs somewhere.  `local` are the
    source and the `.c` files that it includes, in the order in which what they declare comes.
    """

    source: str
    local: list[str] = field(default_factory=list)
    expanded: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    macros: dict[str, list[Macro]] = field(default_factory=dict)
    undefined: set[str] = field(default_factory=set)
    includes: list[Include] = field(default_factory=list)
    included: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Where each local file but the source is included: file → (file, line)."""
    _words: dict[str, frozenset[str]] = field(default_factory=dict)

    def words(self, file: str) -> frozenset[str]:
        """The identifiers in what is left of `file`."""
        if file not in self._words:
            text = "\n".join(line for _, line in self.expanded.get(file, ()))
            self._words[file] = frozenset(_WORD.findall(text))
        return self._words[file]

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
    reader = _Reader(source)
    for line in text.split("\n"):
        reader.line(line)
    if not reader.entered:
        raise FormatError(source, "preprocessor output", "no line marker names the source")
    # What an included `.c` file declares comes before what follows its include.
    reader.found.local.append(source)
    return reader.found


class _Reader:
    """Follows the line markers; `here` is the current file, `number` the line there."""

    def __init__(self, source: str) -> None:
        self.found = Preprocessed(source)
        self.source = source
        self.here, self.number = "", 0
        self.entered = False
        self.locals = {source}
        self.include: Include | None = None
        self.seen: set[str] = set()

    def line(self, line: str) -> None:
        if line.startswith("# ") and (marker := _MARKER.match(line)):
            self._marker(int(marker[1]), marker[2].replace("\\\\", "\\").replace('\\"', '"'), marker[3].split())
            return
        if line.startswith("#"):
            self._directive(line)
        elif line and not line.isspace():
            self.found.expanded.setdefault(self.here, []).append((self.number, line))
        self.number += 1

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

    def _directive(self, line: str) -> None:
        if define := _DEFINE.match(line):
            macro = Macro(define[1], line, self.here, self.number)
            self.found.macros.setdefault(define[1], []).append(macro)
        elif undefine := _UNDEFINE.match(line):
            self.found.undefined.add(undefine[1])
