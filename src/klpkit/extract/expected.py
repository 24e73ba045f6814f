"""What a unit's compiled original will probably be, from the symbols of the running kernel alone.

Good enough to begin a draft's compilation before the original is there, and for nothing else: another source may
have a function of the same name, and a symbol does not say whether callers may use it as it is declared.
"""

from __future__ import annotations

from collections.abc import Collection

from klpkit.target import TargetObject


class ExpectedOriginal:
    """An `Original` (`klpkit.extract.composing`) as the symbols of one object of the kernel describe it."""

    def __init__(self, home: TargetObject) -> None:
        self._home = home

    def function(self, name: str) -> bool:
        """Whether the object has code called `name`."""
        return any(symbol.function for symbol in self._home.positions(name))

    def has_code(self, name: str) -> bool:
        """The same: nothing tells yet which functions must not be called as they are declared."""
        return self.function(name)

    def variable(self, name: str) -> bool:
        """Whether the object has data called `name`."""
        return any(not symbol.function for symbol in self._home.positions(name))

    def size(self, name: str) -> int | None:
        """The bytes of the only symbol `name`, padding included where nothing tells better."""
        found = self._home.positions(name)
        return found[0].size if len(found) == 1 else None

    def static_local(self, function: str, name: str, others: Collection[str]) -> str | None:
        """Any name will do for the text of a draft; most static variables inside functions do have a symbol."""
        return f"{function}.{name}"
