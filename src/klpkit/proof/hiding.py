"""What a proof asks of a compiler; `hiders` has the row of each compiler and language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from klpkit.build.command import TranslationUnit
from klpkit.build.replays import Replayed
from klpkit.errors import KlpkitError
from klpkit.proof.decisions import Decisions
from klpkit.proof.text import SourceFunction

Pins = Mapping[str, str]
"""Function → the attribute that keeps the first build's decision on it."""


class HidingError(KlpkitError):
    """One function's body can't be hidden; the message is a sentence part that says why."""


class Hider(Protocol):
    """What a compiler needs for a proof.

    `record` is how the name of the file ends that `compiled` leaves and that `decisions` reads.
    """

    @property
    def record(self) -> str: ...

    @property
    def by_symbol(self) -> bool:
        """Whether functions in the lowered text go by their assembler names."""
        ...

    def functions(self, unit: TranslationUnit, text: str, workdir: Path) -> dict[str, SourceFunction]:
        """The functions that preprocessed `text` defines, by the names that `hidden` knows them under."""
        ...

    def lowered(self, unit: TranslationUnit, text: str, workdir: Path) -> str:
        """The text in which bodies are hidden, made of preprocessed `text`."""
        ...

    def with_names(self, text: str, names: Mapping[str, str]) -> str:
        """Lowered `text` whose functions are called otherwise; only asked of hiders that work on IR."""
        ...

    def compiled(self, unit: TranslationUnit, text: str, workdir: Path, flags: Sequence[str]) -> Replayed:
        """`text.o` in `workdir`, made of lowered `text` with the unit's own flags and `flags`, a record beside it.

        No flag that is added but for `flags` may change code.
        """
        ...

    def decisions(self, path: Path) -> Decisions:
        """What the compiler decided between functions, from its record at `path`."""
        ...

    def hidden(self, text: str, names: Iterable[str], pins: Pins) -> str:
        """`text` with the bodies of the functions `names` hidden, and with `pins`; may raise `HidingError`."""
        ...

    def hidden_variable(self, text: str, name: str) -> str:
        """`text` in which the static variable `name` may be read and written by code elsewhere."""
        ...


def written(text: str, path: Path) -> Path:
    """`path`, with `text` in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, errors="surrogateescape")
    return path
