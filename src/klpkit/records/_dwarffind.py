"""Finding the debug information of a file: in itself, in a named file, or where distributions put it.

The places are GDB's ("Separate Debug Files"): by build identifier in `/usr/lib/debug/.build-id`, then by the name
and checksum in `.gnu_debuglink`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from klpkit.elf import ElfFile
from klpkit.errors import RefusedError, UserError
from klpkit.records._dwarfsections import DebugSections
from klpkit.records._dwarfunits import split_refused
from klpkit.records.images import open_image

DEBUG_FOLDER = Path("/usr/lib/debug")

NT_GNU_BUILD_ID = 3


def debug_sections(path: Path, debug: Path | None) -> DebugSections:
    """The debug sections for the file at `path`: those of `debug` where it is given."""
    elf = open_image(path)
    if debug:
        chosen = open_image(debug)
        _check_same_build(elf, chosen)
        return _checked(chosen)
    if _has_information(elf):
        return DebugSections(elf)
    for candidate in _candidates(elf, path):
        found = open_image(candidate)
        if _has_information(found) and build_id(found) == build_id(elf):
            return DebugSections(found)
    return _checked(elf)


def _has_information(elf: ElfFile) -> bool:
    return any(len(elf.stored(index)) for index in elf.sections.find(".debug_info"))


def _checked(elf: ElfFile) -> DebugSections:
    if _has_information(elf):
        return DebugSections(elf)
    if elf.sections.find(".debug_info.dwo"):
        raise split_refused(elf.path)
    if elf.sections.find(".zdebug_info"):
        problem = f"{elf.path}: its debug sections are compressed in the old GNU way (.zdebug_info)"
        raise RefusedError("dwarf-zdebug", problem, hint="objcopy --decompress-debug-sections IN OUT")
    raise UserError(
        f"{elf.path}: no debug information",
        hint="compile with -g, install the -dbg package, or name the debug file with --debug",
    )


def build_id(elf: ElfFile) -> bytes:
    """The build identifier of `elf`, empty where it has none."""
    notes = (note.content for note in elf.notes() if note.name == "GNU" and note.type == NT_GNU_BUILD_ID)
    return next(notes, b"")


def _check_same_build(elf: ElfFile, debug: ElfFile) -> None:
    first, second = build_id(elf), build_id(debug)
    if first and second and first != second:
        raise RefusedError(
            "debug-file-mismatch",
            f"{debug.path} is of another build than {elf.path}: their build identifiers differ",
            hint="name the debug file of exactly this build",
        )


def _candidates(elf: ElfFile, path: Path) -> Iterator[Path]:
    """Existing files that may hold the debug information of `elf`."""
    identifier = build_id(elf).hex()
    if identifier:
        place = DEBUG_FOLDER / ".build-id" / identifier[:2] / f"{identifier[2:]}.debug"
        if place.is_file():
            yield place
    for index in elf.sections.find(".gnu_debuglink"):
        content = bytes(elf.content(index))
        name = content.split(b"\0", 1)[0]
        checksum = int.from_bytes(content[-4:], "little" if elf.byte_order == "<" else "big")
        folder = path.resolve().parent
        places = (folder, folder / ".debug", DEBUG_FOLDER.joinpath(*folder.parts[1:]))
        for place in (place / name.decode(errors="surrogateescape") for place in places):
            if place.is_file() and place != path and zlib.crc32(place.read_bytes()) == checksum:
                yield place
