"""Changing C text word by word, so that comments, strings and layout stay as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from klpkit.build.csource import lexemes

_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*")
# Words of a definition that a declaration elsewhere must not repeat.
_STORAGE_LIST = """
    static inline __inline __inline__ extern __always_inline noinline noinline_for_stack __init __exit __ref
    __read_mostly __ro_after_init __initdata __maybe_unused __used notrace __sched
    __cacheline_aligned_in_smp __latent_entropy __weak
"""
_STORAGE = frozenset(_STORAGE_LIST.split())
_INLINE = ("inline", "__always_inline")
_HIDING = {("word", word) for word in ("static", "__weak", *_INLINE)}


def renamed(text: str, names: Mapping[str, str]) -> str:
    """`text` with each identifier of `names` replaced, members (`.x`, `->x`), tags and strings left alone."""
    return "".join(_renamed_pieces(text, names))


def _renamed_pieces(text: str, names: Mapping[str, str]) -> Iterator[str]:
    before = ""
    for kind, token, _ in lexemes(text):
        if kind == "word" and token in names and before not in (".", "->", "struct", "union", "enum"):
            yield names[token]
        elif kind == "directive":
            yield _IDENTIFIER.sub(lambda word: names.get(word[0], word[0]), token)
        else:
            yield token
        if kind not in ("blank", "newline", "comment"):
            before = before + token if (before, token) == ("-", ">") else token


def without_static(text: str, name: str, *, inline: str = "") -> str:
    """`text` with the definition or declaration of function `name` at its top visible to other files.

    `inline` is what that word stands for besides, and is put in its place.
    """
    pieces = [(kind, token) for kind, token, _ in lexemes(text)]
    depth, start, gone = 0, 0, set()
    for index, (kind, token) in enumerate(pieces):
        depth += (token in ("{", "(")) - (token in ("}", ")"))
        if kind == "word" and token == name and depth == 0:
            gone |= {i for i in range(start, index) if pieces[i] in _HIDING}
        elif depth == 0 and token in (";", "}"):
            start = index
    for index in [index for index in sorted(gone) if pieces[index][1] in _INLINE][: bool(inline)]:
        gone.discard(index)
        pieces[index] = ("word", inline)
    # The blank after a word goes with it.
    gone |= {index + 1 for index in gone if index + 1 < len(pieces) and pieces[index + 1][0] == "blank"}
    return "".join(token for index, (_, token) in enumerate(pieces) if index not in gone)


def prototype(text: str, name: str) -> str:
    """The declaration of function or variable `name` from its definition `text`; "" where it can't be read off.

    That is the case where macros make the name, and where a bracket without a bound is filled by an initialiser.
    """
    head: list[str] = []
    depth, seen = 0, False
    for kind, token, _ in lexemes(text):
        if kind == "directive":
            return ""
        if depth == 0 and token in ("{", "=", ";"):
            break
        depth += (token in "([") - (token in ")]")
        seen = seen or (token == name and depth == 0)
        if kind == "comment":
            continue
        head.append(" " if kind in ("blank", "newline") else "" if token in _STORAGE and depth == 0 else token)
    line = re.sub(r"\s+", " ", "".join(head)).strip()
    if not seen or re.search(r"\[\s*\]", line) or not re.search(rf"\w[\s*]+{re.escape(name)}\b", line):
        return ""
    return f"extern {line};"


def joined(tokens: list[str]) -> str:
    """Tokens as text that reads back as the same tokens."""
    text = " ".join(tokens)
    text = re.sub(r" ([,;)\]])", r"\1", text)
    text = re.sub(r"(\w) \[", r"\1[", text)
    return re.sub(r"([(\[!~]) ", r"\1", text)
