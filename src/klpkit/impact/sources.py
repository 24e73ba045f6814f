"""Evidence for an impact query from clone dumps, or from the debug information of an image.

`treesource` has the third kind, a build tree; it is apart because compilers and build systems take long to import.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from klpkit.elf import ElfFile
from klpkit.elf.constants import SHT_SYMTAB
from klpkit.errors import UserError
from klpkit.impact.evidence import CodeFile, Evidence, no_code, not_found
from klpkit.impact.query import find_functions, source_of_unit
from klpkit.impact.units import UnitFiles, below, dumps_beside, read_unit, together
from klpkit.records import concat, find_dumps, link_units, read_clone_dumps
from klpkit.records.clonelines import is_lto_dump
from klpkit.records.model import EffectTable, with_effects_only
from klpkit.records.objects import read_object

# Where an x86 boot image has its mark: Documentation/arch/x86/boot.rst, "The real-mode kernel header".
_BOOT_HEADER = slice(0x202, 0x206)

SILENT_DUMPS = (
    "clone dumps list what was inlined and copied: who relies on a function's arguments, results or effects in "
    "another way is missing; --build reads more, and names what it can't"
)
SILENT_IMAGE = (
    "debug information lists what was inlined: who relies on a function's arguments, results or effects in "
    "another way is missing; --build reads more, and names what it can't"
)

# -- clone dumps alone -----------------------------------------------------------------------------------------


def from_dumps(paths: Sequence[str], specs: Sequence[str], *, lenient: bool = False) -> Evidence:
    """Evidence from the clone dumps `paths` (files or folders) and the objects beside them, for `specs`.

    All dumps are asked for the functions; of those that know one, the objects are read too.  Link-time dumps are
    taken whole, since their effects cross units.
    """
    dumps = find_dumps(paths)
    table = read_clone_dumps(paths, lenient=lenient)
    if any(is_lto_dump(path) for path in dumps):
        warnings = (SILENT_DUMPS, "the linked object was not read: callers of clones are missing")
        return Evidence(link_units(table), kinds=("link-time clone dumps",), warnings=warnings)
    units = _units_of(table, specs, dumps)
    files = [_beside(unit, _base_of(unit, paths)) for unit in units]
    said = [SILENT_DUMPS, *_missing_objects(units)]
    return together([read_unit(each, lenient=lenient) for each in files], said)


def all_of_dumps(paths: Sequence[str], *, lenient: bool = False) -> Evidence:
    """Evidence from all of the dumps, for the list of every function; objects are not read."""
    table = read_clone_dumps(paths, lenient=lenient)
    bases = dict.fromkeys(_base_of(path, paths) for path in find_dumps(paths))
    for base in filter(None, bases):
        table = below(table, base)
    warnings = (SILENT_DUMPS, "objects were not read: callers of clones are missing, and how to patch a function")
    return Evidence(link_units(table), kinds=("clone dumps",), warnings=warnings)


def _units_of(table: EffectTable, specs: Sequence[str], dumps: Sequence[str]) -> list[str]:
    """The dumps that know one of `specs`; for a function that no record names, those whose object has it."""
    units: dict[str, None] = {}
    for spec in specs:
        try:
            rows = find_functions(table, spec)
        except UserError as error:
            holders = _dumps_with_symbol(spec, dumps)
            if not holders:
                raise not_found(error, table) from None
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


def _beside(dump: str, base: str) -> UnitFiles:
    path = _object_of(dump)
    dumps = dumps_beside(Path(dump))
    return UnitFiles(source_of_unit(dump), dumps, path if path.exists() else None, base=base)


def _base_of(dump: str, paths: Sequence[str]) -> str:
    """What the sources behind `dump` have in common where it was found in a folder: its source tree, and `/`.

    That is where Kbuild's link `source` leads, else the folder itself; "" where `paths` has only the file.
    """
    for folder in map(Path, paths):
        if folder.is_dir() and Path(dump).is_relative_to(folder):
            link = folder / "source"
            return f"{link.resolve() if link.is_dir() else folder.resolve()}/"
    return ""


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

    _check_image(path)
    facts = scan_dwarf(path, debug=debug)
    nocall = frozenset(facts.effects.function(row).symbol for row in np.flatnonzero(facts.nocall).tolist())
    if not ElfFile.open(path).sections.of_type(SHT_SYMTAB):
        stripped = f"{path} has no symbol table: callers of clones are missing, and how to patch a function"
        return Evidence(facts.effects, no_code, ("DWARF",), (SILENT_IMAGE, stripped))
    code = CodeFile(path, _owner_of(path), nocall=nocall)
    code_effects = with_effects_only(read_object(path))
    table = concat([facts.effects, code_effects], unit_key=lambda _: "")
    return Evidence(table, lambda _: code, ("DWARF", "symbols and branches of the code"), (SILENT_IMAGE,))


def _check_image(path: Path) -> None:
    """Raise `UserError` for a kernel as a boot loader takes it: the ELF file is packed inside it."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(_BOOT_HEADER.stop)
    except OSError:
        return  # the reader says why
    if head[_BOOT_HEADER] == b"HdrS":
        raise UserError(
            f"{path}: a boot image, which has no debug information",
            hint="name the vmlinux of the same build: distributions have it in a -dbg or -debuginfo package",
        )


def _owner_of(path: Path) -> str:
    name = path.name
    for suffix in (".xz", ".zst", ".gz"):
        name = name.removesuffix(suffix)
    if name.endswith(".ko"):
        return name.removesuffix(".ko").replace("-", "_")
    return "vmlinux" if name.startswith("vmlinux") else ""
