"""Audits translation units: by their flags alone, or by compiling them once more with the compiler's dumps."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from klpkit import programs
from klpkit.audit.abi import function_abis
from klpkit.audit.exposure import Evidence, exposures
from klpkit.audit.model import Audit, Breach, UnitAudit
from klpkit.audit.object import defined_functions
from klpkit.audit.overrides import override_breaches
from klpkit.audit.promise import DUMP_FLAGS, flag_breaches, record_breaches
from klpkit.build.command import TranslationUnit
from klpkit.build.replays import Replayed, replay
from klpkit.compilers.experiments import established
from klpkit.compilers.flagstate import FlagState, flag_state, passes_on, telling_flags
from klpkit.compilers.levels import Level, flags_for
from klpkit.compilers.probe import Compiler, identify
from klpkit.errors import FormatError
from klpkit.records.dwarf import nocall_functions
from klpkit.records.narrowing import CpDump, read_cp_dump

DRIVER = "klpkit-cc"
_DRIVER_LEVEL = "-fease-live-patching"
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Known:
    """A unit, the compiler that it names and what its flags mean to it."""

    unit: TranslationUnit
    compiler: Compiler
    state: FlagState


def audit_units(
    units: Iterable[TranslationUnit],
    *,
    root: Path,
    source: Path | None = None,
    level: Level | None = None,
    inspect: bool = False,
    broken: Mapping[str, str] | None = None,
    jobs: int | None = None,
    progress: Progress = lambda _: None,
) -> Audit:
    """Audit `units` of the build tree `root`, whose sources lie in `source`.

    With `level`, what the level forbids is a `Breach`.  With `inspect`, each unit is compiled once more with
    dumps, outside the tree, for the statuses of its functions; without it the flags alone are looked at.
    `broken` are records of commands that could not be read: they can't be shown to honour a level.

    Raises `EnvironmentLackError` where a compiler is gone and `ProgramFailedError` where a unit does not compile.
    """
    known = _known([_without_driver(unit) for unit in units], jobs)
    numbers = {flags: number for number, flags in enumerate(_flag_sets(known), start=1)}
    places = (source or root, root)

    def one(row: _Known) -> UnitAudit:
        return _audited(row, level, numbers[_flag_set(row)], places, inspect=inspect)

    audits = programs.parallel(one, known, jobs=jobs, done=lambda _, audit: progress(audit.source))
    unread = tuple(_unread(name, why, level) for name, why in (broken or {}).items())
    return Audit(
        root=str(root),
        level=level,
        units=(*audits, *unread),
        established=_established({row.compiler.version: row.compiler for row in known}),
        warnings=_warnings(audits, broken or {}, inspected=inspect),
    )


def _without_driver(unit: TranslationUnit) -> TranslationUnit:
    """`unit` as the compiler proper is run for it, with the driver's level in one spelling."""
    # A compiler given by a relative path is meant from where the command runs.
    compiler = tuple(str(unit.directory / word) if "/" in word else word for word in unit.compiler)
    unit = replace(unit, compiler=compiler)
    if not any(Path(word).name == DRIVER for word in unit.compiler):
        return unit
    words = [word for word in unit.arguments if not word.startswith("-flive-patching-list")]
    words = [_DRIVER_LEVEL + word.partition("=")[1] + word.partition("=")[2] if word.startswith("-flive-patching")
             else word for word in words]  # fmt: skip
    return replace(unit, arguments=tuple(words))


def _known(units: list[TranslationUnit], jobs: int | None) -> list[_Known]:
    """Each unit with its flags' meaning; the compiler is asked once for each distinct set."""
    compilers = {unit.compiler: identify(unit.compiler) for unit in units}
    first: dict[tuple[object, ...], TranslationUnit] = {}
    keys = []
    for unit in units:
        compiler = compilers[unit.compiler]
        key = (compiler.key, unit.language, telling_flags(compiler, unit.arguments))
        first.setdefault(key, unit)
        keys.append(key)

    def ask(unit: TranslationUnit) -> FlagState:
        return flag_state(compilers[unit.compiler], unit.arguments, unit.language, unit.directory)

    states = dict(zip(first, programs.parallel(ask, first.values(), jobs=jobs), strict=True))
    rows = zip(units, keys, strict=True)
    return [_Known(unit, compilers[unit.compiler], states[key]) for unit, key in rows]


def _flag_set(row: _Known) -> tuple[object, ...]:
    return (row.compiler.key, row.state.language, row.state.flags)


def _flag_sets(known: Sequence[_Known]) -> dict[tuple[object, ...], None]:
    return dict.fromkeys(map(_flag_set, known))


def _audited(
    row: _Known, level: Level | None, number: int, places: tuple[Path, Path], *, inspect: bool
) -> UnitAudit:
    unit, state = row.unit, row.state
    marked = any(Path(word).name == DRIVER for word in unit.compiler)
    audit = UnitAudit(
        source=_relative(unit.source, places[0]),
        object=_relative(unit.object, places[1]),
        language=unit.language,
        kind=row.compiler.kind,
        compiler=row.compiler.version,
        flag_set=number,
        on=tuple(each.slug for each in passes_on(state)),
        lto=state.lto,
        breaches=flag_breaches(state, level, marked=marked) if level else (),
        notes=_notes(state),
    )
    return _inspected(audit, row, level) if inspect else audit


def _inspected(audit: UnitAudit, row: _Known, level: Level | None) -> UnitAudit:
    """`audit` with what the compiler's own dumps say of each function."""
    gcc = row.compiler.kind == "gcc"
    extra = ["-fdump-ipa-cp", *(DUMP_FLAGS if level else ())] if gcc else ["-g"]
    with tempfile.TemporaryDirectory(prefix="klpkit-audit-") as folder:
        unit, words = _plain(row)
        done = replay(unit, workdir=Path(folder), extra=[*extra, *words])
        if row.state.lto:
            return replace(audit, inspected=True)
        try:
            functions = defined_functions(done.object)
        except FormatError as error:
            return replace(audit, notes=(*audit.notes, f"its functions are not told: {error.problem}"))
        dump = _cp_dump(done) if gcc else None
        nocall = frozenset() if gcc else frozenset(row.symbol for row in nocall_functions(done.object))
        found: tuple[Breach, ...] = ()
        if gcc and level:
            found = (*record_breaches(level, done.dumps, functions), *_overrides(unit, words, Path(folder), level))
        return replace(
            audit,
            inspected=True,
            functions=function_abis(functions, row.state, dump, nocall),
            exposures=exposures(row.state, Evidence(functions, dump)),
            breaches=(*audit.breaches, *found),
        )


def _overrides(unit: TranslationUnit, words: list[str], folder: Path, level: Level) -> tuple[Breach, ...]:
    text = replay(unit, workdir=folder, extra=[*words, "-E"], output="preprocessed").object
    return override_breaches(text.read_text(errors="replace"), level)


def _plain(row: _Known) -> tuple[TranslationUnit, list[str]]:
    """The unit without the driver, and the flags that the driver would have added."""
    arguments = tuple(word for word in row.unit.arguments if not word.startswith(_DRIVER_LEVEL))
    added = [flag for flag in row.state.flags if flag not in arguments]
    return replace(row.unit, compiler=row.compiler.words, arguments=arguments), added


def _cp_dump(done: Replayed) -> CpDump | None:
    """The IPA-CP dump of a replay; None where the pass did not run, as with `-fno-ipa-cp`."""
    paths = [path for path in done.dumps if path.name.endswith(".cp")]
    return read_cp_dump(paths[0]) if paths else None


def _notes(state: FlagState) -> tuple[str, ...]:
    notes = []
    if not state.optimised:
        notes.append("compiled without optimisation: nothing happens between functions")
    if state.lto:
        notes.append("link-time optimisation: audit the linked object's flags and dumps too")
    return tuple(notes)


def _unread(name: str, why: str, level: Level | None) -> UnitAudit:
    breach = (Breach("not-audited", name, f"its command could not be read: {why}"),) if level else ()
    return UnitAudit(name, name, "", "", "", 0, (), breaches=breach, notes=(f"not audited: {why}",))


def _established(compilers: Mapping[str, Compiler]) -> dict[str, tuple[str, ...]]:
    """For each compiler, what its experiments show with every switch off."""
    found = {}
    for version, compiler in compilers.items():
        flags = flags_for(compiler.kind, Level.NONE, supported=compiler.supported, stage="compile", lto=False)
        shown = established(compiler, flags)
        found[version] = tuple(slug for slug, answer in sorted(shown.items()) if answer)
    return found


def _warnings(audits: Sequence[UnitAudit], broken: Mapping[str, str], *, inspected: bool) -> tuple[str, ...]:
    warnings = []
    if broken:
        warnings.append(f"{len(broken)} recorded commands could not be read; their units are not audited")
    if not inspected and audits:
        warnings.append("flags only; name units to see their functions")
    return tuple(warnings)


def _relative(path: Path, base: Path) -> str:
    return os.path.relpath(path, base) if path.is_relative_to(base) else str(path)
