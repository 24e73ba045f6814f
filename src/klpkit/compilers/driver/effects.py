"""The effects within one compiled unit, from its clone dump and its object, and who is impacted by whom.

A function is known by symbol and place of definition; GCC's numbers of call graph nodes are dropped, because all
nodes of one symbol in one unit are one function to a person who patches it.
"""

from __future__ import annotations

from klpkit.records.clonelines import cause_of
from klpkit.records.suffixes import RENAMES, ancestry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from klpkit.records.clonelines import CloneDump, Node
    from klpkit.records.lightelf import LightObject

    Key = tuple[str, str, int, int]
    """Symbol, file, line, column."""

LTO_PRIVATE = ".lto_priv."
# Pieces and copies that keep the function what its source declares.
_KEEPS_MEANING = RENAMES | {"cold"}


def is_clone(symbol: str) -> bool:
    """Whether the compiler's suffixes say that the function's meaning or calling convention may differ."""
    return any(cause not in _KEEPS_MEANING for _, cause in ancestry(symbol))


def key_of(node: Node) -> Key:
    """The identity of a dump's node; LTO's renaming of local functions is undone."""
    symbol, _, file, line, column = node
    return symbol.partition(LTO_PRIVATE)[0], file, line, column


class _Keys(dict["Node", "Key"]):
    """`key_of`, once a node."""

    def __missing__(self, node: Node) -> Key:
        self[node] = key = key_of(node)
        return key


class Effects:
    """`users[body]` maps each user to the cause; `symbols` finds the functions of a symbol."""

    def __init__(self) -> None:
        self.users: dict[Key, dict[Key, str]] = {}
        self.symbols: dict[str, list[Key]] = {}
        self.unknown_words: dict[str, int] = {}
        self.excused: dict[Key, str] = {}

    def add_dump(self, dump: CloneDump) -> None:
        keys = _Keys()
        for body, user, word in dump.clones:
            cause, known = cause_of(word, body[0], user[0])
            if not known:
                self.unknown_words[word] = self.unknown_words.get(word, 0) + 1
            self.add(keys[body], keys[user], cause)
        for node in dump.removed:
            self._known(keys[node])

    def add_object(self, light: LightObject) -> None:
        """What the object tells beyond the dump: its other functions, who calls clones, aliases, cold pieces."""
        for symbol, _ in light.functions:
            self.of_symbol(symbol)
        for body, user, cause in light.effects:
            for key in self.of_symbol(body):
                for other in self.of_symbol(user):
                    self.add(key, other, cause)

    def of_symbol(self, symbol: str) -> list[Key]:
        """The functions that `symbol` may be; a symbol that no dump names gets a function without a place."""
        plain = symbol.partition(LTO_PRIVATE)[0]
        if plain not in self.symbols:
            self._known((plain, "", 0, 0))
        return self.symbols[plain]

    def add(self, body: Key, user: Key, cause: str) -> None:
        self._known(body)
        self._known(user)
        if body != user:
            self.users[body].setdefault(user, cause)

    def _known(self, key: Key) -> None:
        if key not in self.users:
            self.users[key] = {}
            self.symbols.setdefault(key[0], []).append(key)

    def impacted(self, seed: Key) -> Iterator[tuple[Key, str, Key, tuple[Key, ...]]]:
        """Every function that is impacted by `seed`, nearest first.

        Yields (function, cause of the last step, body that this step brings, functions between it and the seed).
        """
        between: dict[Key, tuple[Key, ...]] = {seed: ()}
        queue = [seed]
        for body in queue:
            through = (*between[body], body) if body != seed else ()
            for user, cause in self.users[body].items():
                if user not in between:
                    between[user] = through
                    queue.append(user)
                    yield user, cause, body, through
