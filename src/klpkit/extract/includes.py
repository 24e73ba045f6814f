"""Which of the source's includes a draft needs: those that first bring in something that the draft names.

A name's declaration comes before its uses, so its first appearance in the unit's text is the declaration, a tag's
the one with the body.  That can name an include too few (a header may rely on what was included before it): the
draft is compiled, and gets the includes of the names that the compiler misses, at last all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from klpkit.extract.items import KEYWORDS, Item
from klpkit.extract.preprocessed import Include, Preprocessed

_WORD = re.compile(r"[A-Za-z_$][\w$]*")
_TYPE_WORDS_LIST = """
    int char long short unsigned signed void float double _Bool const volatile
"""
_TYPE_WORDS = frozenset(_TYPE_WORDS_LIST.split())
_NO_TYPE_LIST = """
    return goto else case sizeof typeof do break continue struct union enum
"""
_NO_TYPE = frozenset(_NO_TYPE_LIST.split())


# An error, and the line of the source that is shown below it.
_ERROR = re.compile(r"^.*: (?:fatal )?error: (.*)(?:\n *\d+ \|(.*))?$", re.MULTILINE)
_QUOTED = re.compile(r"'(?!(?:struct|union|enum) )([A-Za-z_$][\w$]*)")
_TAG = re.compile(r"\b(?:struct|union|enum) ([A-Za-z_$][\w$]*)")


def missed(said: str) -> tuple[set[str], set[str]]:
    """The names and the tags that a compiler's errors tell of (GCC and Clang, in the C locale).

    Which type a member lacks is only in the line that is shown.
    """
    errors = _ERROR.findall(said)
    names = {name for text, _ in errors for name in _QUOTED.findall(text)}
    return names, {tag for texts in errors for text in texts for tag in _TAG.findall(text)}


def needed_includes(found: Preprocessed, names: set[str], tags: set[str], items: Sequence[Item]) -> list[Include]:
    """The includes of `found` that something in `names` or `tags` comes from, in their order."""
    wanted = names - _locals(items) - KEYWORDS
    files = _macro_files(found, wanted)
    wanted -= {name for name in wanted if name in found.macros}
    bodies = {tag: re.compile(rf"\b(?:struct|union|enum)\s+{re.escape(tag)}\b[^;,()=*]*\{{") for tag in tags}
    for include in found.includes:
        for file in include.files:
            words = found.words(file)
            if here := wanted & words:
                files.add(file)
                wanted -= here
            near = [tag for tag in bodies if tag in words]
            text = found.left(file) if near else ""
            for tag in [tag for tag in near if bodies[tag].search(text)]:
                files.add(file)
                del bodies[tag]
    return [include for include in found.includes if not files.isdisjoint(include.files)]


def _macro_files(found: Preprocessed, names: Iterable[str]) -> set[str]:
    """The files where the macros among `names` are defined."""
    return {macro.file for name in names for macro in found.macros.get(name, ())}


def _locals(items: Sequence[Item]) -> set[str]:
    """Names that the items' functions declare for themselves: parameters, and variables in their bodies."""
    found = set()
    for item in items:
        for before, name, after in zip(item.tokens, item.tokens[1:], item.tokens[2:], strict=False):
            if after not in ("=", ";", ",", ")", "[") or not _WORD.match(name):
                continue
            if before in _TYPE_WORDS or before == "*" or (_WORD.match(before) and before not in _NO_TYPE):
                found.add(name)
    return found
