# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH100, PTH113, PTH116, PTH118
"""What a function's source declares that decides what a level allows: static, always_inline, gnu_inline.

Two dumps of GCC's tell: `cfg` prints a function's attributes, `cgraph` whether it is public.  The compilation
itself leaves the one that its level needs where it can.  Else the declaration's own words before the name that a
dump points at usually tell; where they don't (a macro makes them), the translation unit is compiled once more
for both dumps.  Such answers are kept in klpkit's cache for the other units that include the header.
"""

from __future__ import annotations

import os

from klpkit.compilers.driver.folders import cache_folder, content

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from klpkit.compilers.driver.effects import Key

ALWAYS_INLINE, GNU_INLINE, STATIC, PLAIN = "always_inline", "gnu_inline", "static", "plain"
_INTERESTING = (ALWAYS_INLINE, GNU_INLINE)
LINES_BEFORE = 12
_DEFINITION = "\n  Type: function definition"
_VISIBILITY = "\n  Visibility:"


class Attributes:
    """Looks functions up; `ask` compiles once more and gives the two dumps' text (`cfg`, `cgraph`).

    `told` is what the compilation itself has left of the two (see `asking.Along`); `old_c` says that the dialect
    of the source makes each `extern inline` function a gnu_inline one.
    """

    def __init__(
        self, ask: Callable[[], tuple[str, str]], told: tuple[str, str] = ("", ""), *, old_c: bool = False
    ) -> None:
        self._ask = ask
        self._told = told
        self._old_c = old_c
        self._files: dict[str, list[str]] = {}
        self._asked: dict[str, frozenset[str]] | None = None
        self._cache: dict[str, frozenset[str]] | None = None

    def of(self, keys: Iterable[Key], enough: frozenset[str]) -> dict[Key, frozenset[str]]:
        """Each function's words among static, always_inline, gnu_inline; `plain` for none of them.

        Source text is believed where it shows a word of `enough`; all else is asked of the compiler.
        """
        told = parsed(*self._told, self._old_c) if any(self._told) else {}
        answers: dict[Key, frozenset[str]] = {}
        for key in keys:
            words = told.get(key[0]) or self._from_text(key)
            if key[0] not in told and words.isdisjoint(enough):
                words = self._from_cache(key) or self._from_compiler(key)
            answers[key] = words
        return answers

    def _from_text(self, key: Key) -> frozenset[str]:
        _, file, line, column = key
        if file not in self._files:
            data = content(file) if file else None
            self._files[file] = data.decode(errors="replace").split("\n") if data else []
        return words_before(self._files[file], line, column, key[0])

    def _from_compiler(self, key: Key) -> frozenset[str]:
        if self._asked is None:
            self._asked = parsed(*self._ask(), self._old_c)
        words = self._asked.get(key[0], frozenset())
        # What no file holds (standard input, `#line`) is another text the next time; so is a header's in old C.
        if words and not self._old_c and os.path.isfile(key[1]):
            line = "\t".join([_stamp(key), ",".join(sorted(words))]) + "\n"
            descriptor = os.open(_cache_file(), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            os.write(descriptor, line.encode(errors="surrogateescape"))
            os.close(descriptor)
        return words

    def _from_cache(self, key: Key) -> frozenset[str]:
        if self._old_c or not os.path.isfile(key[1]):
            return frozenset()
        if self._cache is None:
            text = (content(_cache_file()) or b"").decode(errors="surrogateescape")
            rows = (line.split("\t") for line in text.splitlines())
            self._cache = {row[0]: frozenset(row[1].split(",")) for row in rows if len(row) == 2}
        return self._cache.get(_stamp(key), frozenset())


def _cache_file() -> str:
    return os.path.join(cache_folder("driver"), "attributes-1")


def _stamp(key: Key) -> str:
    """What the answer depends on, in one word: function, file, and the file's state."""
    symbol, file, line, column = key
    stat = os.stat(file)
    state = f"{stat.st_size:x}.{stat.st_mtime_ns:x}"
    return f"{os.path.abspath(file)}:{line}:{column}:{symbol}:{state}".replace("\t", "\\t").replace("\n", "\\n")


def words_before(lines: list[str], line: int, column: int, symbol: str) -> frozenset[str]:
    """The interesting words of the declaration whose name stands at `line`, `column` of `lines`; may be empty."""
    if not 0 < line <= len(lines) or not lines[line - 1][column - 1 :].startswith(symbol):
        return frozenset()
    head = [lines[line - 1][: column - 1]]
    for above in reversed(lines[max(0, line - 1 - LINES_BEFORE) : line - 1]):
        if above.lstrip().startswith("#") or above.rstrip().endswith((";", "}", "{", "*/", "\\")):
            break
        head.insert(0, above)
    text = _without_comments("\n".join(head))
    text = text[max(text.rfind(";"), text.rfind("}"), text.rfind("{")) + 1 :]
    found = {word for word in _INTERESTING if word in text}
    if STATIC in text.replace("(", " ").split():
        found.add(STATIC)
    return frozenset(found)


def _without_comments(text: str) -> str:
    while "/*" in text:
        before, _, rest = text.partition("/*")
        text = before + " " + rest.partition("*/")[2]
    return "\n".join(line.partition("//")[0] for line in text.split("\n"))


def parsed(cfg: str, cgraph: str, old_c: bool = False) -> dict[str, frozenset[str]]:
    """Symbol → words, from a `-fdump-tree-cfg` and a `-fdump-ipa-cgraph` dump of one unit, or one of them.

    Without `cgraph` nobody is known as static; without `cfg` only static functions are known, and with `old_c`
    the gnu_inline ones: there no other function is defined here and yet `external`.
    """
    seen = visibilities(cgraph)
    public = {symbol: "public" in words for symbol, words in seen.items()}
    static, borrowed = frozenset((STATIC,)), frozenset((GNU_INLINE,))
    result = {symbol: static for symbol, named in public.items() if not named and not cfg}
    old = {symbol for symbol, words in seen.items() if old_c and "external" in words}
    result.update(dict.fromkeys(old, borrowed))
    for chunk in f"\n{cfg}".split("\n;; Function ")[1:]:
        symbol = _symbol_of(chunk.partition("\n")[0])
        told = "\n".join(line for line in _head(chunk) if line.startswith("__attribute__"))
        found = {word for word in _INTERESTING if word in told}
        if public.get(symbol) is False:
            found.add(STATIC)
        if symbol in old:
            found.add(GNU_INLINE)
        result[symbol] = frozenset(found or {PLAIN})
    return result


def _symbol_of(header: str) -> str:
    """`S::n (_ZN1S1nEi, funcdef_no=1, …)` → `_ZN1S1nEi`; where GCC has given no symbol yet, C's is the name."""
    name, _, symbol = header.rpartition("funcdef_no=")[0].rstrip(", ").rpartition("(")
    return name.strip() if symbol == "<unset-asm-name>" else symbol.removeprefix("*")


def _head(chunk: str) -> list[str]:
    """The lines of a function's dump before its body."""
    return chunk.partition("\n{")[0].split("\n")


def public_functions(cgraph: str) -> dict[str, bool]:
    """Symbol → whether it is public, of every function that a `-fdump-ipa-cgraph` dump's first table defines."""
    return {symbol: "public" in words for symbol, words in visibilities(cgraph).items()}


def visibilities(cgraph: str) -> dict[str, list[str]]:
    """Symbol → the words of its visibility, of every function that the dump's first table defines."""
    text = cgraph.partition("Removing unused symbols:")[0]
    result: dict[str, list[str]] = {}
    at = text.find(_DEFINITION)
    while at >= 0:
        # NAME/ORDER (PRINTED NAME) @0x…
        symbol = text[text.rfind("\n", 0, at) + 1 : at].partition(" ")[0].rpartition("/")[0].removeprefix("*")
        words = text.find(_VISIBILITY, at)
        following = text.find(_DEFINITION, at + 1)
        if symbol and words >= 0 and (words < following or following < 0):
            result[symbol] = text[words : text.find("\n", words + 1)].split()
        at = following
    return result


def emitted_public_names(cgraph: str) -> list[str]:
    """The source names of the C functions that this unit defines for all to call, in its own object."""
    names: list[str] = []
    name = ""
    defined = False
    for line in cgraph.partition("Removing unused symbols:")[0].splitlines():
        if line and not line.startswith(" ") and "/" in line:
            name = line.partition("(")[2].partition(")")[0]
        elif line.startswith("  Type: "):
            defined = line.startswith("  Type: function definition")
        elif line.startswith("  Visibility:") and defined:
            words = line.split()
            if "public" in words and "external" not in words and name.replace("$", "_").isidentifier():
                names.append(name)
    return names
