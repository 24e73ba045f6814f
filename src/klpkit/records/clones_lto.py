"""Link-time clone dumps joined with the dumps of the units that were linked.

With `-flto`, GCC writes one dump a unit when it compiles (early inlining), and at the link one for the whole
program (`X.wpa.000i.ipa-clones`), one a partition (`X.ltrans0.ltrans.…`), or with `-flto-partition=none` a
single one (`X.lto.o-….lto.o.…`).  A function has another number in each, and nothing in a dump names the
others; what they share is the symbol and the place in the source.

What the join can tell: that two records are the same source function compiled with the same symbol.  A static
function that the link renamed (`f.lto_priv.0`) is recognised by the part before the suffix and its place.
What it can't tell: which unit's copy of a header's static function the link speaks of, when several units have
one at the same place; then all are joined, so the answer names too many rather than too few.  The compile-time
path is relative to the compiler's working folder and the link-time path to the linker's, so paths are equal
when one, without its leading `./` and `../`, ends with the other.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict

import numpy as np

from klpkit.records.clonelines import is_lto_dump
from klpkit.records.model import EffectTable, with_joins

_PRIVATE = re.compile(r"\.lto_priv\.\d+(?=\.|$)")

_Key = tuple[str, str, int, int]


def link_units(table: EffectTable) -> EffectTable:
    """`table` with link-time functions joined to the units' functions that they are (`same-function`).

    A table without link-time dumps comes back as it is.  Link-time dumps are joined with each other, too: a
    partition's records go on where the whole program's end.  Functions that only units' dumps speak of are
    never joined with each other.
    """
    units = [index for index in np.unique(table.unit).tolist() if is_lto_dump(table.strings[index])]
    if not units:
        return table
    linked = np.isin(table.unit, units)
    strings = list(table.strings)
    by_key: dict[_Key, list[int]] = defaultdict(list)
    for row in range(table.function_count):
        symbol = _PRIVATE.sub("", strings[int(table.symbol[row])])
        file = _canonical(strings[int(table.file[row])])
        key = (symbol, posixpath.basename(file), int(table.line[row]), int(table.column[row]))
        by_key[key].append(row)
    pairs = []
    for rows in by_key.values():
        ours = [row for row in rows if linked[row]]
        pairs += [
            (row, other)
            for row in ours
            for other in rows
            if other != row and _same_file(strings[int(table.file[row])], strings[int(table.file[other])])
        ]
    return with_joins(table, pairs)


def _canonical(path: str) -> str:
    """`path` with its inner `a/..` resolved and without leading `./` and `../`."""
    path = posixpath.normpath(path)
    while path.startswith("../"):
        path = path[3:]
    return path


def _same_file(one: str, other: str) -> bool:
    one, other = _canonical(one), _canonical(other)
    long, short = (one, other) if len(one) >= len(other) else (other, one)
    return long == short or long.endswith("/" + short.lstrip("/"))
