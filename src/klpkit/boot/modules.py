"""Kernel modules on their way into a guest: unpacked, named as the kernel will name them, in loading order.

What a module says of itself is in its section `.modinfo`, NUL-terminated `key=value` strings
(include/linux/moduleparam.h of the kernel).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from klpkit.elf import ElfFile
from klpkit.errors import FormatError, UserError
from klpkit.records.images import image_bytes

_PACKINGS = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")


@dataclass(frozen=True, slots=True)
class Module:
    """A module: its name in the running kernel, its bytes as the loader takes them, and what it needs."""

    name: str
    content: bytes
    needs: tuple[str, ...]
    vermagic: str
    livepatch: bool


def read_module(path: Path) -> Module:
    """The module at `path`, unpacked.  `UserError` or `FormatError` where it is none."""
    content = image_bytes(path)
    elf = ElfFile(content, path)
    if not elf.sections.find(".modinfo"):
        raise FormatError(path, "", "no kernel module: it has no section .modinfo", hint="name a .ko file")
    info: dict[str, str] = {}
    for entry in bytes(elf.content(elf.sections.find(".modinfo")[0])).split(b"\0"):
        key, _, value = entry.decode(errors="replace").partition("=")
        info.setdefault(key, value)
    if "name" not in info:
        raise FormatError(path, ".modinfo", "the module has no name", hint="build it with the kernel's Kbuild")
    # Kbuild writes the names of files there, hyphens and all.
    needs = tuple(name.replace("-", "_") for name in info.get("depends", "").split(",") if name)
    return Module(info["name"], content, needs, info.get("vermagic", ""), "livepatch" in info)


def with_needs(wanted: Iterable[Path], folder: Path | None) -> list[Module]:
    """The modules `wanted` and those that they need, found in `folder`, each after what it needs."""
    known = _names(folder) if folder else {}
    ordered: dict[str, Module] = {}
    modules = [read_module(path) for path in wanted]
    named = {module.name: module for module in modules}

    def load(module: Module, chain: tuple[str, ...]) -> None:
        if module.name in ordered or module.name in chain:
            return
        for need in module.needs:
            load(named.get(need) or _needed(need, module.name, known), (*chain, module.name))
        ordered[module.name] = module

    for module in modules:
        load(module, ())
    return list(ordered.values())


def _needed(name: str, user: str, known: dict[str, Path]) -> Module:
    if name not in known:
        raise UserError(
            f"module {user} needs module {name}, which was not found",
            hint="name the kernel's module folder with --modules, or the module itself with --load",
        )
    return read_module(known[name])


def _names(folder: Path) -> dict[str, Path]:
    """Module name → file, for all of `folder`; the kernel writes `_` where a file name may have `-`."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder", hint="name a folder such as /lib/modules/RELEASE")
    return {
        path.name.partition(".")[0].replace("-", "_"): path
        for path in folder.rglob("*.ko*")
        if path.name.endswith(_PACKINGS)
    }
