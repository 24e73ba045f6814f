"""The four levels of interprocedural optimisation that a build allows, and the flags that each means.

`none` < `only-inline-static` < `inline` < `inline-clone`: each level permits what the one before it permits and
more.  What a level means in flags is data of each compiler (`gcc.py`, `clang.py`); the driver asks here on every
call of the compiler, so this file and those two import nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


class _LevelMeta(type):
    """Makes `for level in Level` and `len(Level)` work without the price of importing `enum`."""

    def __iter__(cls) -> Iterator[Level]:
        return iter(LEVELS)

    def __len__(cls) -> int:
        return len(LEVELS)


class Level(str, metaclass=_LevelMeta):
    """How much interprocedural optimisation a build allows: a word of `LEVELS`, comparable by `rank`.

    `Level("inline")` is `Level.INLINE`; `ValueError` for another word.  It is a string with the look of a
    `StrEnum`, which would cost the driver 3 ms a call.
    """

    NONE: Level
    ONLY_INLINE_STATIC: Level
    INLINE: Level
    INLINE_CLONE: Level

    __slots__ = ()

    def __new__(cls, word: str) -> Level:
        for level in LEVELS:
            if level == word:
                return level
        raise ValueError(f"{word!r} is not a level: use one of {', '.join(LEVELS)}")

    @property
    def value(self) -> str:
        """The plain word."""
        return str(self)

    @property
    def rank(self) -> int:
        """0 for the level that allows least."""
        return LEVELS.index(self)

    def allows(self, lowest: str) -> bool:
        """Whether what needs at least the level `lowest` is allowed here; `""` is allowed at no level."""
        return lowest in LEVELS and LEVELS.index(Level(lowest)) <= self.rank

    def __repr__(self) -> str:
        return f"Level({str(self)!r})"


LEVELS: tuple[Level, ...] = ()


def _made(word: str) -> Level:
    return str.__new__(Level, word)


Level.NONE = _made("none")
Level.ONLY_INLINE_STATIC = _made("only-inline-static")
Level.INLINE = _made("inline")
Level.INLINE_CLONE = _made("inline-clone")
LEVELS = (Level.NONE, Level.ONLY_INLINE_STATIC, Level.INLINE, Level.INLINE_CLONE)

DEFAULT_LEVEL = Level.INLINE_CLONE

# GCC's own later spelling, `-flive-patching[=…]`.
GCC_SPELLINGS = {"inline-clone": Level.INLINE_CLONE, "inline-only-static": Level.ONLY_INLINE_STATIC}


def flags_for(
    compiler_kind: str, level: Level, *, supported: Collection[str], stage: str, lto: bool
) -> tuple[str, ...]:
    """The flags that hold a `compiler_kind` (`gcc` or `clang`) to `level`; they go after the user's own flags.

    `supported` holds the positive spellings (`-fipa-ra`) that the compiler knows (`probe.Compiler.supported`);
    what it does not know it can't do, and is left out.  `stage` is `compile` or `link`; at a link flags are
    needed only with `lto`.  `unhonoured_parts` says what no flag can express.
    """
    if stage not in ("compile", "link"):
        raise ValueError(f"{stage!r} is not a stage: use compile or link")
    if stage == "link" and not lto:
        return ()
    if compiler_kind == "clang":
        from klpkit.compilers import clang

        return clang.flags(level, supported, stage, lto)
    from klpkit.compilers import gcc

    return gcc.flags(level, supported, stage, lto)


def unhonoured_parts(compiler_kind: str, level: Level) -> tuple[str, ...]:
    """What of `level` a `compiler_kind` can't honour by flags, each a phrase for an error message."""
    if compiler_kind == "clang":
        from klpkit.compilers import clang

        return clang.UNHONOURED.get(level, ())
    return ()
