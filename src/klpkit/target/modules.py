"""The folder `lib/modules/RELEASE`: which modules there are, where, and the version magic that they carry."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from klpkit.errors import RefusedError, UserError
from klpkit.target.module import Module, module_name

_SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")


class ModuleFolder:
    """The modules below `root`; found when first asked for and read one at a time."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise UserError(f"{root}: no such folder", hint="name the kernel's lib/modules/RELEASE")
        self.root = root
        self._read: dict[str, Module] = {}

    @cached_property
    def paths(self) -> dict[str, Path]:
        """The file of each module, by its name with underscores."""
        listed = self.root / "modules.dep"
        if listed.is_file():
            lines = (line.partition(":")[0] for line in listed.read_text().splitlines())
            found = {module_name(line): self.root / line for line in lines if line}
            if found:
                return found
        return {
            module_name(name): Path(folder, name)
            for folder, _, names in os.walk(self.root)
            for name in names
            if name.endswith(_SUFFIXES)
        }

    @cached_property
    def built_in(self) -> frozenset[str]:
        """The names of modules that are part of vmlinux."""
        listed = self.root / "modules.builtin"
        lines = listed.read_text().splitlines() if listed.is_file() else ()
        return frozenset(module_name(line) for line in lines if line)

    def module(self, name: str) -> Module:
        """The module `name`; `RefusedError` (`no-such-module`) where the folder has none of this name."""
        key = module_name(name)
        if key not in self._read:
            path = self.paths.get(key)
            if path is None:
                where = "it is built into vmlinux" if key in self.built_in else "check its name"
                raise RefusedError("no-such-module", f"{self.root} has no module {name}", hint=where)
            self._read[key] = Module.read(path)
        return self._read[key]

    @cached_property
    def vermagic(self) -> str:
        """The version magic that its modules carry, "" where there is no module."""
        # All carry the same; which of them is small would take as long to find out as to read one that is not.
        name = min(self.paths, default="")
        return self.module(name).information_of("vermagic") if name else ""
