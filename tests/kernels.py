"""Debian's kernel in the user's own cache, for the tests of the kernel tier.

The paths are taken when this module is imported, before any test gets a home folder of its own.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

_BASE = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
KERNELS = Path(_BASE, "klpkit", "kernels")
HOW = "`make kernel` fetches it"


@dataclass(frozen=True, slots=True)
class StockKernel:
    """Debian's stock cloud kernel: source, prepared build tree, header package; the others may be None."""

    version: str
    release: str
    source: Path
    build: Path
    headers: Path
    image: Path | None
    modules: Path | None
    vmlinux: Path | None


@dataclass(frozen=True, slots=True)
class SmallKernel:
    """A small kernel that was built from the same source, with its objects and `.cmd` files."""

    source: Path
    build: Path


def version_key(version: str) -> tuple[int, ...]:
    """Debian versions in their order, as far as kernels use it: numbers count, and `~` is before the end."""
    return (*(-1 if part == "~" else int(part) for part in re.findall(r"\d+|~", version)), 0)


def find_stock(kernels: Path = KERNELS) -> StockKernel | None:
    """The prepared stock kernel of the highest version in the cache, whichever was prepared last."""
    for stamp in sorted(kernels.glob("*/build.prepared"), key=lambda s: version_key(s.parent.name), reverse=True):
        root = stamp.parent
        known = json.loads((root / "release.json").read_text())
        release = f"{known['abi']}-cloud-amd64"
        return StockKernel(
            version=known["version"],
            release=release,
            source=next((root / "source").glob("linux-source-*")),
            build=root / "build",
            headers=root / "headers" / "usr" / "src" / f"linux-headers-{release}",
            image=_existing(root / "image" / "boot" / f"vmlinuz-{release}"),
            modules=_existing(root / "image" / "lib" / "modules" / release),
            vmlinux=next((root / "dbg").rglob("vmlinux*"), None) if (root / "dbg").exists() else None,
        )
    return None


def find_small() -> SmallKernel | None:
    """A small kernel whose build was finished, in the flavour built with no special flags."""
    for stamp in sorted(KERNELS.glob("*/small-*/plain/.built")):
        root = stamp.parents[2]
        return SmallKernel(next((root / "source").glob("linux-source-*")), stamp.parent)
    return None


def find_clang() -> SmallKernel | None:
    """A tree of a small kernel that was prepared with Clang and lld; it need not be built."""
    for stamp in sorted(KERNELS.glob("*/small-*/clang/.prepared")):
        return SmallKernel(next((stamp.parents[2] / "source").glob("linux-source-*")), stamp.parent)
    return None


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None
