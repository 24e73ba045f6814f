"""From the files that a distribution ships to one `Target`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from klpkit.target.model import Export, TargetObject


@dataclass(frozen=True)
class Target:
    """A shipped kernel: `release` as `uname -r` says it, `vermagic` as its modules carry it."""

    release: str
    vermagic: str
    vmlinux: TargetObject

    def object(self, name: str) -> TargetObject:
        """`vmlinux` or the module `name` (dashes and underscores are the same)."""
        raise NotImplementedError

    def modules(self) -> tuple[str, ...]:
        """The names of the modules that are there, with underscores."""
        raise NotImplementedError

    def exports(self) -> Mapping[str, Export]:
        """What the kernel and its modules export together, by name."""
        raise NotImplementedError


def open_target(
    *,
    image: Path | None = None,
    vmlinux: Path | None = None,
    modules: Path | None = None,
    system_map: Path | None = None,
    symvers: Path | None = None,
    symbols: Path | None = None,
) -> Target:
    """The shipped kernel that these files describe.

    At least one of `image`, `vmlinux`, `system_map` and `symbols` must tell vmlinux's symbols.
    """
    raise NotImplementedError
