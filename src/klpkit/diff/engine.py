"""Two files in, one `ObjectDiff` out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from klpkit.diff.answer import answer
from klpkit.diff.comparable import comparable
from klpkit.diff.compare import Comparison, compare
from klpkit.diff.correlate import correlate
from klpkit.diff.equal import function_count, same_objects
from klpkit.diff.load import load
from klpkit.diff.model import ObjectDiff, Status, Verdict
from klpkit.diff.pool import Pool
from klpkit.diff.union import union
from klpkit.elf import ElfFile
from klpkit.errors import FormatError, RefusedError, UserError

if TYPE_CHECKING:
    from klpkit.diff.bodies import DumpPaths
    from klpkit.diff.instructions import Row


def diff_files(
    original: Path | str,
    patched: Path | str,
    *,
    symbol_owners: Mapping[str, str] | None = None,
    dumps: DumpPaths = (None, None),
) -> ObjectDiff:
    """What changed between two objects, and whether a live patch can carry it.

    `symbol_owners` says which module exports a symbol (`vmlinux` for the kernel itself), as `Module.symvers` does.
    `dumps` are the clone dumps of both sides, or their folders, where they don't lie beside the objects; they only
    add reasons.  `FormatError` for broken files, `RefusedError` for objects that can't be compared.
    """
    diff = diff_elf(ElfFile.open(original), ElfFile.open(patched), symbol_owners=symbol_owners)
    return _with_bodies(diff, original, patched, dumps)


def _with_bodies(diff: ObjectDiff, original: Path | str, patched: Path | str, dumps: DumpPaths) -> ObjectDiff:
    if not diff.changed:
        return diff
    from klpkit.diff.bodies import with_bodies

    return with_bodies(diff, Path(original), Path(patched), dumps)


def diff_elf(original: ElfFile, patched: ElfFile, *, symbol_owners: Mapping[str, str] | None = None) -> ObjectDiff:
    """`diff_files` for files that are open already."""
    if _equal(original, patched):
        return _unchanged(original, patched)
    result = comparison(original, patched)
    result.symbol_owners = symbol_owners or {}
    return answer(result)


def _equal(original: ElfFile, patched: ElfFile) -> bool:
    """Whether both can be compared and there is nothing to find."""
    _same_machine(original, patched)
    comparable(original)
    comparable(patched)
    return same_objects(original, patched)


def _unchanged(original: ElfFile, patched: ElfFile) -> ObjectDiff:
    count = function_count(original)
    arch = comparable(original).name
    paths = str(original.path), str(patched.path)
    return ObjectDiff(*paths, arch=arch, verdict=Verdict.NO_CHANGE, compared=(count, count))


def read_symvers(path: Path) -> dict[str, str]:
    """Symbol → the module that exports it (its last path component), from a `Module.symvers`."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}", hint="name the Module.symvers of the kernel's build"
        ) from error
    owners = {}
    for number, line in enumerate(lines, 1):
        fields = line.split("\t")
        if len(fields) < 3:
            raise FormatError(path, f"line {number}", "no symbol and module in it")
        owners[fields[1]] = fields[2].rpartition("/")[2]
    return owners


def comparison(original: ElfFile, patched: ElfFile) -> Comparison:
    """The raw comparison of every entity, for callers that want rows; equal objects are taken apart as well."""
    _same_machine(original, patched)
    names, contents = Pool(), Pool()
    both = union(load(original, names, contents), load(patched, names, contents), names)
    return compare(correlate(both, names))


def _same_machine(original: ElfFile, patched: ElfFile) -> None:
    if original.machine != patched.machine:
        hint = "compile both sides with the same compiler"
        raise RefusedError(
            "different-machines", f"{original.path} and {patched.path} differ in machine", hint=hint
        )


def diff_with_instructions(
    original: Path | str,
    patched: Path | str,
    *,
    symbol_owners: Mapping[str, str] | None = None,
    dumps: DumpPaths = (None, None),
) -> tuple[ObjectDiff, dict[str, list[Row | None]]]:
    """`diff_files`, and for each changed function both versions side by side."""
    from klpkit.diff.instructions import side_by_side

    files = ElfFile.open(original), ElfFile.open(patched)
    if _equal(*files):
        return _unchanged(*files), {}
    result = comparison(*files)
    result.symbol_owners = symbol_owners or {}
    diff = answer(result)
    both, views = result.both, {}
    changed = {function.name for function in diff.functions if function.status is Status.CHANGED}
    for row in result.causes:
        partner = int(result.found.partner[row])
        name = both.name_of(row)
        if row < both.split and partner >= 0 and name in changed:
            views[name] = side_by_side(both.original, row, both.patched, partner - both.split)
    return _with_bodies(diff, original, patched, dumps), views
