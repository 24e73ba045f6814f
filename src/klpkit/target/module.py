"""A shipped kernel module as a `TargetObject`.

The loader counts positions in the module's own symbol table, in its order (`module_kallsyms_on_each_symbol()` of
`kernel/module/kallsyms.c`).  While a module is coming that is the whole table; once it is live, only what is not
in init memory and not absolute.  A livepatch may meet either, so a position must be the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.elf.layout import Ints
from klpkit.errors import RefusedError
from klpkit.target.bzimage import read_bytes
from klpkit.target.compressed import compression_of, decompressed
from klpkit.target.exports import module_exports
from klpkit.target.model import Export, TargetObject, TargetSymbol
from klpkit.target.symtab import letters_of, origins_of

# The loader takes these sections out of memory (`rewrite_section_headers()`).
_NOT_KEPT = (".modinfo", "__versions", "__version_ext")


class Module(TargetObject):
    """One module: `name` with underscores, `path` of its file, `elf` its content, decompressed."""

    def __init__(self, path: Path, elf: ElfFile) -> None:
        self.path = path
        self.elf = elf
        self.name = module_name(path)

    @classmethod
    def read(cls, path: Path) -> Module:
        """The module at `path`: `.ko`, or compressed as `.ko.xz`, `.ko.zst` or `.ko.gz`."""
        data = read_bytes(path, "a kernel module")
        if compression_of(data):
            data = decompressed(data, path=path, place="")
        return cls(path, ElfFile(data, path))

    def positions(self, name: str) -> tuple[TargetSymbol, ...]:
        return tuple(self._symbol(row) for row in self._core(name))

    def sympos(self, symbol: TargetSymbol) -> int:
        """As `TargetObject.sympos`; refuses a name that counts differently while the module is loading."""
        coming, live = self._coming(symbol.name), self._core(symbol.name)
        if symbol.index not in coming:
            return super().sympos(symbol)
        if symbol.index not in live or len(live) != len(coming):
            raise RefusedError(
                "init-symbol-in-count",
                f"{self.name}: {symbol.name} counts differently while the module is loading",
                hint="another symbol of this name is in init memory; refer to this one in some other way",
            )
        return live.index(symbol.index) + 1 if len(live) > 1 else 0

    def exports(self) -> Mapping[str, Export]:
        return self._exports

    def at(self, address: int, section: str = "") -> tuple[TargetSymbol, ...]:
        return tuple(
            self._symbol(row)
            for row in self._rows_in(section).tolist()
            if int(self.elf.symbols.value[row]) == address
        )

    def near(self, address: int, section: str = "") -> TargetSymbol | None:
        rows = self._rows_in(section)
        rows = rows[self.elf.symbols.value[rows] <= np.uint64(address)]
        if not len(rows):
            return None
        return self._symbol(int(rows[int(np.argmax(self.elf.symbols.value[rows]))]))

    def code(self, symbol: TargetSymbol, size: int | None = None) -> bytes:
        section = int(self.elf.symbols.section[symbol.index])
        wanted = symbol.size if size is None else size
        content = self.elf.content(section) if section > 0 else memoryview(b"")
        if wanted is None or symbol.address + wanted > len(content):
            raise RefusedError(
                "no-shipped-code", f"{self.name}: {symbol.name} has no content in the file", hint="name a function"
            )
        return bytes(content[symbol.address : symbol.address + wanted])

    @cached_property
    def information(self) -> tuple[tuple[str, str], ...]:
        """The (key, value) pairs of `.modinfo`, in its order."""
        pairs = []
        for index in self.elf.sections.find(".modinfo"):
            for text in bytes(self.elf.content(index)).split(b"\0"):
                if text:
                    key, _, value = text.decode("utf-8", "surrogateescape").partition("=")
                    pairs.append((key, value))
        return tuple(pairs)

    def information_of(self, key: str) -> str:
        """The first value of `key` in `.modinfo`, "" where there is none."""
        return next((value for name, value in self.information if name == key), "")

    @cached_property
    def ftrace_locations(self) -> frozenset[tuple[str, int]]:
        """The (section, offset) pairs that `__mcount_loc` lists: where ftrace, and so livepatch, can hook in."""
        return self.listed("__mcount_loc", every=8)

    @cached_property
    def sealed(self) -> frozenset[tuple[str, int]]:
        """The (section, offset) pairs whose ENDBR the kernel overwrites when it loads the module (IBT)."""
        return self.listed(".ibt_endbr_seal", every=4)

    def listed(self, name: str, *, every: int) -> frozenset[tuple[str, int]]:
        """What the entries of `every` bytes in the sections called `name` begin with a reference to."""
        found = set()
        table = self.elf.symbols
        for index in self.elf.sections.find(name):
            for relocations in self.elf.relocations_of(index):
                for entry in relocations:
                    section = int(table.section[entry.symbol])
                    if section > 0 and entry.offset % every == 0:
                        place = int(table.value[entry.symbol]) + entry.addend
                        found.add((self.elf.sections.names[section], place))
        return frozenset(found)

    def defined(self, name: str) -> tuple[TargetSymbol, ...]:
        """Every symbol called `name` that the file defines, those in init memory too."""
        return tuple(self._symbol(row) for row in self._coming(name) if int(self.elf.symbols.section[row]) > 0)

    # -- inside ------------------------------------------------------------------------------------------------

    @cached_property
    def _exports(self) -> Mapping[str, Export]:
        return module_exports(self.elf, self.name)

    @cached_property
    def _letters(self) -> str:
        return letters_of(self.elf, self.elf.symbols)

    @cached_property
    def _sources(self) -> list[str | None]:
        origins = origins_of(self.elf.symbols)
        return [origins.files[number] if number >= 0 else None for number in origins.sources.tolist()]

    @cached_property
    def _init(self) -> frozenset[int]:
        """The numbers of the sections that the loader frees (`module_init_layout_section()`)."""
        names = self.elf.sections.names
        return frozenset(row for row, name in enumerate(names) if name.startswith((".init", *_NOT_KEPT)))

    def _coming(self, name: str) -> list[int]:
        """The rows that count while the module is loading: all but undefined ones."""
        return [row for row in self.elf.symbols.find(name) if int(self.elf.symbols.section[row]) != c.SHN_UNDEF]

    def _core(self, name: str) -> list[int]:
        """The rows that count once the module is live."""
        table, flags = self.elf.symbols, self.elf.sections.flags
        return [
            row
            for row in table.find(name)
            if (section := int(table.section[row])) > 0
            and section not in self._init
            and int(flags[section]) & c.SHF_ALLOC
        ]

    @cached_property
    def _rows_by_section(self) -> dict[str, Ints]:
        table = self.elf.symbols
        real = (table.section > 0) & (table.type != c.STT_SECTION) & (table.type != c.STT_FILE)
        rows: dict[str, list[int]] = {}
        for row in np.flatnonzero(real).tolist():
            rows.setdefault(self.elf.sections.names[int(table.section[row])], []).append(row)
        return {name: np.array(found, np.int64) for name, found in rows.items()}

    def _rows_in(self, section: str) -> Ints:
        return self._rows_by_section.get(section, np.empty(0, np.int64))

    def _symbol(self, row: int) -> TargetSymbol:
        table = self.elf.symbols
        section, size = int(table.section[row]), int(table.size[row])
        return TargetSymbol(
            table.names[row],
            int(table.value[row]),
            size or None,
            self._letters[row],
            source=self._sources[row],
            index=row,
            section=self.elf.sections.names[section] if section > 0 else "",
            exact=size > 0,
        )


def module_name(path: Path | str) -> str:
    """The name that the kernel gives the module in a file called so: without suffixes, dashes as underscores."""
    return str(path).rpartition("/")[2].split(".ko", 1)[0].replace("-", "_")
