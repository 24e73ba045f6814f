"""What a live patch is made from, and what is known about one that was made: plain frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class PairLike(Protocol):
    """One affected translation unit, compiled twice in the same way with a section for each function and object.

    `owner` is `vmlinux` or the name of the module that the unit belongs to.
    """

    @property
    def original(self) -> Path: ...
    @property
    def patched(self) -> Path: ...
    @property
    def owner(self) -> str: ...


class Kind(StrEnum):
    """How code in the module reaches something in the running kernel."""

    EXPORT = "export"
    """An ordinary undefined symbol: the kernel exports it."""
    KLP = "klp"
    """A klp relocation."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A symbol of the running kernel that the module uses.

    `object` is who has it (`vmlinux` or a module), `sympos` its position there (0: the name is unique), and
    `patched_object` the object whose loading applies the relocation; both only count for klp relocations.
    `plain` ones keep their name until the relocations are converted, so that objtool knows them: it has a list of
    functions that do not return.
    """

    kind: Kind
    name: str
    object: str
    sympos: int = 0
    patched_object: str = ""
    users: tuple[str, ...] = ()
    plain: bool = False

    @property
    def symbol(self) -> str:
        """The undefined symbol's name in the module until the relocations are converted."""
        if self.kind is Kind.EXPORT or self.plain:
            return self.name
        return f".klp.sym.rela.{self.patched_object}.{self.object}.{self.name},{self.sympos}"


@dataclass(frozen=True, slots=True)
class PatchedFunction:
    """A function that the module replaces: its name and position in the kernel, its new symbol in the module.

    `why` are sentence parts, `sizes` the bytes of the old and the new code.
    """

    name: str
    sympos: int
    symbol: str
    why: tuple[str, ...] = ()
    sizes: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class PatchedObject:
    """What the module does to vmlinux or to one module.

    `callbacks` maps the kernel's member (`pre_patch`, …) to the function in the module.
    """

    name: str
    functions: tuple[PatchedFunction, ...] = ()
    callbacks: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that a person should look at; `slug` is explained in `docs/reasons.md`."""

    slug: str
    symbol: str
    evidence: str


@dataclass(frozen=True, slots=True)
class LivePatch:
    """A finished and verified module.

    `new` are the functions and data that came along, as (name, sort, bytes); sort is `function`, `data` or
    `constant`.
    """

    path: Path
    name: str
    objects: tuple[PatchedObject, ...]
    references: tuple[Reference, ...]
    new: tuple[tuple[str, str, int], ...] = ()
    warnings: tuple[Warned, ...] = ()
    size: int = 0
