"""`System.map`, `/proc/kallsyms` and nm's listings: lines of address, letter and name, in kallsyms order."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from klpkit.errors import FormatError, RefusedError
from klpkit.target.bzimage import read_bytes
from klpkit.target.columns import SymbolColumns


def read_system_map(path: Path) -> SymbolColumns:
    """The symbols in the file `path`, sorted by address as kallsyms has them.

    Lines of modules (`/proc/kallsyms` marks them `[module]`) are left out.  Raises `FormatError` for others,
    `RefusedError` (`hidden-addresses`) where all addresses are 0, as `/proc/kallsyms` shows them to most users.
    """
    addresses: list[int] = []
    kinds: list[str] = []
    names: list[str] = []
    for number, line in enumerate(
        read_bytes(path, "a System.map").decode("utf-8", "surrogateescape").splitlines(), 1
    ):
        words = line.split()
        if len(words) == 4 and words[3].startswith("["):
            continue
        if len(words) != 3 or len(words[1]) != 1:
            raise FormatError(path, f"line {number}", "no line of address, letter and name", hint=_hint(line))
        try:
            addresses.append(int(words[0], 16))
        except ValueError as error:
            raise FormatError(path, f"line {number}", f"{words[0]} is no address", hint=_hint(line)) from error
        kinds.append(words[1])
        names.append(words[2])
    if not any(addresses):
        raise RefusedError(
            "hidden-addresses",
            f"{path}: no symbol has an address",
            hint="read it as root, or name the kernel image",
        )
    column = np.array(addresses, np.uint64)
    order = np.argsort(column, kind="stable").tolist()
    return SymbolColumns(column[order], "".join(kinds[row] for row in order), [names[row] for row in order])


def _hint(line: str) -> str:
    # Debian puts a note in the file's place and the file itself into the debug package.
    if "debug" in line or "System.map" in line:
        return "the distribution ships it in its debug package; or name the kernel image"
    return "name a System.map, or the kernel image"
