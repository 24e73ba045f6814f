"""Where symbols are, as text and as JSON (`docs/reference/convert.md` describes the fields)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from klpkit.target import TargetSymbol

SCHEMA = "klpkit.symbols/1"


@dataclass(frozen=True, slots=True)
class Position:
    """One symbol of `owner` at the position `sympos` that live patching counts (0: the only one of its name).

    `source` is its file, None where that is not known.
    """

    owner: str
    sympos: int
    symbol: TargetSymbol
    source: str | None


def write_positions(found: Sequence[Position], stream: TextIO) -> None:
    """A line for each symbol: object, name with position, nm's letter, source file."""
    for each in found:
        symbol = each.symbol
        address = f"{symbol.address:#x}" if symbol.address else "-"
        source = each.source or "-"
        stream.write(f"{each.owner}\t{symbol.name},{each.sympos}\t{symbol.kind}\t{address}\t{source}\n")


def write_positions_json(found: Sequence[Position], stream: TextIO) -> None:
    """The same as one JSON document."""
    rows = [
        {
            "object": each.owner,
            "name": each.symbol.name,
            "sympos": each.sympos,
            "kind": each.symbol.kind,
            "address": each.symbol.address or None,
            "section": each.symbol.section or None,
            "source": each.source,
        }
        for each in found
    ]
    json.dump({"schema": SCHEMA, "symbols": rows}, stream, indent=2)
    stream.write("\n")
