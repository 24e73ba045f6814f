"""From source patches to the functions that an impact query asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from klpkit.build import Touched, read_patch, touched_functions
from klpkit.build.tree import BuildTree
from klpkit.errors import UserError


@dataclass(frozen=True, slots=True)
class PatchedFunctions:
    """What patches touch: functions to ask for as `file:name`, and sentences on what can't be asked for."""

    specs: tuple[str, ...]
    warnings: tuple[str, ...]


def patched_functions(patches: Sequence[Path], tree: BuildTree) -> PatchedFunctions:
    """The functions whose code `patches` touch, users of changed macros included.

    Raises `UserError` where patches are given and they touch no function at all.
    """
    if not patches:
        return PatchedFunctions((), ())
    if tree.source is None:
        raise UserError(f"no source tree for {tree.root}", hint="name it with --source")
    touched: list[Touched] = []
    for path in patches:
        patch = read_patch(path, tree.source)
        # The running code was compiled under the old name.
        old = {file.path: file.renamed_from for file in patch.files if file.renamed_from}
        rows = touched_functions(patch, tree)
        touched += [replace(row, file=old.get(row.file, row.file)) for row in rows]
    specs = dict.fromkeys(f"{row.file}:{row.name}" for row in touched if _is_asked_for(row))
    warnings = dict.fromkeys(_sentence(row) for row in touched if not _is_asked_for(row))
    if not specs:
        names = ", ".join(map(str, patches))
        raise UserError(
            f"{names}: touches no function that exists",
            hint="\n  ".join(warnings) or "it changes comments, layout or file names alone",
        )
    return PatchedFunctions(tuple(specs), tuple(warnings))


def _is_asked_for(row: Touched) -> bool:
    """Functions that exist in the running code: what a patch adds has no users there yet."""
    return row.kind == "function" and row.change != "added"


def _sentence(row: Touched) -> str:
    if row.name == row.file:
        return f"{row.file}: no C source: what it changes in how others are built is not in the list"
    place = f"{row.file}:{row.lines[0]}"
    if row.kind == "function":
        return f"{place}: {row.name} is new"
    if row.kind == "macro":
        return f"{place}: the macro {row.name} is {row.change}; the functions that use it are in the list"
    return (
        f"{place}: {row.kind} {row.name} is {row.change}: records can't list the functions that depend on it; "
        "compare the objects of the patched build with `klpkit diff`"
    )
