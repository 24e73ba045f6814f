"""Two files in, one `ObjectDiff` out."""

from __future__ import annotations

from pathlib import Path

from klpkit.diff.answer import answer
from klpkit.diff.compare import Comparison, compare
from klpkit.diff.correlate import correlate
from klpkit.diff.load import load
from klpkit.diff.model import ObjectDiff
from klpkit.diff.pool import Pool
from klpkit.diff.union import union
from klpkit.elf import ElfFile
from klpkit.errors import RefusedError


def diff_files(original: Path | str, patched: Path | str) -> ObjectDiff:
    """What changed between two objects, and whether a live patch can carry it.

    `FormatError` for broken files, `RefusedError` for objects that can't be compared.
    """
    return diff_elf(ElfFile.open(original), ElfFile.open(patched))


def diff_elf(original: ElfFile, patched: ElfFile) -> ObjectDiff:
    """`diff_files` for files that are open already."""
    return answer(comparison(original, patched))


def comparison(original: ElfFile, patched: ElfFile) -> Comparison:
    """The raw comparison, for callers that want rows."""
    if original.machine != patched.machine:
        hint = "compile both sides with the same compiler"
        raise RefusedError(
            "different-machines", f"{original.path} and {patched.path} differ in machine", hint=hint
        )
    names, contents = Pool(), Pool()
    both = union(load(original, names, contents), load(patched, names, contents), names)
    return compare(correlate(both))
