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
from klpkit.diff.model import CodeChanges, ObjectDiff, Status, Verdict
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
    diff, result = _answered(ElfFile.open(original), ElfFile.open(patched), symbol_owners)
    return _explained(diff, result, dumps, original, patched)


def diff_elf(original: ElfFile, patched: ElfFile, *, symbol_owners: Mapping[str, str] | None = None) -> ObjectDiff:
    """`diff_files` for files that are open already; clone dumps are not looked for."""
    diff, result = _answered(original, patched, symbol_owners)
    return _explained(diff, result)


def code_changes(original: ElfFile, patched: ElfFile) -> CodeChanges:
    """Which functions' code differs between two objects, references resolved; nothing is said of live patches.

    This is `diff_elf` without data, obstacles and reasons: for callers that compare two compilations.
    """
    diff, _ = _answered(original, patched, None)
    changed, new, gone = (
        tuple(function for function in diff.functions if function.status is status)
        for status in (Status.CHANGED, Status.NEW, Status.GONE)
    )
    return CodeChanges(changed, new, gone, moved=tuple(sorted({line.where for line in diff.moved})))


def _answered(
    original: ElfFile, patched: ElfFile, symbol_owners: Mapping[str, str] | None
) -> tuple[ObjectDiff, Comparison | None]:
    """The answer, and what it comes from; None where both objects are equal."""
    if _equal(original, patched):
        return _unchanged(original, patched), None
    result = comparison(original, patched)
    result.symbol_owners = symbol_owners or {}
    return answer(result), result


def _explained(
    diff: ObjectDiff,
    result: Comparison | None,
    dumps: DumpPaths = (None, None),
    original: Path | str = "",
    patched: Path | str = "",
) -> ObjectDiff:
    """`diff` with more reasons: from clone dumps of both sides, or else from line tables."""
    if not diff.changed or result is None:
        return diff
    told = diff
    if original and patched:
        from klpkit.diff.bodies import with_bodies

        told = with_bodies(diff, Path(original), Path(patched), dumps)
    if told.functions == diff.functions and result.both.original.has_lines:
        from klpkit.diff.sourcelines import with_lines

        told = with_lines(told, result)
    return told


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

    diff, result = _answered(ElfFile.open(original), ElfFile.open(patched), symbol_owners)
    if result is None:
        return diff, {}
    both, views = result.both, {}
    changed = {function.name for function in diff.functions if function.status is Status.CHANGED}
    for row in result.causes:
        partner = int(result.found.partner[row])
        name = both.name_of(row)
        if row < both.split and partner >= 0 and name in changed:
            views[name] = side_by_side(both.original, row, both.patched, partner - both.split)
    return _explained(diff, result, dumps, original, patched), views
