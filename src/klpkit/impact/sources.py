"""Where an impact query gets its evidence: a build tree, clone dumps, or the debug information of an image.

Each of these opens one kind of evidence for the functions that are asked for; `Sources` ties it to the query.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from klpkit.build.command import TranslationUnit
from klpkit.build.replays import Replayed, replay
from klpkit.build.tree import BuildTree
from klpkit.compilers.flagstate import flag_state, passes_on
from klpkit.compilers.probe import identify
from klpkit.errors import UserError
from klpkit.impact.concerned import concerned_units
from klpkit.impact.evidence import CodeFile, Evidence
from klpkit.impact.query import find_functions, source_of_unit
from klpkit.impact.units import RECORD_FLAGS, UnitEvidence, UnitFiles, read_unit
from klpkit.programs import parallel
from klpkit.records import concat, find_dumps, link_units, read_clone_dumps
from klpkit.records.clonelines import is_lto_dump
from klpkit.records.model import EffectTable, with_effects_only
from klpkit.records.objects import read_object

Progress = Callable[[int, int], None]
"""Called with how many units are done and how many there are."""


UNLISTED = (
    "no record shows who relies on a function by way of: {}; these are on in what was compiled, and "
    "`klpkit audit` says which flag turns each off"
)


def _silent(done: int, total: int) -> None:
    """Progress for nobody."""


# -- a build tree ----------------------------------------------------------------------------------------------


@contextmanager
def from_build(
    tree: BuildTree,
    specs: Sequence[str],
    warnings: Iterable[str] = (),
    *,
    jobs: int | None = None,
    progress: Progress = _silent,
) -> Iterator[Evidence]:
    """Evidence from the units of `tree` that the functions `specs` (`name`, `file:name`) concern.

    Clone dumps that lie in the tree are read; a unit without them is replayed with its compiler's records on,
    in a folder that lives as long as the block.  Errors are those of `concerned_units` and of a replay.
    """
    said = list(warnings)
    units: dict[Path, TranslationUnit] = {}
    for spec in specs:
        found = concerned_units(tree, spec)
        units.update((unit.object, unit) for unit in found.units)
        said += [text for text in found.warnings if text not in said]
    with units_evidence(tree, list(units.values()), said, jobs=jobs, progress=progress) as evidence:
        yield evidence


@contextmanager
def units_evidence(
    tree: BuildTree,
    units: Sequence[TranslationUnit],
    warnings: Iterable[str] = (),
    *,
    jobs: int | None = None,
    progress: Progress = _silent,
) -> Iterator[Evidence]:
    """Evidence from exactly these `units` of `tree`; see `from_build`."""
    with tempfile.TemporaryDirectory(prefix="klpkit-impact-") as folder:
        done = 0

        def work(numbered: tuple[int, TranslationUnit]) -> tuple[UnitEvidence, tuple[str, ...]]:
            number, unit = numbered
            return read_unit(_files(tree, unit, Path(folder, str(number)))), unlisted_causes(unit)

        def count(_: object, __: object) -> None:
            nonlocal done
            done += 1
            progress(done, len(units))

        progress(0, len(units))
        found = parallel(work, enumerate(units), jobs=jobs, done=count)
        silent = dict.fromkeys(cause for _, causes in found for cause in causes)
        said = [*warnings, *([UNLISTED.format(", ".join(silent))] if silent else [])]
        yield _together([part for part, _ in found], said)


def _files(tree: BuildTree, unit: TranslationUnit, workdir: Path) -> UnitFiles:
    """The records and the object of `unit`: the tree's own where they are there, else those of a replay."""
    name = _name(tree, unit)
    base = f"{tree.source}/" if tree.source else ""
    lying = _lying_dump(unit)
    if lying is not None:
        return UnitFiles(name, (lying,), unit.object, unit.owner, base)
    if unit.kind not in RECORD_FLAGS:
        raise UserError(
            f"{' '.join(unit.compiler)} is neither GCC nor Clang", hint="klpkit knows the records of these two"
        )
    made: Replayed = replay(unit, workdir=workdir, extra=RECORD_FLAGS[unit.kind])
    return UnitFiles(name, made.dumps, made.object, unit.owner, base)


def unlisted_causes(unit: TranslationUnit) -> tuple[str, ...]:
    """Passes that are on in `unit` and can make a function's code rely on another's without any record of it."""
    state = flag_state(identify(unit.compiler), unit.arguments, unit.language, unit.directory)
    return tuple(row.slug for row in passes_on(state) if not row.recorded and row.affects == "code")


def _name(tree: BuildTree, unit: TranslationUnit) -> str:
    """The unit's source, relative to the source tree where it is inside it."""
    for base in (tree.source, tree.root):
        if base is not None and unit.source.is_relative_to(base):
            return str(unit.source.relative_to(base))
    return str(unit.source)


def _lying_dump(unit: TranslationUnit) -> Path | None:
    """The clone dump that the build itself left beside the object, where it is as new as what it tells of."""
    dump = unit.object.with_name(f"{unit.source.name}.000i.ipa-clones")
    try:
        made = dump.stat().st_mtime_ns
        newest = max(path.stat().st_mtime_ns for path in (unit.source, *unit.headers))
        # A dump is finished before its object is.
        return dump if newest <= made <= unit.object.stat().st_mtime_ns else None
    except FileNotFoundError:
        return None


def _together(parts: Sequence[UnitEvidence], warnings: Iterable[str]) -> Evidence:
    code = {part.name: part.code for part in parts}
    kinds = tuple(dict.fromkeys(kind for part in parts for kind in part.kinds))
    table = concat([part.table for part in parts], unit_key=str)
    return Evidence(table, code.get, kinds, tuple(warnings))


# -- clone dumps alone -----------------------------------------------------------------------------------------


def from_dumps(paths: Sequence[str], specs: Sequence[str], *, lenient: bool = False) -> Evidence:
    """Evidence from the clone dumps `paths` (files or folders) and the objects beside them, for `specs`.

    All dumps are asked for the functions; of those that know one, the objects are read too.  Link-time dumps are
    taken whole, since their effects cross units.
    """
    dumps = find_dumps(paths)
    table = read_clone_dumps(paths, lenient=lenient)
    if any(is_lto_dump(path) for path in dumps):
        warnings = ("the linked object was not read: callers of clones are missing",)
        return Evidence(link_units(table), kinds=("link-time clone dumps",), warnings=warnings)
    units = _units_of(table, specs, dumps)
    return _together([read_unit(_beside(unit), lenient=lenient) for unit in units], _missing_objects(units))


def all_of_dumps(paths: Sequence[str], *, lenient: bool = False) -> Evidence:
    """Evidence from all of the dumps, for the list of every function; objects are not read."""
    table = read_clone_dumps(paths, lenient=lenient)
    warnings = ("objects were not read: callers of clones are missing",)
    return Evidence(link_units(table), kinds=("clone dumps",), warnings=warnings)


def _units_of(table: EffectTable, specs: Sequence[str], dumps: Sequence[str]) -> list[str]:
    """The dumps that know one of `specs`; for a function that no record names, those whose object has it."""
    units: dict[str, None] = {}
    for spec in specs:
        try:
            rows = find_functions(table, spec)
        except UserError:
            holders = _dumps_with_symbol(spec, dumps)
            if not holders:
                raise
            units.update(dict.fromkeys(holders))
        else:
            names = np.unique(table.unit[rows]).tolist()
            units.update((table.strings[number], None) for number in names)
    return list(units)


def _dumps_with_symbol(spec: str, dumps: Sequence[str]) -> list[str]:
    from klpkit.build.mentions import object_names

    file, _, name = spec.rpartition(":")
    return [
        dump
        for dump in dumps
        if (not file or f"/{source_of_unit(dump)}".endswith(f"/{file}"))
        and object_names(_object_of(dump), name.encode())
    ]


def _object_of(dump: str) -> Path:
    """The object that lies beside `X.c.000i.ipa-clones`: `X.o`."""
    return Path(source_of_unit(dump)).with_suffix(".o")


def _beside(dump: str) -> UnitFiles:
    path = _object_of(dump)
    return UnitFiles(source_of_unit(dump), (Path(dump),), path if path.exists() else None)


def _missing_objects(dumps: Sequence[str]) -> list[str]:
    missing = [dump for dump in dumps if not _object_of(dump).exists()]
    if not missing:
        return []
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return [f"no object beside {missing[0]}{more}: callers of clones and folded functions are missing"]


# -- debug information -----------------------------------------------------------------------------------------


def from_image(path: Path, *, debug: Path | None = None) -> Evidence:
    """Evidence from the DWARF and the symbols of a linked image, a module or an object.

    `debug` is a separate file with the debug information.  Static functions with one name share what the symbol
    table says of that name.
    """
    from klpkit.records.dwarf import scan_dwarf

    facts = scan_dwarf(path, debug=debug)
    nocall = frozenset(facts.effects.function(row).symbol for row in np.flatnonzero(facts.nocall).tolist())
    code = CodeFile(path, _owner_of(path), nocall=nocall)
    code_effects = with_effects_only(read_object(path))
    table = concat([facts.effects, code_effects], unit_key=lambda _: "")
    return Evidence(table, lambda _: code, ("DWARF", "symbols and branches of the code"))


def _owner_of(path: Path) -> str:
    name = path.name
    for suffix in (".xz", ".zst", ".gz"):
        name = name.removesuffix(suffix)
    if name.endswith(".ko"):
        return name.removesuffix(".ko").replace("-", "_")
    return "vmlinux" if name.startswith("vmlinux") else ""
