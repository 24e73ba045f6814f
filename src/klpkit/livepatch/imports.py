"""What a finished module says of itself: its `.modinfo`, the imports that modpost found, the names it holds."""

from __future__ import annotations

from functools import cached_property

from klpkit.elf import constants as c
from klpkit.elf.model import ElfObject
from klpkit.livepatch.lookup import SymbolData

# `struct modversion_info` of 64-bit kernels: a checksum of 8 bytes, and the name.
_MODVERSION_SIZE, _MODVERSION_NAME = 64, 8


class Imports:
    """The symbols that the ordinary loader resolves: vmlinux or a module that this one needs exports them."""

    def __init__(self, module: ElfObject, data: SymbolData | None) -> None:
        self.module = module
        self.data = data

    def __contains__(self, name: str) -> bool:
        if name in self.versioned:
            return True
        if self.data is None:
            # Without checksums nothing in the file tells an export from a symbol that is missing.
            return self.versioned_names is None
        exported = name in self.data.exports() or bool(self.data.vmlinux.positions(f"__ksymtab_{name}"))
        return exported or any(name in self.data.object(needed).exports() for needed in self.needed)

    @property
    def versioned(self) -> frozenset[str]:
        return self.versioned_names or frozenset()

    @cached_property
    def versioned_names(self) -> frozenset[str] | None:
        """The imports that modpost found and wrote checksums for; None in a module without checksums."""
        names: set[str] = set()
        sections = {section.name: bytes(section.data) for section in self.module.sections}
        if not sections.keys() & {"__versions", "__version_ext_names"}:
            return None
        rows = sections.get("__versions", b"")
        for start in range(0, len(rows), _MODVERSION_SIZE):
            names.add(_text(rows[start + _MODVERSION_NAME : start + _MODVERSION_SIZE]))
        names.update(map(_text, sections.get("__version_ext_names", b"").split(b"\0")))
        return frozenset(names - {""})

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """The modules that this one depends on and whose symbols are known."""
        listed = modinfo(self.module).get("depends", "").split(",")
        known = self.data.modules() if self.data else ()
        return tuple(name for name in listed if name.replace("-", "_") in known)


def modinfo(module: ElfObject) -> dict[str, str]:
    """The last value of each key in `.modinfo`."""
    found = {}
    for section in module.sections:
        if section.name == ".modinfo":
            for text in bytes(section.data).split(b"\0"):
                key, _, value = _text(text).partition("=")
                found[key] = value
    return found


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def strings_of(module: ElfObject) -> bytes:
    """All data that can hold the name of a patched object, ended by a NUL."""
    told_elsewhere = (".modinfo", ".gnu.linkonce.this_module", "__version")
    return b"".join(
        bytes(section.data) + b"\0"
        for section in module.sections
        if section.flags & c.SHF_ALLOC
        and not section.flags & c.SHF_EXECINSTR
        and not section.name.startswith(told_elsewhere)
    )


def holds(texts: bytes, name: str) -> bool:
    """Whether `name` ends a string in `texts`: linkers let strings share their ends."""
    return name.encode() + b"\0" in texts
