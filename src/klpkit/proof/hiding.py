"""What a proof asks of a compiler; `hiders` has the row of each compiler and language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from klpkit.build.command import Language
from klpkit.errors import KlpkitError
from klpkit.proof.decisions import Decisions

Pins = Mapping[str, str]
"""Function → the attribute that keeps the first build's decision on it."""


class HidingError(KlpkitError):
    """One function's body can't be hidden; the message is a sentence part that says why."""


class Hider(Protocol):
    """What a compiler needs for a proof.

    `record` is how the name of the file ends that `dumps` make and that `decisions` reads.
    """

    @property
    def record(self) -> str: ...

    @property
    def lowering(self) -> tuple[str, ...]:
        """Flags that make of preprocessed text the text in which bodies are hidden; empty where it is the same."""
        ...

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of every compilation of a proof, hidden or not; none of them may change code."""
        ...

    @property
    def dumps(self) -> tuple[str, ...]:
        """Flags that make the records of inlining and cloning."""
        ...

    def suffix(self, language: Language) -> str:
        """How the name of a file with such a text ends."""
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
