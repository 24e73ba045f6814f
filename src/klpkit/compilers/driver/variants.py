"""Variants of a compile call: one source of several, another output, no side files."""

from __future__ import annotations

from klpkit.compilers.driver.arguments import TAKES_VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from klpkit.compilers.driver.arguments import Call

_STAGES = frozenset(("-c", "-S", "-E", "--compile", "--assemble", "--preprocess"))
# What makes the compiler write files beside its output.
_SIDE_FILES = ("-MD", "-MMD", "-MP", "-MG", "-Wp,-MD", "-Wp,-MMD", "-save-temps", "--save-temps", "-fstack-usage",
               "-ftest-coverage", "--coverage", "-fprofile-arcs", "-gsplit-dwarf", "-fcallgraph-info", "-fdump-",
               "-Wp,-MP", "-Wp,-MT", "-Wp,-MQ", "-fdiagnostics-format", "-ftime-report")  # fmt: skip
_SIDE_VALUES = frozenset(("-MF", "-MT", "-MQ", "-aux-info", "-dumpdir", "-dumpbase", "-dumpbase-ext"))


def pairs(words: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Each option with its separate value, or each lone word, with its position in `words`."""
    position = 0
    while position < len(words):
        width = 2 if words[position] in TAKES_VALUE else 1
        yield position, words[position : position + width]
        position += width


def without_output(words: list[str]) -> list[str]:
    """`words` without what says where to stop and where to write."""
    return [
        word
        for _, pair in pairs(words)
        for word in pair
        if pair[0] not in _STAGES
        and pair[0] not in ("-o", "--output")
        and not (len(pair) == 1 and pair[0].startswith(("-o", "--output=")))
    ]


def quiet(words: list[str]) -> list[str]:
    """`words` for a compilation of which only dumps are wanted: nothing else is written, nothing is said."""
    kept = [
        word
        for _, pair in pairs(without_output(words))
        for word in pair
        if not pair[0].startswith(_SIDE_FILES) and pair[0] not in _SIDE_VALUES
    ]
    return [*kept, "-w", "-S", "-o", "/dev/null"]


def of_one_source(call: Call, position: int) -> list[str]:
    """The words of `call` with the source at `position` as its only input."""
    dropped = {other for other, _, _ in call.sources if other != position}
    inputs = set(call.inputs)
    return [
        word
        for at, pair in pairs(call.words)
        for word in pair
        if at not in dropped and not (len(pair) == 1 and pair[0] in inputs) and pair[0] != "-l"
    ]
