"""One clone dump, line by line: the plain reading of what GCC writes with `-fdump-ipa-clones`.

The format is GCC's own (`dump_callgraph_transformation` in `cgraphclones.c`, `cgraph_node::remove` in
`cgraph.c`), one record a line, fields between semicolons:

    Callgraph clone;NAME;ORDER;FILE;LINE;COLUMN;NAME2;ORDER2;FILE2;LINE2;COLUMN2;WORD
    Callgraph clone;NAME;ORDER;FILE;LINE;COLUMN;<-;NAME2;ORDER2;FILE2;LINE2;COLUMN2;optimization:;WORD
    Callgraph removal;NAME;ORDER;FILE;LINE;COLUMN

The second is how the patched GCC spelled it that had the dump first.  The first function's body goes into the
second one; WORD says how.  GCC quotes nothing: a file name with `;` or a line break, or an `asm("a;b")` name,
gives a line that can't be read with certainty and is therefore an error.

This module imports nothing, not even numpy, because the compiler driver reads one dump a compilation with it.
`clonebulk` reads thousands of dumps; it must agree with this reader and leaves every complaint to it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from klpkit.errors import FormatError

    Node = tuple[str, int, str, int, int]
    """Symbol, order, file, line, column."""

CLONE_PREFIX = b"Callgraph clone"
REMOVAL_PREFIX = b"Callgraph removal"

# An order, line or column is a non-negative C int.
NUMBER_MAX = 2**31 - 1

# The word at the end of a clone record → the cause that it stands for.
WORDS = {
    "inlining to": "inline",
    "constprop": "constprop",
    "isra": "isra",
    "part": "part",
    "simdclone": "simdclone",
    "default": "target-clone",
    "resolver": "target-clone",
    "(null)": "clone",
}

# How a word begins that names a processor type or extension: the argument of the attribute `target_clones`,
# every character that an assembler name can't hold turned into `_`.
TARGET_PREFIXES = (
    *("3dnow", "abm", "adx", "aes", "amx", "apxf", "arch_", "avx", "bmi", "branch_", "cpu_", "crc", "dotprod"),
    *("f16c", "fma", "fp16", "gfni", "lwp", "lzcnt", "memtag", "mmx", "movbe", "pclmul", "popcnt", "power"),
    *("rdma", "rdrnd", "sha", "sse", "ssse", "sve", "tbm", "tune_", "vaes", "vpclmul", "xop"),
)


# What the name of a dump has before `.000i.ipa-clones` when it was written at link time: the whole program's
# (`X.wpa`), a partition's (`X.ltrans0.ltrans`), or all of it at once (`X.lto.o-cc123456.lto.o`).
LINK_TIME_ENDINGS = (".wpa", ".ltrans", ".lto.o")


def is_lto_dump(path: str) -> bool:
    """Whether the dump at `path` was written at link time and so speaks about several units."""
    stem = path.rpartition("/")[2].removesuffix(".ipa-clones").rpartition(".")[0]
    return stem.endswith(LINK_TIME_ENDINGS)


class CloneDump:
    """What one dump says, in its order.

    `clones` are (body, user, word) with nodes as (symbol, order, file, line, column); `removed` are the nodes
    that GCC dropped before its end.  `warnings` count what a lenient reading left out.
    """

    __slots__ = ("clones", "path", "removed", "warnings")

    def __init__(self, path: str) -> None:
        self.path = path
        self.clones: list[tuple[Node, Node, str]] = []
        self.removed: list[Node] = []
        self.warnings: list[str] = []


def read_dump(path: str, *, lenient: bool = False) -> CloneDump:
    """The dump at `path`; OSError where it can't be read, otherwise as `parse_dump`."""
    with open(path, "rb") as stream:
        return parse_dump(stream.read(), path, lenient=lenient)


def parse_dump(data: bytes, path: str, *, lenient: bool = False, kept: list[bytes] | None = None) -> CloneDump:
    """The dump `data`, called `path` in messages; the lines that are records are added to `kept`.

    A line that is no record, or a last one without its line end, is a `FormatError` that names `path` and the
    line; with `lenient` such lines are left out, and one warning counts them and tells about the first.
    """
    dump = CloneDump(path)
    nodes = _Nodes()
    clean = len(data.translate(None, CONTROLS)) + data.count(b"\n") == len(data)
    bad = 0
    first = ""
    for number, line, ended in _lines(data):
        problem = _take(dump, line, nodes, clean) if ended else "the line has no end: the dump is truncated"
        if not problem:
            if kept is not None:
                kept.append(line)
            continue
        if not lenient:
            raise _error(path, number, problem)
        bad += 1
        first = first or f"line {number}: {problem}"
    if bad:
        dump.warnings.append(f"{path}: {bad} malformed line{'s' * (bad > 1)} left out, the first at {first}")
    return dump


def cause_of(word: str, body: str, user: str) -> tuple[str, bool]:
    """The cause slug of a record that ends with `word`, and whether the word is a known one.

    `body` and `user` are the symbols.  A node without a new name (`(null)` between equal symbols) is the same
    function once more.  A word that is not known makes a `clone`: whatever it is, its code comes from the body.
    """
    if word == "(null)" and body == user:
        return "same-function", True
    if word in WORDS:
        return WORDS[word], True
    if word.startswith(TARGET_PREFIXES):
        return "target-clone", True
    return "clone", False


def unknown_word_warning(word: str, count: int) -> str:
    """The sentence about `count` records that end with a `word` that klpkit does not know."""
    return f"{count} clone record{'s' * (count > 1)} of the unknown kind {word!r}, taken as copies of the body"


def _lines(data: bytes) -> Iterator[tuple[int, bytes, bool]]:
    """Each line with its number from 1 and whether a line end followed it."""
    lines = data.split(b"\n")
    rest = lines.pop()
    for number, line in enumerate(lines, 1):
        yield number, line, True
    if rest:
        yield len(lines) + 1, rest, False


class _Nodes(dict[tuple[bytes, ...], "Node | None"]):
    """Five fields → the function that they name: a dump names most of its functions many times."""

    def __missing__(self, fields: tuple[bytes, ...]) -> Node | None:
        self[fields] = node = _node(fields)
        return node


def _take(dump: CloneDump, line: bytes, nodes: _Nodes, clean: bool) -> str:
    """Add the record in `line` to `dump`; what is wrong with it, or nothing.

    `clean` says that no line of the dump has a control character.
    """
    fields = line.split(b";")
    count = len(fields)
    if fields[0] == CLONE_PREFIX and count == 12:
        body, user, word = fields[1:6], fields[6:11], fields[11]
    elif fields[0] == CLONE_PREFIX and count == 14 and fields[6] == b"<-" and fields[12] == b"optimization:":
        body, user, word = fields[1:6], fields[7:12], fields[13]
    elif fields[0] == REMOVAL_PREFIX and count == 6:
        body, user, word = fields[1:6], None, b""
    else:
        return _shape_problem(fields, line)
    if not clean and line.translate(None, CONTROLS) != line:
        return "a control character where text is expected: this is no clone dump"
    source = nodes[tuple(body)]
    if source is None:
        return f"not a function record: {_shown(b';'.join(body))}"
    if user is None:
        dump.removed.append(source)
        return ""
    target = nodes[tuple(user)]
    if target is None:
        return f"not a function record: {_shown(b';'.join(user))}"
    if not word:
        return "the kind of the record is missing"
    dump.clones.append((source, target, word.decode(errors="surrogateescape")))
    return ""


CONTROLS = bytes(range(32))


def _node(fields: tuple[bytes, ...]) -> Node | None:
    """The function that five fields name, None where they don't; the `*` that marks an `asm` name goes."""
    symbol = fields[0].removeprefix(b"*")
    order, line, column = _number(fields[1]), _number(fields[3]), _number(fields[4])
    if not symbol or order < 0 or line < 0 or column < 0:
        return None
    name = symbol.decode(errors="surrogateescape")
    return name, order, fields[2].decode(errors="surrogateescape"), line, column


def _number(text: bytes) -> int:
    """A decimal C int as `%d` writes it, -1 for anything else."""
    if not text.isdigit() or len(text) > 10 or (text[0] == 48 and len(text) > 1):
        return -1
    value = int(text)
    return value if value <= NUMBER_MAX else -1


def _shape_problem(fields: list[bytes], line: bytes) -> str:
    expected = {CLONE_PREFIX: "12 or 14", REMOVAL_PREFIX: "6"}.get(fields[0])
    if expected is None:
        return f"not a clone record: {_shown(line)}"
    return (
        f"{len(fields)} fields where {expected} are expected (truncated, or a name or path holds ';'): "
        f"{_shown(line)}"
    )


def _shown(data: bytes) -> str:
    text = ascii(data[:60].decode(errors="backslashreplace"))
    return text + ("…" if len(data) > 60 else "")


def _error(path: str, number: int, problem: str) -> FormatError:
    from klpkit.errors import FormatError

    hint = "compile the file again with -fdump-ipa-clones, or leave such lines out with --lenient"
    return FormatError(path, f"line {number}", problem, hint=hint)
