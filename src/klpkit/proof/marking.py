"""Hiding a body from G++: an attribute at the function's name, found by the place that the compiler tells.

No redeclaration serves members, templates or functions in another's namespace; an attribute before the name of a
definition serves all that have text, and what a template makes inherits it.  Two things are G++'s own.  Its front
end itself notes, for whatever binds here, that a body can't throw (`finish_function` in gcc/cp/decl.cc), and no
attribute is asked: a call that is parsed and never compiled says otherwise.  And it computes calls of `constexpr`
functions: the word is taken away, which fails where a constant is needed, and a jump stands for it in lambdas.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.build.replays import Replayed, replay
from klpkit.errors import FormatError
from klpkit.proof.cxxplaces import COMPILER_MADE, Node, cxx_functions, nodes
from klpkit.proof.decisions import Decisions, read_decisions
from klpkit.proof.hiding import HidingError, Pins, written
from klpkit.proof.text import SourceFunction

_MAY_THROW = "if (0) { extern void __klpkit_throws(); __klpkit_throws(); }"
_NO_CONSTANT = "goto __klpkit_start; __klpkit_start:;"
_HIDDEN = re.compile(r"/\*klpkit-hidden ([^*]*)\*/")
# A dump may tell what it did between a function's name and its declaration.
_DUMPED = re.compile(r"^;; Function .*\((\S+), funcdef_no=((?:.*\n(?!\{|;; Function ))*)", re.MULTILINE)
_WITH_BODIES = "-fdump-tree-optimized"


@dataclass(frozen=True, slots=True)
class Marking:
    """Marks every function's name and body in the text once; hiding one puts code at its marks."""

    flags: tuple[str, ...] = ("-w", "-g0", "-fpreprocessed")
    dumps: tuple[str, ...] = ("-fdump-ipa-clones",)
    record: str = ".ipa-clones"
    by_symbol: bool = True

    def functions(self, unit: TranslationUnit, text: str, workdir: Path) -> dict[str, SourceFunction]:
        return cxx_functions(unit, text, workdir)

    def lowered(self, unit: TranslationUnit, text: str, workdir: Path) -> str:
        known, _ = nodes(unit, text, workdir)
        marks: dict[tuple[int, str], list[str]] = {}
        for node in known:
            for place in _places(node):
                marks.setdefault(place, []).append(node.symbol)
        pieces, last = [], 0
        for (at, word), symbols in sorted(marks.items()):
            pieces += [text[last:at], f"/*{word} {' '.join(symbols)} */"]
            last = at
        return "".join([*pieces, text[last:]])

    def with_names(self, text: str, names: Mapping[str, str]) -> str:
        raise NotImplementedError

    def compiled(self, unit: TranslationUnit, text: str, workdir: Path, flags: Sequence[str]) -> Replayed:
        source = written(text, workdir / "text.ii")
        hidden = {symbol for match in _HIDDEN.finditer(text) for symbol in match[1].split()}
        checks = (_WITH_BODIES,) if hidden else ()
        words = (*self.flags, *self.dumps, *checks, *flags)
        made = replay(unit, workdir=workdir, source=source, extra=words, output="text.o")
        source.unlink()
        if hidden:
            _check(made, hidden)
        return made

    def decisions(self, path: Path) -> Decisions:
        return read_decisions(path)

    def hidden(self, text: str, names: Iterable[str], pins: Pins) -> str:
        for name in names:
            text = _at_name(text, name, "noipa", "klpkit-hidden")
            text = _mark("klpkit-body", name).sub(f"/**/{_MAY_THROW}", text)
            text = _mark("klpkit-lambda", name).sub(f"/**/{_NO_CONSTANT}{_MAY_THROW}", text)
            text = re.sub(_mark("klpkit-constant", name).pattern + r"\w+", "inline", text)
        for name, words in sorted(pins.items()):
            text = _at_name(text, name, words, "klpkit")
        return text

    def hidden_variable(self, text: str, name: str) -> str:
        return f"{text}\n__typeof__({name}) *__klpkit_escapes_{name} = &{name};\n"


def _places(node: Node) -> list[tuple[int, str]]:
    """Where marks of a function go, and their words."""
    head = node.head
    if head is None:
        return []
    body = "klpkit-lambda" if node.constant and not head.constant else "klpkit-body"
    return [(head.name, "klpkit"), (head.opening + 1, body), *((at, "klpkit-constant") for at in head.constant)]


def _mark(word: str, name: str) -> re.Pattern[str]:
    return re.compile(rf"/\*{word} ((?:[^*\s]+ )*?{re.escape(name)} (?:[^*\s]+ )*)\*/")


def _at_name(text: str, name: str, attribute: str, word: str) -> str:
    """`text` with an attribute at the name's mark; the mark stays for others, under `word`."""
    found = _mark("klpkit(?:-hidden)?", name).search(text)
    if found is None:
        raise HidingError(COMPILER_MADE)
    if word == "klpkit-hidden" and found[0].startswith("/*klpkit-hidden"):  # a sibling brought it here
        return text
    word = "klpkit-hidden" if found[0].startswith("/*klpkit-hidden") else word
    placed = f"/*{word} {found[1]}*/__attribute__(({attribute})) "
    return text[: found.start()] + placed + text[found.end() :]


def _check(made: Replayed, hidden: set[str]) -> None:
    """`HidingError` unless every hidden function that was compiled has the attribute."""
    dumps = [path for path in made.dumps if path.name.endswith(".optimized")]
    if len(dumps) != 1:
        raise FormatError(made.object, "dump", f"{len(dumps)} files where one was asked for")
    for match in _DUMPED.finditer(dumps[0].read_text(errors="surrogateescape")):
        if match[1] in hidden and "noipa" not in match[2]:
            raise HidingError(f"the attribute that hides it does not reach {match[1]}")
    dumps[0].unlink()
