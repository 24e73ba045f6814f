"""Evidence for an impact query from clone dumps, or from the debug information of an image.

`treesource` has the third kind, a build tree; it is apart because compilers and build systems take long to import.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from klpkit.errors import UserError
from klpkit.impact.evidence import CodeFile, Evidence
from klpkit.impact.query import find_functions, source_of_unit
from klpkit.impact.units import UnitFiles, read_unit, together
from klpkit.records import concat, find_dumps, link_units, read_clone_dumps
from klpkit.records.clonelines import is_lto_dump
from klpkit.records.model import EffectTable, with_effects_only
from klpkit.records.objects import read_object

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
    return together([read_unit(_beside(unit), lenient=lenient) for unit in units], _missing_objects(units))


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
            names = sorted(set(table.unit[rows].tolist()))
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
