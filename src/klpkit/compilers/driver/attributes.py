# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH100, PTH116, PTH118
"""What a function's source declares that decides what a level allows: static, always_inline, gnu_inline.

The declaration's own words before the name that a dump points at usually tell.  Where they don't (a macro makes
them), the translation unit is compiled once more for two dumps that do: `cfg` prints a function's attributes,
`cgraph` whether it is public.  Answers are kept in klpkit's cache for the other units that include the header.
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


class Attributes:
    """Looks functions up; `ask` compiles once more and gives the two dumps' text (`cfg`, `cgraph`)."""

    def __init__(self, ask: Callable[[], tuple[str, str]]) -> None:
        self._ask = ask
        self._files: dict[str, list[str]] = {}
        self._asked: dict[str, frozenset[str]] | None = None
        self._cache: dict[str, frozenset[str]] | None = None

    def of(self, keys: Iterable[Key], enough: frozenset[str]) -> dict[Key, frozenset[str]]:
        """Each function's words among static, always_inline, gnu_inline; `plain` for none of them.

        Source text is believed where it shows a word of `enough`; all else is asked of the compiler.
        """
        answers: dict[Key, frozenset[str]] = {}
        for key in keys:
            words = self._from_text(key)
            if words.isdisjoint(enough):
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
            self._asked = parsed(*self._ask())
        words = self._asked.get(key[0], frozenset())
        if words:
            line = "\t".join([_stamp(key), ",".join(sorted(words))]) + "\n"
            descriptor = os.open(_cache_file(), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            os.write(descriptor, line.encode(errors="surrogateescape"))
            os.close(descriptor)
        return words

    def _from_cache(self, key: Key) -> frozenset[str]:
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
    try:
        stat = os.stat(file)
        state = f"{stat.st_size:x}.{stat.st_mtime_ns:x}"
    except OSError:
        state = "none"
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


def parsed(cfg: str, cgraph: str) -> dict[str, frozenset[str]]:
    """Symbol → words, from a `-fdump-tree-cfg` and a `-fdump-ipa-cgraph` dump of one unit."""
    public = public_functions(cgraph)
    result: dict[str, frozenset[str]] = {}
    symbol = ""
    found: set[str] = set()
    for line in cfg.splitlines():
        if line.startswith(";; Function "):
            # ;; Function S::n (_ZN1S1nEi, funcdef_no=1, …)
            symbol = line.rpartition("funcdef_no=")[0].rstrip(", ").rpartition("(")[2].removeprefix("*")
            found = set()
        elif line.startswith("__attribute__"):
            found |= {word for word in _INTERESTING if word in line}
        elif line.startswith("{") and symbol:
            if symbol in public and not public[symbol]:
                found.add(STATIC)
            result[symbol] = frozenset(found or {PLAIN})
            symbol = ""
    return result


def public_functions(cgraph: str) -> dict[str, bool]:
    """Symbol → whether it is public, of every function that a `-fdump-ipa-cgraph` dump's first table defines."""
    result: dict[str, bool] = {}
    symbol = ""
    defined = False
    for line in cgraph.partition("Removing unused symbols:")[0].splitlines():
        if line and not line.startswith(" ") and "/" in line:
            symbol = line.partition(" ")[0].rpartition("/")[0].removeprefix("*")
        elif line.startswith("  Type: "):
            defined = line.startswith("  Type: function definition")
        elif line.startswith("  Visibility:") and symbol and defined:
            result[symbol] = "public" in line.split()
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
