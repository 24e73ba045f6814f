"""From the files that a distribution ships to one `Target`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from klpkit.elf import ElfFile
from klpkit.elf.constants import ELF_MAGIC
from klpkit.errors import FormatError, RefusedError, UserError
from klpkit.target.columns import SymbolColumns
from klpkit.target.exports import read_symvers
from klpkit.target.imagecache import own_kallsyms, unpacked
from klpkit.target.model import VMLINUX, Export, TargetObject
from klpkit.target.modules import ModuleFolder
from klpkit.target.symtab import symtab_columns, with_origins
from klpkit.target.systemmap import read_system_map
from klpkit.target.vmlinux import Vmlinux

# "Linux version RELEASE (WHO) (COMPILER, LINKER) WHEN"; the compiler's words have parentheses of their own.
_BANNER = re.compile(r"Linux version (\S+) \([^)]*\) \((.*), [^,]*(?:ld|LLD)\b")


class Target:
    """A shipped kernel; what is not told by any of its files is "" or missing, and asking for it is refused."""

    def __init__(
        self,
        vmlinux: Vmlinux,
        *,
        banner: str = "",
        folder: ModuleFolder | None = None,
        symvers: Mapping[str, Export] | None = None,
    ) -> None:
        self.vmlinux = vmlinux
        self.banner = banner
        self._folder = folder
        self._symvers = symvers

    @cached_property
    def release(self) -> str:
        """The release as `uname -r` says it: from the image, else from the modules."""
        return self.banner.split(" ", 3)[2] if self.banner else self.vermagic.split(" ", 1)[0]

    @property
    def compiler(self) -> str:
        """The compiler that made the kernel, in its own words; "" where the banner is not at hand."""
        match = _BANNER.match(self.banner)
        return match[2] if match else ""

    @cached_property
    def vermagic(self) -> str:
        """The version magic that the kernel's modules carry; "" without a folder of modules."""
        return self._folder.vermagic if self._folder else ""

    def object(self, name: str) -> TargetObject:
        """`vmlinux` or the module `name` (a path or a name, dashes and underscores are the same).

        Raises `RefusedError`: `no-such-module`, or `no-modules` without a folder of modules.
        """
        if name == VMLINUX:
            return self.vmlinux
        if self._folder is None:
            raise RefusedError(
                "no-modules",
                f"nothing is known of the module {name}",
                hint="name lib/modules/RELEASE with --modules",
            )
        return self._folder.module(name)

    def modules(self) -> tuple[str, ...]:
        """The names of the modules that are there, with underscores."""
        return tuple(sorted(self._folder.paths)) if self._folder else ()

    @cached_property
    def _exports(self) -> Mapping[str, Export]:
        return self._symvers if self._symvers is not None else self.vmlinux.exports()

    def exports(self) -> Mapping[str, Export]:
        """What the kernel and its modules export, by name; without `Module.symvers` only what vmlinux exports."""
        return self._exports


def open_target(
    *,
    image: Path | None = None,
    vmlinux: Path | None = None,
    modules: Path | None = None,
    system_map: Path | None = None,
    symvers: Path | None = None,
) -> Target:
    """The shipped kernel that these files describe.

    At least one of `image` (bzImage), `vmlinux` (linked, best with symbols) and `system_map` must tell vmlinux's
    symbols.  Where several are given they must agree: `RefusedError` (`target-files-disagree`) names the first
    symbol that does not.
    """
    known = [Vmlinux(*_linked(path), path=path) for path in (image, vmlinux) if path]
    known += [Vmlinux(read_system_map(path), None, path=path) for path in (system_map,) if path]
    if not known:
        raise UserError(
            "nothing tells the symbols of the shipped kernel",
            hint="name its image (--image), debug vmlinux (--vmlinux) or System.map",
        )
    for other in known[1:]:
        _must_agree(known[0], other)
    chosen = known[0] if len(known) == 1 else _joined(known)
    return Target(
        chosen,
        banner=_banner(chosen),
        folder=ModuleFolder(modules) if modules else None,
        symvers=read_symvers(symvers) if symvers else None,
    )


def _linked(path: Path) -> tuple[SymbolColumns, ElfFile]:
    """Symbols and content of the image or vmlinux at `path`."""
    if read_head(path) != ELF_MAGIC:
        return unpacked(path)
    elf = ElfFile.open(path)
    table = elf.symbols
    try:
        columns = own_kallsyms(elf, path)
    except FormatError:
        # A debug file without content, or a kernel without kallsyms: its symbol table says the same.
        if len(table) < 2:
            raise
        return symtab_columns(elf), elf
    return (with_origins(columns, table) if len(table) > 1 else columns), elf


def read_head(path: Path) -> bytes:
    """The first four bytes of `path`; `UserError` where it can't be read."""
    try:
        with open(path, "rb") as file:
            return file.read(4)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="name a kernel image that can be read") from error


def _must_agree(first: Vmlinux, second: Vmlinux) -> None:
    """Refuse two files that are not of one kernel: other build IDs, or symbols at other places."""
    builds = first.build_id, second.build_id
    if all(builds) and builds[0] != builds[1]:
        raise _disagreement(first, second, f"their build IDs are {builds[0]} and {builds[1]}")
    places = Counter(zip(first.columns.names, first.columns.addresses.tolist(), strict=True))
    places.subtract(Counter(zip(second.columns.names, second.columns.addresses.tolist(), strict=True)))
    known = second.columns
    for (name, address), count in places.items():
        if count and (count > 0 or first.columns.rows(name)):
            there = ", ".join(f"{int(known.addresses[row]):#x}" for row in known.rows(name)) or "nowhere"
            raise _disagreement(first, second, f"{name} is at {address:#x} and {there}")


def _disagreement(first: Vmlinux, second: Vmlinux, how: str) -> RefusedError:
    return RefusedError(
        "target-files-disagree",
        f"{first.path} and {second.path} are not of the same kernel: {how}",
        hint="name files of one version of the kernel package",
    )


def _joined(known: list[Vmlinux]) -> Vmlinux:
    """One vmlinux out of several that agree: the most telling symbols, and code from where there is code."""
    best = max(known, key=lambda each: (each.columns.sizes is not None, each.elf is not None))
    if best.elf is not None and best.has_code:
        return best
    elf = next((each.elf for each in known if each.elf is not None and each.has_code), best.elf)
    return Vmlinux(best.columns, elf, path=best.path)


def _banner(vmlinux: Vmlinux) -> str:
    """What the kernel prints first when it boots; "" where its content is not at hand."""
    for symbol in vmlinux.positions("linux_banner"):
        text = (vmlinux.string(symbol.address) or b"").decode("utf-8", "replace").strip()
        if text.startswith("Linux version "):
            return text
    return ""
