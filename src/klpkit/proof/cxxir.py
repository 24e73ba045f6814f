"""The functions of a C++ unit as Clang knows them: from IR before any optimisation, with line tables.

The lines come from `DISubprogram` metadata (the LLVM Language Reference); columns are not in it, so functions of
one name on one line count as made from the same text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.build.replays import replay
from klpkit.proof.cxxnames import demangled
from klpkit.proof.cxxtext import CxxText, Head
from klpkit.proof.hiding import written
from klpkit.proof.text import Places, SourceFunction

_FLAGS = ("-w", "-g0", "-gline-tables-only", "-S", "-emit-llvm", "-Xclang", "-disable-llvm-passes")
_DEFINE = re.compile(r'^define ([^@\n]*)@(?:"(?:\\01)?([^"]+)"|([^\s("]+))\((.*)$', re.MULTILINE)
_ALIAS = re.compile(r'^@"?([^\s"]+)"? = [^\n]*\balias [^\n]*, ptr @"?([^\s",]+)"?', re.MULTILINE)
_NAMED = re.compile(r'@(?:"(?:\\01)?([^"]+)"|([^\s(),"]+))')
_PROGRAM = re.compile(r"^(!\d+) = distinct !DISubprogram\((.*)\)$", re.MULTILINE)
_FILE = re.compile(r'^(!\d+) = !DIFile\(filename: "([^"]*)", directory: "([^"]*)"', re.MULTILINE)
_GROUP = re.compile(r"^attributes (#\d+) = \{(.*)\}$", re.MULTILINE)
_ARTIFICIAL = "DIFlagArtificial"
COMPUTED = "Clang may compute its calls while it reads the text (constexpr)"


@dataclass(frozen=True, slots=True)
class _Defined:
    """A `define`: its symbol, the words before and behind the name, its body, and where the source has it."""

    symbol: str
    before: str
    behind: str
    body: str
    name: str = ""
    file: str = ""
    line: int = 0
    made: bool = False


def cxx_functions(unit: TranslationUnit, text: str, workdir: Path) -> dict[str, SourceFunction]:
    """The functions of the unit's preprocessed C++ `text` by symbol; errors are those of a replay."""
    source = written(text, workdir / "places.ii")
    made = replay(unit, workdir=workdir, source=source, extra=_FLAGS, output="places.ll")
    ir = made.object.read_text(errors="surrogateescape")
    known = list(_defined(ir))
    aliases: dict[str, list[str]] = defaultdict(list)
    for alias, target in _ALIAS.findall(ir):
        aliases[target].append(alias)
    groups = dict(_GROUP.findall(ir))
    titles = demangled([row.symbol for row in known])
    together: dict[tuple[str, int, str], list[str]] = defaultdict(list)
    for row in known:
        together[_key(row)].append(row.symbol)
    heads = _Heads(text)
    symbols = {row.symbol for row in known}
    found = {}
    for row in known:
        siblings = [name for name in together[_key(row)] if heads.same_text(row, titles[row.symbol], titles[name])]
        words = f"{row.before} {' '.join(groups.get(name, '') for name in re.findall(r'#[0-9]+', row.behind))}"
        constant = heads.constant(row)
        found[row.symbol] = SourceFunction(
            name=row.symbol,
            symbol=row.symbol,
            file=row.file,
            line=row.line,
            first=heads.line(row),
            last=heads.line(row),
            static=bool(re.search(r"\b(?:internal|private)\b", row.before)),
            always_inline="alwaysinline" in words.split(),
            mentions=tuple(sorted((_names(row.body) & symbols) - {row.symbol})),
            aliases=tuple(sorted(aliases.get(row.symbol, ()))),
            siblings=tuple(name for name in siblings if name != row.symbol),
            title=titles[row.symbol],
            unhidable=COMPUTED if constant else "",
            constant=constant,
            made=row.made,
        )
    return found


def _key(row: _Defined) -> tuple[str, int, str]:
    return row.file, row.line, row.name.partition("<")[0]


def _names(body: str) -> set[str]:
    return {quoted or bare for quoted, bare in _NAMED.findall(body)}


def _defined(ir: str) -> Iterator[_Defined]:
    programs = dict(_PROGRAM.findall(ir))
    files = {number: str(Path(folder, name)) for number, name, folder in _FILE.findall(ir)}
    for match in _DEFINE.finditer(ir):
        body = ir[match.end() : ir.find("\n}", match.end())]
        behind = match[4]
        debug = re.search(r"!dbg (!\d+)", behind)
        fields = programs.get(debug[1], "") if debug else ""
        line, file = re.search(r"\bline: (\d+)", fields), re.search(r"\bfile: (!\d+)", fields)
        name = re.search(r'\bname: "([^"]*)"', fields)
        yield _Defined(
            match[2] or match[3],
            match[1],
            behind,
            behind + body,
            name[1] if name else "",
            files.get(file[1], "") if file else "",
            int(line[1]) if line else 0,
            _ARTIFICIAL in fields or not line,
        )


class _Heads:
    """The text at the places of functions: whether it says `constexpr`."""

    def __init__(self, text: str) -> None:
        self._text = CxxText(text)
        self._at: dict[tuple[str, int], list[int]] = defaultdict(list)
        places = Places(text)
        for line in range(1, text.count("\n") + 2):
            file, there = places.of(line)
            self._at[Path(file).name, there].append(line)

    def line(self, row: _Defined) -> int:
        """The line in the text, 0 where it is not found."""
        return next(iter(self._lines(row)), 0)

    def constant(self, row: _Defined) -> bool:
        if row.made:
            return False
        if "operator()" in row.name and re.search(r"Ul.*E\d*_cl|\$_\d+cl", row.symbol):
            return True
        return any(head.constant for head in self._heads(row))

    def same_text(self, row: _Defined, title: str, other: str) -> bool:
        """Whether a function of the same name and line is made from the same text, and not an overload."""
        if not row.line or row.made:
            return False
        return title == other or "<" in title + other or len(list(self._heads(row))) == 1

    def _heads(self, row: _Defined) -> Iterator[Head]:
        word = re.match(r"~?(\w+)", row.name)
        for line in self._lines(row):
            yield from self._text.heads_in(line, word[1] if word else "")

    def _lines(self, row: _Defined) -> list[int]:
        return self._at.get((Path(row.file).name, row.line), [])
