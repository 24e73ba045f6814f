"""The source files of shipped symbols, as far as the files of the kernel tell them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from klpkit.errors import FormatError, RefusedError
from klpkit.target.model import TargetObject, TargetSymbol
from klpkit.target.vmlinux import Vmlinux


def source_paths(owner: TargetObject, symbols: Sequence[TargetSymbol]) -> list[str | None]:
    """The source file of each of `symbols` of `owner`, None where it is not known.

    Debug information gives paths in the kernel's tree; a symbol table has names without their folders.
    """
    paths: Sequence[str | None] = [None] * len(symbols)
    if isinstance(owner, Vmlinux) and owner.elf is not None:
        from klpkit.records.unitnames import unit_names

        try:
            paths = unit_names(owner.elf, [symbol.address for symbol in symbols])
        except (FormatError, RefusedError):
            # Only the folders are missing then: the symbol table's names are right all the same.
            paths = [None] * len(symbols)
    return [_better(symbol.source, path) for symbol, path in zip(symbols, paths, strict=True)]


def _better(name: str | None, path: str | None) -> str | None:
    """`path` where it does not contradict the `name` of the symbol table."""
    if path is None or (name is not None and PurePath(path).name != PurePath(name).name):
        return name
    return path
