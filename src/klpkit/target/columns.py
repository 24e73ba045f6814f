"""vmlinux's symbols as columns, in the order of kallsyms, and questions to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from klpkit.elf.layout import Ints, Offsets
from klpkit.target.model import TargetSymbol

# No symbol is this large: a gap like this separates per-CPU offsets from addresses.
_GAP = 1 << 40


@dataclass(frozen=True)
class SymbolColumns:
    """One row a symbol, in the order in which the kernel counts.

    `sizes` holds -1 where the symbol table tells no size (then the distance to the next symbol stands in);
    `sources` the number of a file in `files` or -1.  Both are None where nothing of the kind is known.
    """

    addresses: Offsets
    kinds: str
    names: list[str]
    sizes: Ints | None = None
    sources: Ints | None = None
    files: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, name: str) -> list[int]:
        """The rows of all symbols called `name`, in order."""
        first, more = self._places
        return [first[name], *more.get(name, ())] if name in first else []

    @cached_property
    def _places(self) -> tuple[dict[str, int], dict[str, list[int]]]:
        """Name → its first row, and → the rows after it: most names have one, and a list for each takes long."""
        first = dict(zip(reversed(self.names), range(len(self.names) - 1, -1, -1), strict=True))
        more: dict[str, list[int]] = {}
        for row in [row for row, name in enumerate(self.names) if first[name] != row]:
            more.setdefault(self.names[row], []).append(row)
        return first, more

    def rows_at(self, address: int) -> range:
        """The rows of all symbols at exactly `address`."""
        first = int(np.searchsorted(self.addresses, np.uint64(address), "left"))
        return range(first, int(np.searchsorted(self.addresses, np.uint64(address), "right")))

    def row_near(self, address: int) -> int | None:
        """The row of the last symbol at or before `address`."""
        row = int(np.searchsorted(self.addresses, np.uint64(address), "right")) - 1
        return row if row >= 0 else None

    def __getitem__(self, row: int) -> TargetSymbol:
        size, exact = self._size(row)
        source = None
        if self.sources is not None and self.sources[row] >= 0:
            source = self.files[int(self.sources[row])]
        return TargetSymbol(
            self.names[row],
            int(self.addresses[row]),
            size,
            self.kinds[row],
            source=source,
            index=row,
            exact=exact,
        )

    def _size(self, row: int) -> tuple[int | None, bool]:
        if self.sizes is not None and self.sizes[row] >= 0:
            return int(self.sizes[row]), True
        address = int(self.addresses[row])
        following = self.rows_at(address).stop
        if following == len(self):
            return None, False
        distance = int(self.addresses[following]) - address
        return (distance if distance < _GAP else None), False
