"""The guest's whole file system: busybox, modules, the check script, and `init.sh` with its settings.

Layout, all below `/klpkit` but busybox: `settings` (shell variables), `report` (device number of the port to
report on), `check`, `modules/NAME.ko`.
"""

from __future__ import annotations

import gzip
import shlex
import shutil
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from klpkit.boot.cpio import Archive
from klpkit.boot.modules import Module
from klpkit.errors import EnvironmentLackError


def initramfs(
    settings: Mapping[str, str | int],
    report: tuple[int, int],
    modules: Sequence[Module],
    check: bytes | None,
    extra: Mapping[str, bytes] | None = None,
) -> bytes:
    """A compressed archive for a guest.  `extra` maps paths in the guest to contents; all are executable."""
    archive = Archive()
    archive.device("dev/console", 5, 1)
    archive.device("dev/null", 1, 3)
    archive.device("dev/report", *report)
    archive.file("bin/busybox", busybox().read_bytes(), executable=True)
    archive.file("init", files("klpkit.boot").joinpath("init.sh").read_bytes(), executable=True)
    archive.file("klpkit/settings", _assignments(settings))
    archive.file("klpkit/report", "{},{}\n".format(*report).encode())
    if check is not None:
        archive.file("klpkit/check", check, executable=True)
    for module in modules:
        archive.file(f"klpkit/modules/{module.name}.ko", module.content)
    for path, content in (extra or {}).items():
        archive.file(path, content, executable=True)
    return gzip.compress(archive.packed(), compresslevel=1, mtime=0)


def busybox() -> Path:
    """The busybox of this machine that needs no libraries; raises `EnvironmentLackError` where there is none."""
    found = shutil.which("busybox")
    if found is None:
        raise EnvironmentLackError("busybox is missing", hint="apt-get install busybox-static")
    from klpkit.elf import ElfFile

    path = Path(found)
    if ElfFile.open(path).sections.find(".interp"):
        raise EnvironmentLackError(f"{path} needs shared libraries", hint="apt-get install busybox-static")
    return path


def _assignments(settings: Mapping[str, str | int]) -> bytes:
    return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in settings.items()).encode()
