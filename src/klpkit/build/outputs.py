"""Which arguments of a compile command name files that the compiler writes, as data.

Sources: GCC manual "Overall Options", "Preprocessor Options", "Developer Options", "Debugging Options"; Clang
command line reference.  A replay sends all of these elsewhere, so that nothing lands in a build tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from klpkit.build.command import VALUE_OPTIONS

# The value is the next word, or for `-MF` and `-o` joined to the option.
_DROPPED_WITH_VALUE = frozenset(
    {"-o", "-MJ", "-dumpbase", "-dumpbase-ext", "-dumpdir", "-auxbase", "-auxbase-strip", "--output"}
    | {"-serialize-diagnostics", "-index-store-path", "-aux-info"}
)
_REDIRECTED_WITH_VALUE = frozenset({"-MF"})
# `OPTION=FILE`: the file goes to the replay's folder.
_REDIRECTED_JOINED = (
    "-Wp,-MMD,",
    "-Wp,-MD,",
    "-Wp,-MF,",
    "-foptimization-record-file=",
    "-fdiagnostics-add-output=",
    "-ftime-trace=",
    "-fmodule-output=",
    "-fdump-go-spec=",
    "-fcrash-diagnostics-dir=",
    "-fprofile-note=",
    "-fcallgraph-info=",
    "-Wa,--MD,",
    "-Wa,-a=",
)
_DROPPED_PREFIXES = (
    # The list of klpkit's own driver: a replay must not append to the build's.
    "-flive-patching-list",
    "-save-temps",
    "--save-temps",
    "-dumpdir=",
    "-dumpbase=",
    "--output=",
)
# `-fdump-PASS[-OPTIONS]=FILE` and `-fopt-info-…=FILE`, `-Wa,-aLETTERS=FILE`
_MAYBE_REDIRECTED = ("-fdump-", "-fopt-info", "-Wa,-a")
_STANDARD_STREAMS = frozenset({"stdout", "stderr", "-"})

Place = Callable[[str], str]


def redirected(arguments: Sequence[str], place: Place) -> list[str]:
    """`arguments` without `-o`, with every other file that they name for writing renamed by `place`.

    `place` gets a file name as the command spells it and returns the new one.
    """
    return list(chain.from_iterable(_groups(arguments, place)))


def _groups(arguments: Sequence[str], place: Place) -> Iterator[list[str]]:
    words = iter(arguments)
    saves_temporaries = False
    for word in words:
        if word in _DROPPED_WITH_VALUE:
            next(words, None)
        elif word in _REDIRECTED_WITH_VALUE:
            yield [word, place(next(words, ""))]
        elif word in VALUE_OPTIONS:
            yield [word, *([value] if (value := next(words, None)) is not None else [])]
        elif word.startswith(_DROPPED_PREFIXES) or _joined_output(word):
            saves_temporaries |= "save-temps" in word
        else:
            yield [_redirected_word(word, place)]
    if saves_temporaries:
        yield ["-save-temps=obj"]


def _joined_output(word: str) -> bool:
    """Whether `word` is `-oFILE`; no other option of GCC or Clang that takes a file begins so."""
    return word.startswith("-o") and len(word) > 2 and not word.startswith("-objc")


def _redirected_word(word: str, place: Place) -> str:
    if word.startswith("-MF"):
        return "-MF" + place(word.removeprefix("-MF"))
    for prefix in _REDIRECTED_JOINED:
        if word.startswith(prefix):
            return prefix + place(word.removeprefix(prefix))
    if word.startswith(_MAYBE_REDIRECTED) and "=" in word:
        option, _, name = word.partition("=")
        return word if name in _STANDARD_STREAMS else f"{option}={place(name)}"
    return word
