"""Whether the compiler kept the level: every record of a kind that the level forbids is told.

Functions that the language or the compiler inlines at any level (`always_inline`, and `extern` `gnu_inline`
ones) are excused and marked in the list.
"""

from __future__ import annotations

from klpkit.compilers.driver.attributes import ALWAYS_INLINE, GNU_INLINE, STATIC
from klpkit.compilers.driver.effects import key_of
from klpkit.compilers.driver.talk import NAME, say
from klpkit.compilers.levels import Level
from klpkit.records.clonelines import cause_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from klpkit.compilers.driver.attributes import Attributes
    from klpkit.compilers.driver.effects import Key
    from klpkit.records.clonelines import CloneDump

    Broken = list[tuple[Key, Key, str]]
    """Body, user and cause of each record that the level forbids."""

_EXCUSES = frozenset((ALWAYS_INLINE, GNU_INLINE))


def check(
    level: Level, dump: CloneDump, public: Callable[[str], bool | None], attributes: Attributes
) -> tuple[Broken, dict[Key, str]]:
    """(records that break `level`, functions that are excused → why).

    `public` tells whether other objects can name a symbol, None where the object does not have it.
    """
    suspects = _suspects(level, dump, public)
    inlined = {body for body, _, cause in suspects if cause == "inline"}
    enough = _EXCUSES if level == Level.NONE else _EXCUSES | {STATIC}
    known = attributes.of(sorted(inlined), enough) if inlined else {}
    fine: set[Key] = set()
    if level == Level.ONLY_INLINE_STATIC:
        fine = {key for key, words in known.items() if STATIC in words and public(key[0]) is not True}
    excused = {key: min(words & _EXCUSES) for key, words in known.items() if words & _EXCUSES and key not in fine}
    fine.update(excused)
    return [row for row in suspects if row[2] != "inline" or row[0] not in fine], excused


def _suspects(level: Level, dump: CloneDump, public: Callable[[str], bool | None]) -> Broken:
    """The records that `level` forbids, as far as dump and object tell."""
    found: dict[tuple[Key, Key, str], None] = {}
    for body, user, word in dump.clones:
        cause, _ = cause_of(word, body[0], user[0])
        if cause == "same-function":
            continue
        if cause != "inline":
            if level != Level.INLINE_CLONE:
                found[key_of(body), key_of(user), cause] = None
        elif level == Level.NONE or (level == Level.ONLY_INLINE_STATIC and public(body[0]) is not False):
            found[key_of(body), key_of(user), cause] = None
    return list(found)


def tell(level: Level, broken: Broken) -> None:
    """One warning a forbidden record, in the form of the compiler's own."""
    lines = []
    for body, user, cause in broken:
        what = f"'{body[0]}' into '{user[0]}'" if cause == "inline" else f"'{user[0]}' of '{body[0]}'"
        place = f"{body[1]}:{body[2]}:{body[3]}" if body[1] else NAME
        lines.append(f"{place}: warning: {cause} {what}, which level '{level}' forbids [level-not-honoured]")
    if lines:
        say("\n".join(lines))
