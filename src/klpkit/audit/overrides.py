"""Switches that a source sets for single functions: `__attribute__((optimize("…")))` and `#pragma GCC optimize`.

GCC keeps the command line's explicit `-fno-…` under an attribute that only names a level (`"O3"`), but a switch
that the attribute names itself can win, and neither `-Q` nor, for most passes, a record shows it.  They are
looked for in the preprocessed source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from klpkit.audit.model import Breach
from klpkit.compilers.gcc import SWITCHES
from klpkit.compilers.levels import Level

_MARKER = re.compile(r'^# (\d+) "((?:[^"\\]|\\.)*)"')
_OPTIMIZE = re.compile(r"\b(?:__optimize__|optimize)\s*\(([^()]*)\)|^\s*#\s*pragma\s+GCC\s+optimize\b(.*)")
_STRING = re.compile(r'"([^"]*)"')


def override_breaches(preprocessed: str, level: Level) -> tuple[Breach, ...]:
    """A breach for each place that turns on a switch which `level` forbids."""
    return tuple(
        Breach(
            "pass-allowed", switch, "the source turns it on for single functions, against the flags", file, line
        )
        for switch, file, line in _settings(preprocessed)
        if not level.allows(SWITCHES[switch])
    )


def _settings(preprocessed: str) -> Iterator[tuple[str, str, int]]:
    """(switch, file, line) of each switch of the table that the source turns on."""
    file, line = "", 0
    for text in preprocessed.splitlines():
        if marker := _MARKER.match(text):
            file, line = marker[2], int(marker[1]) - 1
            continue
        line += 1
        for match in _OPTIMIZE.finditer(text):
            for words in _STRING.findall(match[1] or match[2] or ""):
                for word in words.split(","):
                    switch = "-f" + word.strip().removeprefix("-f")
                    if switch in SWITCHES:
                        yield switch, file, line
