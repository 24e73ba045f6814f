"""The driver's own options, taken out of the compiler's arguments wherever they hide.

`-fease-live-patching[=LEVEL]` and `-flive-patching-list[=FUNC|all][,FILE]` are the spellings of the 2018
proposal to GCC's mailing list; `-flive-patching[=…]` is what GCC itself took from it.  As with the compiler's
own options the last one wins, and the `-fno-` form takes it back.
"""

from __future__ import annotations

from klpkit.compilers.driver import response
from klpkit.compilers.driver.talk import DriverError
from klpkit.compilers.levels import DEFAULT_LEVEL, GCC_SPELLINGS, LEVELS, Level

EASE = "-fease-live-patching"
NATIVE = "-flive-patching"
LIST = "-flive-patching-list"
NEGATIVE = ("-fno-ease-live-patching", "-fno-live-patching")
NO_LIST = "-fno-live-patching-list"

# Any word of ours contains this.
MARK = "live-patching"


class Wanted:
    """What the driver was asked for: a `level` or None; with `listing`, `function` (or `all`) to `file`."""

    __slots__ = ("file", "function", "level", "listing")

    def __init__(self) -> None:
        self.level: Level | None = None
        self.listing = False
        self.function = "all"
        self.file = ""

    def take(self, word: str) -> bool:
        """Whether `word` is one of ours; then it has taken effect."""
        name, equals, value = word.partition("=")
        if name in (EASE, NATIVE):
            self.level = _level(name, value) if equals else DEFAULT_LEVEL
        elif name == LIST:
            self._take_list(value, bool(equals))
        elif word in NEGATIVE:
            self.level = None
        elif word == NO_LIST:
            self.listing = False
        else:
            return False
        return True

    def _take_list(self, value: str, given: bool) -> None:
        function, comma, file = value.partition(",")
        if (given and not function) or (comma and not file):
            raise DriverError(
                f"argument to '{LIST}=' is missing",
                hint=f"write {LIST}[=FUNCTION|all][,FILE], as in =all,impact.txt",
            )
        self.listing, self.function, self.file = True, function or "all", file


def _level(name: str, value: str) -> Level:
    known = {str(level): level for level in LEVELS} if name == EASE else GCC_SPELLINGS
    if value not in known:
        raise DriverError(
            f"unrecognized argument in option '{name}={value}'",
            hint=f"valid arguments to '{name}=' are: {' '.join(known)}",
        )
    return known[value]


def take_ours(arguments: list[str]) -> tuple[Wanted, list[str]]:
    """What is asked of the driver, and the arguments that are left for the compiler.

    A response file that holds an option of ours is replaced by its words; one that doesn't stays as it is.
    """
    wanted = Wanted()
    left: list[str] = []
    for word, value in _with_values(arguments):
        if value is not None:
            left += (word, value)
        elif word.startswith("@"):
            left += _from_response_file(wanted, word)
        elif MARK not in word or not wanted.take(word):
            left.append(word)
    return wanted, left


def _with_values(arguments: list[str]) -> list[tuple[str, str | None]]:
    """Each argument with its separate value, so that `-o -flive-patching` is a file name as for the compiler."""
    if not any(MARK in word or word.startswith("@") for word in arguments):
        return [(word, None) for word in arguments]
    from klpkit.compilers.driver.arguments import TAKES_VALUE

    words = iter(arguments)
    return [(word, next(words, None) if word in TAKES_VALUE else None) for word in words]


def _from_response_file(wanted: Wanted, word: str) -> list[str]:
    words = response.expanded(word)
    if words is None or not any(MARK in inner for inner in words):
        return [word]
    return [inner for inner in words if MARK not in inner or not wanted.take(inner)]
