"""What `klpkit convert` did, as text and as JSON (`docs/reference/convert.md` describes the fields)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from klpkit.livepatch.convert import Converted

SCHEMA = "klpkit.convert/1"


def write_converted(out: Path, done: Sequence[Converted], stream: TextIO) -> None:
    """A line for each reference, and one for the module."""
    for each in done:
        reference = each.reference
        position = f",{reference.sympos}" if reference.sympos else ""
        where = ", ".join(f"{section} ({count})" for section, count in each.places.items()) or "used nowhere"
        unchecked = "" if each.found else "  [not checked: no symbols of this object were named]"
        patched = "" if reference.applied_with == reference.symbol_object else f" with {reference.applied_with}"
        stream.write(f"{reference.symbol_object}:{reference.name}{position}{patched}  {where}{unchecked}\n")
    count = sum(sum(each.places.values()) for each in done)
    told = f"{count} relocations of {len(done)} symbols converted" if done else "nothing to convert"
    stream.write(f"{out}: {told}\n")


def write_converted_json(module: Path, out: Path, done: Sequence[Converted], stream: TextIO) -> None:
    """The same as one JSON document."""
    document = {
        "schema": SCHEMA,
        "module": str(module),
        "output": str(out),
        "changed": bool(done),
        "references": [
            {
                "symbol": each.reference.symbol,
                "klp_symbol": each.reference.klp_symbol,
                "patched_object": each.reference.applied_with,
                "object": each.reference.symbol_object,
                "name": each.reference.name,
                "sympos": each.reference.sympos,
                "relocations": dict(each.places),
                "checked": each.found is not None,
                "source": each.found.source if each.found else None,
            }
            for each in done
        ],
    }
    json.dump(document, stream, indent=2)
    stream.write("\n")
