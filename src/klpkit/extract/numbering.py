"""Which line of the source a line of the draft was.

`__LINE__` and `__FILE__` are part of the code: for the comparison with the kernel's a draft is compiled with line
directives (GNU C, "Preprocessor Output") that give each line its old number.  Until then comments carry the
numbers, since all that changes the text leaves comments alone; the draft for people has neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_MARK = re.compile(r"/\*@(\d+)\*/")
LEFT_OUT = "/*@*/"
"""In the place of text that was on a line of its own and is gone."""


def marked(line: str, number: int) -> str:
    """`line` of the source with its `number`; a directive can't carry one."""
    return line if line.lstrip().startswith("#") else f"/*@{number}*/{line}"


def plain(text: str) -> str:
    """`text` as a person gets it."""
    lines = (line for line in text.split("\n") if line.strip() != LEFT_OUT)
    return _MARK.sub("", "\n".join(lines).replace(LEFT_OUT, ""))


def numbered(text: str, place: Callable[[int], tuple[str, int]]) -> str:
    """`text` as the compiler gets it; `place` is the file and line that a number stands for."""
    return "\n".join(_directed(text, place)).replace(LEFT_OUT, "")


def _directed(text: str, place: Callable[[int], tuple[str, int]]) -> Iterator[str]:
    for line in text.split("\n"):
        if mark := _MARK.match(line):
            file, number = place(int(mark[1]))
            quoted = file.replace("\\", "\\\\").replace('"', '\\"')
            yield f'# {number} "{quoted}"'
        yield _MARK.sub("", line)
