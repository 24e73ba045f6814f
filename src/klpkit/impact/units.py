"""One translation unit's evidence: its clone dump, IPA-CP dump or optimisation record, and its object.

The functions of all of them are called by one unit name, so that what they say of a function comes together.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from klpkit.impact.evidence import CodeFile, Evidence
from klpkit.records import concat
from klpkit.records.clones import DUMP_SUFFIX, read_clone_dumps
from klpkit.records.model import Effect, EffectBuilder, EffectTable, Function, Strings
from klpkit.records.objects import read_object

if TYPE_CHECKING:
    from klpkit.records.narrowing import CpDump

CP_SUFFIX = ".cp"
REMARKS_SUFFIX = ".opt.yaml"

# The kinds of dumps that GCC leaves beside an object where the build asks for them.
BUILD_DUMPS = (DUMP_SUFFIX, CP_SUFFIX)

# Compiler family → the flags that make a replay leave its records behind.
RECORD_FLAGS = {
    "gcc": ("-fdump-ipa-clones", "-fdump-ipa-cp"),
    "clang": ("-fsave-optimization-record",),
}


@dataclass(frozen=True, slots=True)
class UnitFiles:
    """What there is of one unit: `name` is how its functions are told from those of other units.

    Paths in its records that begin with `base` are shown without it.
    """

    name: str
    dumps: tuple[Path, ...]
    object: Path | None
    owner: str = ""
    base: str = ""


@dataclass(frozen=True, slots=True)
class UnitEvidence:
    """One unit's effects, its code, and what was read."""

    name: str
    table: EffectTable
    code: CodeFile | None
    kinds: tuple[str, ...]


def read_unit(files: UnitFiles, *, lenient: bool = False) -> UnitEvidence:
    """The effects that the files of one unit show; errors are those of the records' readers."""
    tables: list[EffectTable] = []
    kinds: list[str] = []
    narrowed: dict[str, str] = {}
    if clones := _ending(files.dumps, DUMP_SUFFIX):
        table = read_clone_dumps([str(path) for path in clones], lenient=lenient, cache=False)
        tables.append(_in_unit(table, files.name, files.base))
        kinds.append("clone dumps")
    for path in _ending(files.dumps, REMARKS_SUFFIX):
        from klpkit.records.optrecords import read_opt_records

        table = read_opt_records(path, unit=files.name, lenient=lenient)
        tables.append(_in_unit(table, files.name, files.base))
        kinds.append("optimisation records")
    for path in _ending(files.dumps, CP_SUFFIX):
        from klpkit.records.narrowing import read_cp_dump

        dump = read_cp_dump(path)
        tables.append(_arguments(dump, files.name))
        narrowed.update(_narrowed(dump))
        kinds.append("IPA-CP dumps")
    code = None
    if files.object is not None:
        tables.append(read_object(files.object, unit=files.name))
        code = CodeFile(files.object, files.owner, narrowed)
        kinds.append("objects")
    return UnitEvidence(files.name, concat(tables, unit_key=str), code, tuple(kinds))


def dumps_beside(clones: Path) -> tuple[Path, ...]:
    """The clone dump `clones` (`X.c.000i.ipa-clones`) and the IPA-CP dump of the same unit, where they exist.

    Passes are numbered anew in each version of GCC; the latest of several IPA-CP dumps counts.
    """
    stem = clones.name.removesuffix(DUMP_SUFFIX).rpartition(".")[0]
    others = clones.parent.glob(f"{glob.escape(stem)}.*i{CP_SUFFIX}")
    latest = sorted(others, key=lambda path: path.stat().st_mtime_ns)[-1:]
    return tuple(path for path in (clones, *latest) if path.exists())


def together(parts: Sequence[UnitEvidence], warnings: Iterable[str]) -> Evidence:
    """One evidence of several units, whose functions stay apart."""
    code = {part.name: part.code for part in parts}
    kinds = tuple(dict.fromkeys(kind for part in parts for kind in part.kinds))
    table = concat([part.table for part in parts], unit_key=str)
    return Evidence(table, code.get, kinds, tuple(warnings))


def _ending(paths: Sequence[Path], suffix: str) -> list[Path]:
    return [path for path in paths if path.name.endswith(suffix)]


def _in_unit(table: EffectTable, unit: str, base: str) -> EffectTable:
    """`table`, all of whose functions come from one unit, called `unit`, and with paths relative to `base`."""
    moved = below(table, base)
    return replace(moved, unit=np.full(table.function_count, moved.strings.add(unit), dtype=np.int32))


def below(table: EffectTable, base: str) -> EffectTable:
    """`table` with places in sources relative to `base`, a folder and `/`; those elsewhere stay as they are."""
    strings = Strings([""])
    numbers = np.array([*strings.add_all(table.strings), -1], dtype=np.int32)
    shorter = np.array([*strings.add_all(text.removeprefix(base) for text in table.strings), -1], dtype=np.int32)
    return replace(
        table,
        strings=strings,
        unit=numbers[table.unit],
        symbol=numbers[table.symbol],
        file=shorter[table.file],
        where_file=shorter[table.where_file],
    )


def _arguments(dump: CpDump, unit: str) -> EffectTable:
    """Effects of callers on the functions that take their arguments for granted."""
    builder = EffectBuilder()
    for row in dump.narrowings:
        for caller in row.callers:
            builder.add(Effect(Function(unit, caller), Function(unit, row.symbol), "range"))
    return builder.table()


def _narrowed(dump: CpDump) -> Iterable[tuple[str, str]]:
    from klpkit.records.narrowing import is_clone

    for row in dump.narrowings:
        if not is_clone(row.symbol):
            yield row.symbol, f"{row} (its callers: {', '.join(row.callers) or 'unknown'})"
