"""What other rooms may know of a shipped kernel: its objects, their symbols in the loader's order, exports, code.

Each source of symbols (image, debug vmlinux, System.map, module file) is a subclass of `TargetObject` elsewhere in
this room.  All of them count positions as `klp_find_object_symbol()` of the kernel does: for vmlinux in the order
of kallsyms, for a module in the order of its symbol table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from klpkit.errors import RefusedError

VMLINUX = "vmlinux"


@dataclass(frozen=True, slots=True)
class TargetSymbol:
    """One symbol of the shipped kernel.

    `address` is absolute for vmlinux, and for a module the offset in its section `section`.  `size` is in bytes;
    without `exact` it is the distance to the next symbol, which counts padding too, and None where there is no
    next.  `kind` is nm's letter.  `source` is the file that defines the symbol, where that is known.  `index` is
    the place in the table that the kernel counts in.
    """

    name: str
    address: int
    size: int | None
    kind: str
    source: str | None = None
    index: int = -1
    section: str = ""
    exact: bool = False

    @property
    def function(self) -> bool:
        """Whether it lies in code (`t`, `T`, `w` or `W`: a weak one may be data)."""
        return self.kind in "tTwW"


@dataclass(frozen=True, slots=True)
class Export:
    """An exported symbol: `crc` is None without MODVERSIONS, `module` who exports it (`drivers/net/tun`)."""

    name: str
    crc: int | None
    namespace: str
    gpl: bool
    module: str


class TargetObject(ABC):
    """The shipped vmlinux, or one shipped module; `name` has underscores as the running kernel says it."""

    name: str

    @abstractmethod
    def positions(self, name: str) -> tuple[TargetSymbol, ...]:
        """Every symbol called `name`, in the order in which the loader counts: sympos is the index plus 1."""

    @abstractmethod
    def exports(self) -> Mapping[str, Export]:
        """What the object exports, by name."""

    @abstractmethod
    def code(self, symbol: TargetSymbol, size: int | None = None) -> bytes:
        """The shipped bytes of `symbol`, `size` of them or as many as the symbol has.

        Raises `RefusedError` (`no-shipped-code`) where the source of symbols holds no code.
        """

    @abstractmethod
    def at(self, address: int, section: str = "") -> tuple[TargetSymbol, ...]:
        """The symbols at exactly `address` (in `section` of a module)."""

    @abstractmethod
    def near(self, address: int, section: str = "") -> TargetSymbol | None:
        """The symbol that covers `address`: the last one at or before it."""

    def sympos(self, symbol: TargetSymbol) -> int:
        """The position that the kernel's livepatch loader wants: 0 for a unique name, else counted from 1."""
        same = self.positions(symbol.name)
        if symbol not in same:
            raise RefusedError(
                "symbol-not-in-target",
                f"{self.name} has no symbol {symbol.name} at {symbol.address:#x}",
                hint="take the symbol from this target",
            )
        return same.index(symbol) + 1 if len(same) > 1 else 0
