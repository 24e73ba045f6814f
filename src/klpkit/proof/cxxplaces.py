"""The functions of a C++ unit as GCC knows them: symbol, place of the name, calls; templates' instances included.

GCC writes its call graph for each unit (`-fcallgraph-info`, "Developer Options" of its manual): without
optimisation every function that anything uses is in it, under its assembler name, with the line and column of
its name.  The text that is compiled for that calls itself its own source, so that places are places in the text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.build.replays import replay
from klpkit.elf import ElfFile
from klpkit.errors import FormatError
from klpkit.proof.cxxnames import demangled
from klpkit.proof.cxxtext import CxxText, Head
from klpkit.proof.hiding import written
from klpkit.proof.text import Places, SourceFunction

_FLAGS = ("-w", "-g0", "-fpreprocessed", "-O0", "-fno-lto", "-fcallgraph-info")
_NODE = re.compile(
    r'^node: \{ title: "(.*?)" label: "(.*)\\n(.*):(\d+):(\d+)(?:\\n[^"]*)?"( shape : ellipse)? \}$'
)
_EDGE = re.compile(r'^edge: \{ sourcename: "(.*?)" targetname: "(.*?)"')
_MARKER = re.compile(r'^# \d+ "(?:[^"\\\n]|\\.)*"((?: \d)*)$', re.MULTILINE)
_ALWAYS_INLINE = re.compile(r"\b(?:always_inline|__always_inline__)\b")
_STRUCTOR = re.compile(r"(?<=\w)([CD])1(?=E|I|v)")
_LAMBDA = re.compile(r"Ul.*E\d*_cl")
COMPILER_MADE = "it has no text of its own: the compiler makes it"


@dataclass(frozen=True, slots=True)
class Node:
    """A function of the call graph; `head` is None where the compiler made it: it has no text of its own."""

    symbol: str
    line: int
    column: int
    last: int
    calls: tuple[str, ...]
    head: Head | None

    @property
    def constant(self) -> bool:
        """Whether the front end may compute its calls: lambdas are `constexpr` where they can be."""
        return self.head is not None and (bool(self.head.constant) or bool(_LAMBDA.search(self.symbol)))


def nodes(unit: TranslationUnit, text: str, workdir: Path) -> tuple[list[Node], frozenset[str]]:
    """The functions of preprocessed `text`, and the symbols of those that only this unit can call."""
    source = written(_self_contained(text), workdir / "places.ii")
    made = replay(unit, workdir=workdir, source=source, extra=_FLAGS, output="places.o")
    graphs = [path for path in made.dumps if path.suffix == ".ci"]
    if len(graphs) != 1:
        raise FormatError(workdir, "call graph", f"{len(graphs)} files where one was asked for")
    symbols = ElfFile.open(made.object).symbols
    local = {symbols.names[row] for row in symbols.defined_functions.tolist() if not symbols.bind[row]}
    return _read(graphs[0], CxxText(text)), frozenset(local)


def _self_contained(text: str) -> str:
    """`text` whose lines are its own, and whose functions all stay functions; columns are as they were."""
    pieces, last, line = [], 0, 1
    for match in _MARKER.finditer(text):
        pieces.append(text[last : match.start()])
        line += pieces[-1].count("\n")
        flags = "".join(f" {flag}" for flag in match[1].split() if flag in ("3", "4"))
        pieces.append(f'# {line + 1} "places.ii"{flags}')
        last = match.end()
    whole = "".join([*pieces, text[last:]])
    return _ALWAYS_INLINE.sub(lambda found: "noipa".ljust(len(found[0])), whole)


def _read(path: Path, text: CxxText) -> list[Node]:
    places: dict[str, tuple[int, int]] = {}
    calls: dict[str, set[str]] = defaultdict(set)
    for row in path.read_text(errors="surrogateescape").splitlines():
        if node := _NODE.match(row):
            if not node[6]:
                places[_symbol(node[1])] = int(node[4]), int(node[5])
        elif edge := _EDGE.match(row):
            calls[_symbol(edge[1])].add(_symbol(edge[2]))
    found = []
    for symbol, (line, column) in places.items():
        known = {other for name in calls[symbol] if (other := _complete(name, places)) in places}
        head = text.head_at(line, column)
        last = text.line_of(head.closing) if head else line
        found.append(Node(symbol, line, column, last, tuple(sorted(known - {symbol})), head))
    return found


def _symbol(title: str) -> str:
    """A function that only this unit can call is written with its file."""
    return title.rpartition(":")[2]


def _complete(symbol: str, places: dict[str, tuple[int, int]]) -> str:
    """The function behind a constructor or destructor of complete objects, which is a second name of it."""
    if symbol in places:
        return symbol
    hits = (symbol[: m.start()] + m[1] + "2" + symbol[m.end() :] for m in _STRUCTOR.finditer(symbol))
    return next((name for name in hits if name in places), symbol)


def cxx_functions(unit: TranslationUnit, text: str, workdir: Path) -> dict[str, SourceFunction]:
    """The functions of the unit's preprocessed C++ `text` by symbol."""
    known, local = nodes(unit, text, workdir)
    titles = demangled([node.symbol for node in known])
    places = Places(text)
    together: dict[tuple[int, int], list[str]] = defaultdict(list)
    for node in known:
        if node.head:
            together[node.line, node.column].append(node.symbol)
    found = {}
    for node in known:
        file, line = places.of(node.line)
        siblings = set(together.get((node.line, node.column), ())) - {node.symbol}
        found[node.symbol] = SourceFunction(
            name=node.symbol,
            symbol=node.symbol,
            file=file,
            line=line,
            first=node.line,
            last=node.last,
            static=node.symbol in local,
            always_inline=node.head is not None and node.head.always_inline,
            mentions=node.calls,
            siblings=tuple(sorted(siblings)),
            title=titles[node.symbol],
            unhidable="" if node.head else COMPILER_MADE,
            constant=node.constant,
            made=node.head is None,
        )
    return found
