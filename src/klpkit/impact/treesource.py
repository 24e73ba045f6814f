"""Evidence for an impact query from a build tree: its units, compiled again where records are missing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.build.concerned import concerned_by
from klpkit.build.replays import LEAN, Replayed, replay
from klpkit.build.tree import BuildTree
from klpkit.compilers.flagstate import flag_state, passes_on
from klpkit.compilers.probe import identify
from klpkit.errors import EnvironmentLackError, UserError
from klpkit.impact.evidence import Evidence
from klpkit.impact.units import (
    BUILD_DUMPS,
    RECORD_FLAGS,
    UnitEvidence,
    UnitFiles,
    dumps_beside,
    read_unit,
    together,
)
from klpkit.programs import parallel
from klpkit.records.clones import DUMP_SUFFIX

Progress = Callable[[int, int], None]
"""Called with how many units are done and how many there are."""


UNLISTED = (
    "no record shows who relies on a function by way of: {}; these are on in what was compiled, and "
    "`klpkit audit` says which flag turns each off"
)


def _silent(done: int, total: int) -> None:
    """Progress for nobody."""


@contextmanager
def from_build(
    tree: BuildTree,
    specs: Sequence[str],
    warnings: Iterable[str] = (),
    *,
    jobs: int | None = None,
    debug: bool = True,
    progress: Progress = _silent,
) -> Iterator[Evidence]:
    """Evidence from the units of `tree` that the functions `specs` (`name`, `file:name`) concern.

    Clone and IPA-CP dumps that lie in the tree are read; a unit that lacks one of them is replayed with its
    compiler's records on, in a folder that lives as long as the block.  Without `debug` GCC makes no debug
    information then (`LEAN`): nothing is asked of it (which functions are not called as declared, only Clang's
    tells).  Errors are those of `concerned_by` and of a replay.
    """
    found = concerned_by(tree, specs)
    said = dict.fromkeys([*warnings, *found.warnings])
    with units_evidence(tree, found.units, said, jobs=jobs, debug=debug, progress=progress) as evidence:
        yield evidence


@contextmanager
def units_evidence(
    tree: BuildTree,
    units: Sequence[TranslationUnit],
    warnings: Iterable[str] = (),
    *,
    jobs: int | None = None,
    debug: bool = True,
    progress: Progress = _silent,
) -> Iterator[Evidence]:
    """Evidence from exactly these `units` of `tree`; see `from_build`."""
    with tempfile.TemporaryDirectory(prefix="klpkit-impact-") as folder:
        done = 0

        def work(numbered: tuple[int, TranslationUnit]) -> tuple[UnitEvidence, tuple[str, ...]]:
            number, unit = numbered
            return read_unit(_files(tree, unit, Path(folder, str(number)), debug=debug)), unlisted_causes(unit)

        def count(_: object, __: object) -> None:
            nonlocal done
            done += 1
            progress(done, len(units))

        progress(0, len(units))
        found = parallel(work, enumerate(units), jobs=jobs, done=count)
        silent = dict.fromkeys(cause for _, causes in found for cause in causes)
        said = [*warnings, *([UNLISTED.format(", ".join(silent))] if silent else [])]
        yield together([part for part, _ in found], said)


def _files(tree: BuildTree, unit: TranslationUnit, workdir: Path, *, debug: bool) -> UnitFiles:
    """The records and the object of `unit`: the tree's own where they are there, else those of a replay."""
    name = _name(tree, unit)
    base = f"{tree.source}/" if tree.source else ""
    lying = _lying_dumps(unit)
    if lying:
        return UnitFiles(name, lying, unit.object, unit.owner, base)
    if unit.kind not in RECORD_FLAGS:
        program = unit.compiler[0]
        if shutil.which(program) is None and not (unit.directory / program).exists():
            raise EnvironmentLackError(f"{program}: compiler not found", hint="install it or put it on PATH")
        raise UserError(
            f"{' '.join(unit.compiler)} is neither GCC nor Clang", hint="klpkit knows the records of these two"
        )
    lean = LEAN["gcc"] if unit.kind == "gcc" and not debug else ()
    made: Replayed = replay(unit, workdir=workdir, extra=(*RECORD_FLAGS[unit.kind], *lean))
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


def _lying_dumps(unit: TranslationUnit) -> tuple[Path, ...]:
    """The dumps that the build itself left beside the object, where they are as new as what they tell of.

    None at all where one kind is missing: clone dumps alone are silent about arguments taken for granted.
    """
    dumps = dumps_beside(unit.object.with_name(f"{unit.source.name}.000i{DUMP_SUFFIX}"))
    if len(dumps) < len(BUILD_DUMPS):
        return ()
    try:
        newest = max(path.stat().st_mtime_ns for path in (unit.source, *unit.headers))
        # A dump is finished before its object is.
        finished = unit.object.stat().st_mtime_ns
        return dumps if all(newest <= path.stat().st_mtime_ns <= finished for path in dumps) else ()
    except FileNotFoundError:
        return ()
