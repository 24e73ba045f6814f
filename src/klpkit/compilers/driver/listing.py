# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH113, PTH118, PTH119, PTH120, PTH122
"""The list of impacted functions as text, and how many compilers write one file.

A list is lines of eight fields between tabs, a pair of functions a line:

    unit  function  defined-at  impacted  defined-at  cause  how  via

`docs/reference/klpkit-cc.md` describes the fields.  The lines of one unit stand together after a line
`# klpkit-list 1 UNIT LEVEL`.  They reach a file in one locked append, whole or not at all.
"""

from __future__ import annotations

import os

from klpkit.compilers.driver.effects import is_clone
from klpkit.compilers.driver.talk import LACKING, DriverError, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from klpkit.compilers.driver.effects import Effects, Key

HEADER = "# klpkit-list 1"
STANDARD_OUTPUT = ("", "-")


def unit_name(path: str, file: str) -> str:
    """The unit whose object is `path`, as the list in `file` calls it: relative to the folder of `file`.

    Below that folder two objects have two names, whatever folders the compilers are called in; elsewhere a unit
    has its whole path.  On standard output it is called as the call calls it.
    """
    if file in STANDARD_OUTPUT:
        return path
    folder = os.path.join(os.path.realpath(os.path.dirname(path)), "")
    whole = folder + os.path.basename(path)
    return whole.removeprefix(os.path.join(os.path.realpath(os.path.dirname(file)), ""))


def text(
    unit: str,
    level: str,
    effects: Effects,
    functions: Collection[str] | None,
    function: str,
    sources: Collection[str],
) -> str:
    """The block of `unit`, made from `sources`; empty where the unit has no function that is asked for.

    `functions` are the symbols that have code, None where no object told.
    """
    seeds = _seeds(effects, function, sources)
    name, shown = _clean(unit), _Shown(functions)
    lines = [line for seed in seeds for line in _lines(name, effects, shown, seed)]
    if not lines:
        return ""
    return "\n".join([f"{HEADER}\t{name}\t{level}", *lines, ""])


def _seeds(effects: Effects, function: str, sources: Collection[str]) -> list[Key]:
    """The functions that are asked for: `all`, a symbol, or `file.c:symbol`.

    A function that no record places may stand in one of `sources`, or in any header.
    """
    if function == "all":
        return list(effects.users)
    file, _, symbol = function.rpartition(":")
    keys = effects.symbols.get(symbol, [])
    if not file:
        return keys
    unplaced = os.path.splitext(file)[1][:2] == ".h" or any(
        _is(source, file) or file.endswith("/" + source) for source in sources
    )
    return [key for key in keys if (_is(key[1], file) if key[1] else unplaced)]


def _is(path: str, file: str) -> bool:
    """Whether `file` calls `path`: as it is, by its end, or from another folder."""
    if path == file or path.endswith("/" + file):
        return True
    whole = os.path.realpath(path)
    return whole.endswith("/" + file) or whole == os.path.realpath(file)


class _Shown(dict["Key", tuple[str, str, str]]):
    """The fields of each function, made once: (symbol, place, how)."""

    def __init__(self, functions: Collection[str] | None) -> None:
        super().__init__()
        self._functions = functions

    def __missing__(self, key: Key) -> tuple[str, str, str]:
        self[key] = fields = (_clean(key[0]), place(key), how(key[0], self._functions))
        return fields


def _lines(unit: str, effects: Effects, shown: _Shown, seed: Key) -> Iterator[str]:
    symbol, where, way = shown[seed]
    first = f"{unit}\t{symbol}\t{where}\t"
    yield f"{first}{symbol}\t{where}\tself\t{way}\t-"
    excused = effects.excused
    for user, cause, body, between in effects.impacted(seed):
        symbol, where, way = shown[user]
        via = ",".join([shown[key][0] for key in between]) if between else "-"
        if cause == "inline" and body in excused:
            cause = f"inline({excused[body]})"
        yield f"{first}{symbol}\t{where}\t{cause}\t{way}\t{via}"


def how(symbol: str, functions: Collection[str] | None) -> str:
    """How a function can be replaced, in the words of `klpkit.impact.result.How`."""
    if functions is not None and symbol not in functions:
        return "gone"
    if is_clone(symbol):
        return "callers"
    return "unknown" if functions is None else "symbol"


def place(key: Key) -> str:
    """`file:line` of a function, `-` where nothing tells."""
    return f"{_clean(key[1])}:{key[2]}" if key[1] else "-"


def _clean(name: str) -> str:
    return name.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n") if not name.isalnum() else name


def write(block: str, file: str) -> None:
    """Append `block` to `file`, or write it to standard output where `file` is empty or `-`."""
    data = block.encode(errors="surrogateescape")
    if not data:
        return
    try:
        if file in STANDARD_OUTPUT:
            write_all(1, data)
        else:
            _append(data, file)
    except OSError as error:
        raise DriverError(
            f"can't write the list to {file or 'standard output'}: {error.strerror}",
            status=LACKING,
            hint="free some space or choose another file; the list has no part of this call's block",
        ) from error


def _append(data: bytes, file: str) -> None:
    import fcntl

    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        try:
            write_all(descriptor, data)
        except OSError:
            if os.path.isfile(file):
                os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
