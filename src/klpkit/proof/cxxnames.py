"""C++ names as people write them: from symbols, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from klpkit import programs
from klpkit.errors import EnvironmentLackError

_TEMPLATE = re.compile(r"<[^<>]*>")
_OPERATOR = re.compile(r"\boperator\b")


def demangled(symbols: Iterable[str]) -> dict[str, str]:
    """Symbol → the name in C++, by binutils' `c++filt`; without it, each symbol names itself."""
    names = list(symbols)
    try:
        done = programs.run(["c++filt"], stdin="\n".join(names).encode(errors="surrogateescape"), timeout=60)
    except EnvironmentLackError:
        return {name: name for name in names}
    titles = done.stdout.decode(errors="surrogateescape").split("\n")
    return dict(zip(names, titles, strict=False))


def qualified(title: str) -> str:
    """`ns::f<int>` of `int ns::f<int>(int) const`."""
    name = title
    end = title.rfind(")")
    if end >= 0:
        name = title[: _opening(title, end)]
        if name.endswith("operator"):  # `operator()` alone has no parameters written
            name = title
    operator = _OPERATOR.search(name)
    head = name[: operator.start()] if operator else name
    depth, cut = 0, 0
    for index, mark in enumerate(head):
        depth += (mark in "<({[") - (mark in ">)}]")
        if mark == " " and depth == 0:
            cut = index + 1
    return name[cut:]


def plain(title: str) -> str:
    """`ns::f` of `int ns::f<int>(int) const`."""
    name = qualified(title)
    operator = _OPERATOR.search(name)
    head, tail = (name[: operator.start()], name[operator.start() :]) if operator else (name, "")
    while (shorter := _TEMPLATE.sub("", head)) != head:
        head = shorter
    return head + tail


def identifier(name: str) -> str:
    """The word that a C++ name ends in, which any source that defines the function has in it."""
    if name.startswith("_Z"):
        name = demangled([name])[name]
    word = last_word(name).removeprefix("~")
    found = re.match(r"\w+", word)
    return found[0] if found else name


def matching(name: str, titles: Mapping[str, str]) -> list[str]:
    """The symbols of `titles` that `name` means: as it is, else by the whole name, else by ever less of it."""
    if name in titles:
        return [name]
    wanted = _tight(name)
    for form in (str, _without_return, qualified, plain, last_word):
        if found := [symbol for symbol, title in titles.items() if _tight(form(title)) == wanted]:
            return found
    return []


def _without_return(title: str) -> str:
    name = qualified(title)
    return title[title.find(name) :]


def last_word(title: str) -> str:
    """`f` of `int ns::f<int>(int) const`."""
    return plain(title).rpartition("::")[2]


def _tight(name: str) -> str:
    return "".join(name.split())


def _opening(title: str, end: int) -> int:
    """The position of the parenthesis that the one at `end` closes."""
    depth = 0
    for index in range(end, -1, -1):
        depth += (title[index] == ")") - (title[index] == "(")
        if depth == 0:
            return index
    return 0
