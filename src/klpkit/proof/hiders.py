"""How one compiler is told to hide a function's body, or to keep a decision of the first build: rows of data.

GCC: `noipa` ("Common Function Attributes" of its manual; `symtab_node::get_availability` in gcc/symtab.cc treats
such a function as one that may be replaced at link time) on a redeclaration behind the last definition, where all
function names are known and `__typeof__` gives each its own type.  `extern` keeps the linkage that was declared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.command import Family, Language, TranslationUnit
from klpkit.build.replays import Replayed, replay
from klpkit.errors import UserError
from klpkit.proof.decisions import Decisions, read_decisions
from klpkit.proof.hiding import Hider, Pins, written
from klpkit.proof.interposing import Interposing
from klpkit.proof.marking import Marking
from klpkit.proof.text import SourceFunction, source_functions


@dataclass(frozen=True, slots=True)
class Redeclaring:
    """Hides by attributes of a redeclaration at the end of the text."""

    flags: tuple[str, ...]
    dumps: tuple[str, ...]
    attribute: str
    variable: str
    record: str = ".ipa-clones"
    by_symbol: bool = False

    def functions(self, unit: TranslationUnit, text: str, workdir: Path) -> dict[str, SourceFunction]:
        return source_functions(text)

    def lowered(self, unit: TranslationUnit, text: str, workdir: Path) -> str:
        return text

    def with_names(self, text: str, names: Mapping[str, str]) -> str:
        raise NotImplementedError

    def compiled(self, unit: TranslationUnit, text: str, workdir: Path, flags: Sequence[str]) -> Replayed:
        source = written(text, workdir / "text.i")
        made = replay(
            unit, workdir=workdir, source=source, extra=(*self.flags, *self.dumps, *flags), output="text.o"
        )
        source.unlink()
        return made

    def decisions(self, path: Path) -> Decisions:
        return read_decisions(path)

    def hidden(self, text: str, names: Iterable[str], pins: Pins) -> str:
        rows = [self._row(name, self.attribute) for name in names]
        rows += [self._row(name, word) for name, word in sorted(pins.items())]
        return _behind(_STATIC_GNU_INLINE.sub(r"\1", text) if pins else text, rows)

    def hidden_variable(self, text: str, name: str) -> str:
        return _behind(text, [self.variable.format(name)])

    def _row(self, name: str, attribute: str) -> str:
        return f"extern __typeof__({name}) {name} __attribute__(({attribute}));"


# GCC ignores `noinline` on a redeclaration of such a function; for a static one `gnu_inline` means nothing else.
_STATIC_GNU_INLINE = re.compile(
    r"(\bstatic\s+(?:inline|__inline|__inline__))\s+__attribute__\(\(_*gnu_inline_*\)\)"
)


def _behind(text: str, rows: Iterable[str]) -> str:
    return "\n".join([text, '# 1 "<klpkit>"', *rows, ""])


# What of the text only checks that a call was optimised away: an error there says nothing about code.
CHECKS = (("__error__(", "__warning__("), ("__attribute__((error(", "__attribute__((warning("))

HIDERS: dict[tuple[str, str], Hider] = {
    ("gcc", "c"): Redeclaring(
        flags=("-w", "-g0", "-fpreprocessed"),
        dumps=("-fdump-ipa-clones",),
        attribute="noipa",
        # An address that leaves the unit: anything may read and write there.
        variable="__typeof__({0}) *__klpkit_escapes_{0} = &{0};",
    ),
    ("gcc", "c++"): Marking(),
    ("clang", "c"): Interposing(),
    ("clang", "c++"): Interposing(),
}


def hider_of(kind: Family, language: Language) -> Hider:
    """The row for a compiler and language; `UserError` where a proof does not know them."""
    found = HIDERS.get((kind, language))
    if found is None:
        known = ", ".join(f"{language} with {kind}" for kind, language in HIDERS)
        raise UserError(f"no proof for {language} with {kind} yet", hint=f"a proof knows {known}")
    return found


def without_checks(text: str) -> str:
    """`text` whose compile-time checks warn instead of failing; the code is the same."""
    for before, after in CHECKS:
        text = text.replace(before, after)
    return text
