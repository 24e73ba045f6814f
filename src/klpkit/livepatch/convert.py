"""From annotated and unresolved references to klp relocations, all of a module's or none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from klpkit.elf import constants as c
from klpkit.elf.model import ElfObject
from klpkit.elf.writer import write_whole
from klpkit.errors import RefusedError, UserError
from klpkit.livepatch.annotations import read_annotations, retire_annotations, undefined
from klpkit.livepatch.imports import Imports, holds, modinfo, strings_of
from klpkit.livepatch.klprela import LISTED_PREFIX, VMLINUX, KlpReference, write_klp_relocations
from klpkit.livepatch.lookup import SymbolData, checked, looked_up
from klpkit.target import TargetSymbol

_SIGNED = b"~Module signature appended~\n"
# What the module loader itself provides or needs not find (`ignore_undef_symbol()`, ppc64's `dedotify()`).
_PROVIDED = frozenset(("_GLOBAL_OFFSET_TABLE_", "__this_module", ".TOC."))


@dataclass(frozen=True, slots=True)
class Converted:
    """One reference that became klp relocations.

    `places` are the sections with the number of relocations in each.  `found` is the symbol in the symbol data,
    None where there are none for its object.
    """

    reference: KlpReference
    places: Mapping[str, int]
    found: TargetSymbol | None = None


def convert(module: ElfObject, data: SymbolData | None = None) -> tuple[Converted, ...]:
    """Turn the annotated and unresolved references of `module` into klp relocations, all of them or none.

    Empty where there is nothing to do.  `data` tells what the kernel has; without it every reference must say
    where its symbol is.  Raises `RefusedError` with the reason as its slug.
    """
    annotated = dict.fromkeys(read_annotations(module))
    found = {reference: checked(reference, data) for reference in annotated}
    unresolved = list(_unresolved(module, {reference.symbol for reference in annotated}, data))
    patched = _patched_modules(module, data) if unresolved else []
    found.update(looked_up(name, patched, data) for name in unresolved)
    if not found:
        return ()
    _check_live_patch(module, tuple(found))
    places = _places(module, {reference.symbol for reference in found})
    write_klp_relocations(module, tuple(found))
    retire_annotations(module)
    return tuple(Converted(reference, places[reference.symbol], symbol) for reference, symbol in found.items())


def convert_file(path: Path, out: Path, data: SymbolData | None = None) -> tuple[Converted, ...]:
    """Convert the module at `path` and put it at `out`, which may be the same file, whole or not at all.

    A module with nothing to convert is left as it is; another `out` gets a copy.
    """
    content = _content(path)
    module = ElfObject.read(path)
    done = convert(module, data)
    if done:
        module.write(out.resolve())
    elif out.resolve() != path.resolve():
        write_whole(out.resolve(), content)
    return done


def _content(path: Path) -> bytes:
    """The bytes of the module at `path`; refuses one with a signature, which a changed module could not keep."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="name a module that can be read") from error
    if content.endswith(_SIGNED):
        raise RefusedError(
            "signed-module", f"{path} is signed already", hint="convert it first, then sign it (scripts/sign-file)"
        )
    return content


def _unresolved(module: ElfObject, annotated: set[str], data: SymbolData | None) -> Iterator[str]:
    """The undefined symbols that neither an annotation nor the ordinary loader takes care of."""
    imports = Imports(module, data)
    settled = annotated | _PROVIDED
    for symbol in undefined(module):
        if symbol.name not in settled and symbol.bind != c.STB_WEAK and symbol.name not in imports:
            settled.add(symbol.name)
            yield symbol.name


def _patched_modules(module: ElfObject, data: SymbolData | None) -> list[str]:
    """The modules whose names `module` holds as strings, as it must to patch them."""
    texts = strings_of(module)
    return [name for name in (data.modules() if data else ()) if holds(texts, name)]


def _check_live_patch(module: ElfObject, references: Sequence[KlpReference]) -> None:
    """`RefusedError` where the kernel would drop the klp symbols, or never apply some of the relocations."""
    if modinfo(module).get("livepatch") is None:
        raise RefusedError(
            "not-a-live-patch",
            "the module is not marked as a live patch, and the kernel would drop the symbols that it needs",
            hint='add MODULE_INFO(livepatch, "Y") to its source',
        )
    texts = strings_of(module)
    for patched in sorted({reference.applied_with for reference in references} - {VMLINUX}):
        if not holds(texts, patched):
            users = ", ".join(each.name for each in references if each.applied_with == patched)
            raise RefusedError(
                "klp-object-not-patched",
                f"the module patches no object {patched}, so the kernel would never resolve {users}",
                hint="name an object that the patch has a klp_object for as the livepatched one",
            )


def _places(module: ElfObject, names: set[str]) -> dict[str, dict[str, int]]:
    """How many relocations of loaded sections refer to each undefined symbol of `names`, by section."""
    places: dict[str, dict[str, int]] = {name: {} for name in names}
    for section in module.sections:
        if not section.flags & c.SHF_ALLOC or section.name.startswith(LISTED_PREFIX):
            continue
        for table in section.relocations:
            for entry in table.entries:
                if entry.symbol and entry.symbol.section is None and entry.symbol.name in places:
                    counts = places[entry.symbol.name]
                    counts[section.name] = counts.get(section.name, 0) + 1
    return places
