"""Architectures as tables of data: one file each, found by the ELF machine number or by name."""

from __future__ import annotations

from klpkit.elf.arch.facts import Architecture, Displacement, Relocation, Word

__all__ = ["NAMES", "Architecture", "Displacement", "Relocation", "Word", "architecture", "named"]

_MACHINES = {62: "x86_64", 183: "aarch64", 21: "ppc64le", 22: "s390x", 258: "loongarch64"}

NAMES = tuple(_MACHINES.values())
"""The names of all architectures that klpkit knows."""


def architecture(machine: int, order: str) -> Architecture | None:
    """The facts of ELF machine number `machine` in byte order `order` (`<`, `>`); None for others."""
    name = _MACHINES.get(machine)
    found = named(name) if name else None
    return found if found and found.order == order else None


def named(name: str) -> Architecture:
    """The facts of the architecture called `name` (`x86_64`, `ppc64le`, …); `KeyError` for others."""
    if name not in _MACHINES.values():
        raise KeyError(name)
    import importlib

    facts: Architecture = importlib.import_module(f"{__name__}.{name}").FACTS
    return facts
