"""The shipped vmlinux as a `TargetObject`, whatever told its symbols."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.elf.layout import Ints, Offsets
from klpkit.errors import FormatError, RefusedError
from klpkit.target.columns import SymbolColumns
from klpkit.target.exports import ksymtab_exports
from klpkit.target.model import VMLINUX, Export, TargetObject, TargetSymbol

_GNU_BUILD_ID = 3


class Vmlinux(TargetObject):
    """vmlinux: `columns` in kallsyms order, and where there is one the linked file `elf` with its code."""

    def __init__(self, columns: SymbolColumns, elf: ElfFile | None, *, path: Path) -> None:
        self.name = VMLINUX
        self.columns = columns
        self.elf = elf
        self.path = path

    def positions(self, name: str) -> tuple[TargetSymbol, ...]:
        return tuple(self.columns[row] for row in self.columns.rows(name))

    def at(self, address: int, section: str = "") -> tuple[TargetSymbol, ...]:
        return tuple(self.columns[row] for row in self.columns.rows_at(address))

    def near(self, address: int, section: str = "") -> TargetSymbol | None:
        row = self.columns.row_near(address)
        return None if row is None else self.columns[row]

    def exports(self) -> Mapping[str, Export]:
        return self._exports

    @cached_property
    def _exports(self) -> Mapping[str, Export]:
        return ksymtab_exports(self)

    def code(self, symbol: TargetSymbol, size: int | None = None) -> bytes:
        wanted = symbol.size if size is None else size
        if wanted is None:
            raise RefusedError("no-shipped-code", f"the size of {symbol.name} is not known", hint="give a size")
        return self.read(symbol.address, wanted)

    def address(self, name: str) -> int | None:
        """The address of `name`, None where it is not there or not unique."""
        rows = self.columns.rows(name)
        return int(self.columns.addresses[rows[0]]) if len(rows) == 1 else None

    def holds(self, address: int, size: int = 1) -> bool:
        """Whether the file has content of its own for these bytes."""
        return self._section_of(address, size) is not None

    def read(self, address: int, size: int) -> bytes:
        """`size` shipped bytes at `address`; `RefusedError` (`no-shipped-code`) where the file holds none."""
        index = self._section_of(address, size)
        if self.elf is None or index is None:
            raise RefusedError(
                "no-shipped-code",
                f"no shipped bytes for {size} bytes at {address:#x}",
                hint="name the kernel image with --image, or its debug vmlinux with --vmlinux",
            )
        start = address - int(self.elf.sections.address[index])
        return bytes(self.elf.stored(index)[start : start + size])

    def string(self, address: int, limit: int = 1 << 16) -> bytes | None:
        """The NUL-ended string at `address` without its NUL; None where there is none."""
        index = self._section_of(address, 1)
        if self.elf is None or index is None:
            return None
        start = address - int(self.elf.sections.address[index])
        text, nul, _ = bytes(self.elf.stored(index)[start : start + limit]).partition(b"\0")
        return text if nul else None

    def between(self, start: str, stop: str, *, every: int) -> tuple[int, bytes]:
        """Address and content of the list between two boundary symbols; (0, b"") where they are not there.

        Raises `FormatError` where it does not consist of entries of `every` bytes.
        """
        first, end = self.address(start), self.address(stop)
        if first is None or end is None or end <= first or not self.holds(first, end - first):
            return 0, b""
        return first, self._list(self.read(first, end - first), every, f"{start} to {stop}")

    def _list(self, content: bytes, every: int, place: str) -> bytes:
        if len(content) % every:
            problem = f"{len(content)} bytes are no list of entries of {every}"
            raise FormatError(self.path, place, problem, hint="name the kernel as it was shipped")
        return content

    @property
    def has_code(self) -> bool:
        """Whether shipped bytes are at hand at all: `vmlinux.debug` files have none, nor has System.map."""
        return self.elf is not None and bool(self.elf.sections.executable)

    @cached_property
    def build_id(self) -> str:
        """The linked file's build ID in hexadecimal, "" where none is known."""
        for note in self.elf.notes() if self.elf is not None else ():
            if note.name == "GNU" and note.type == _GNU_BUILD_ID:
                return note.content.hex()
        return ""

    def in_init(self, address: int) -> bool:
        """Whether the kernel frees this memory after boot."""
        first, end = self.address("__init_begin"), self.address("__init_end")
        return first is not None and end is not None and first <= address < end

    @cached_property
    def ftrace_locations(self) -> frozenset[int]:
        """The addresses that `__mcount_loc` lists: where ftrace, and so livepatch, can hook in."""
        _, content = self.between("__start_mcount_loc", "__stop_mcount_loc", every=8)
        return frozenset(np.frombuffer(content, "<u8").tolist())

    @cached_property
    def sealed(self) -> frozenset[int]:
        """The addresses whose ENDBR the kernel overwrites at boot (IBT): indirect calls to them fault."""
        return self._relative_places(".ibt_endbr_seal", "__ibt_endbr_seal", "__ibt_endbr_seal_end")

    def _relative_places(self, section: str, start: str, stop: str) -> frozenset[int]:
        base, content = self.between(start, stop, every=4)
        if not content and self.elf is not None:
            for index in self.elf.sections.find(section):
                base = int(self.elf.sections.address[index])
                content = self._list(bytes(self.elf.stored(index)), 4, section)
        places = np.frombuffer(content, "<i4", len(content) // 4).astype(np.int64)
        places += np.arange(len(places)) * 4
        return frozenset((places.astype(np.uint64) + np.uint64(base)).tolist())

    def _section_of(self, address: int, size: int) -> int | None:
        if self.elf is None or size < 0:
            return None
        first, ends, rows = self._extents
        at = int(np.searchsorted(first, np.uint64(address), "right")) - 1
        if at < 0 or address + size > int(ends[at]):
            return None
        return int(rows[at])

    @cached_property
    def _extents(self) -> tuple[Offsets, Offsets, Ints]:
        assert self.elf is not None
        sections = self.elf.sections
        loaded = (sections.flags & np.uint64(c.SHF_ALLOC)) != 0
        rows = np.flatnonzero(loaded & (sections.type != c.SHT_NOBITS) & (sections.size > 0))
        rows = rows[np.argsort(sections.address[rows], kind="stable")]
        return sections.address[rows], sections.address[rows] + sections.size[rows], rows
