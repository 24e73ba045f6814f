# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH112
"""Response files (`@file`), quoted as libiberty's `buildargv` reads them.

White space separates words; single quotes, double quotes and a backslash protect; a file may name others.  A
name that can't be read stays a word of its own, as GCC does.
"""

from __future__ import annotations

import os

from klpkit.compilers.driver.talk import DriverError, write_all

MOST_NESTED = 2000
"""GCC's own limit on response files within response files."""

LONGEST_INLINE = 60_000
"""More bytes of arguments than this go to the compiler as a response file again: execve has its limits."""

_SPACE = " \t\n\r\v\f"


def words_of(text: str) -> list[str]:
    """`text` as words."""
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    characters = iter(text)
    for char in characters:
        if not quote and char in _SPACE:
            if word is not None:
                words.append("".join(word))
            word = None
            continue
        word = [] if word is None else word
        if char == "\\":
            word.append(next(characters, ""))
        elif char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        else:
            word.append(char)
    if word is not None:
        words.append("".join(word))
    return words


def quoted(words: list[str]) -> str:
    """`words` as the text of a response file."""
    special = _SPACE + "\\'\""
    return "\n".join("".join("\\" + c if c in special else c for c in word) or '""' for word in words) + "\n"


def expanded(word: str) -> list[str] | None:
    """The words of the response file `@name`, files that it names included; None where it can't be read."""
    result: list[str] = []
    todo = [word]
    opened = 0
    while todo:
        head = todo.pop()
        inner = _read(head[1:]) if head.startswith("@") else None
        if inner is None:
            result.append(head)
            continue
        opened += 1
        if opened > MOST_NESTED:
            raise DriverError("too many @-files encountered")
        todo.extend(reversed(inner))
    return result if opened else None


def all_expanded(arguments: list[str]) -> list[str]:
    """`arguments` with every response file replaced by its words."""
    result: list[str] = []
    for word in arguments:
        inner = expanded(word) if word.startswith("@") else None
        result += [word] if inner is None else inner
    return result


def _read(name: str) -> list[str] | None:
    if os.path.isdir(name):
        return None
    try:
        with open(name, encoding="utf-8", errors="surrogateescape") as stream:
            return words_of(stream.read())
    except OSError:
        return None


def fitting(arguments: list[str]) -> list[str]:
    """`arguments` for execve: as they are, or where they are long, as one response file in memory.

    The file is an inherited descriptor, so that nothing is left behind.
    """
    if sum(map(len, arguments)) + len(arguments) <= LONGEST_INLINE:
        return arguments
    descriptor = os.memfd_create("klpkit-arguments", 0)
    os.set_inheritable(descriptor, True)
    write_all(descriptor, quoted(arguments).encode(errors="surrogateescape"))
    return [f"@/dev/fd/{descriptor}"]
