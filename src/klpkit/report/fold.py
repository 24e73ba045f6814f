"""Breaking text into lines of a width without ever losing a character of a name."""

from __future__ import annotations

import re

_JOINT = re.compile(r"[_/.:,-]")


def columns(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def fold(text: str, width: int, *, break_words: bool = True, hanging: int = 0) -> list[str]:
    """`text` in lines of at most `width` columns, broken at spaces, later lines indented by `hanging`.

    A word longer than a line is broken after one of `_/.:,-` or, failing that, anywhere; with `break_words` off it
    sticks out instead.
    """
    width = max(width, hanging + 4)
    if columns(text) <= width:
        return [text]
    lines: list[str] = []
    lead = len(text) - len(text.lstrip(" "))
    line, started = " " * lead, False
    for word in text[lead:].split(" "):
        joined = f"{line} {word}" if started else line + word
        if started and columns(joined) > width:
            lines.append(line)
            joined = " " * hanging + word
        while break_words and columns(joined) > width:
            end = _joint(joined, width)
            lines.append(joined[:end])
            joined = " " * hanging + joined[end:]
        line, started = joined, bool(joined.strip())
    return [*lines, line]


def _joint(line: str, width: int) -> int:
    """Where to break `line`, whose first word is longer than `width` columns."""
    end = width if line.isascii() else next(i for i in range(width, 0, -1) if columns(line[:i]) <= width)
    joints = [found.end() for found in _JOINT.finditer(line, 0, end)]
    return joints[-1] if joints and joints[-1] > end // 2 else end
