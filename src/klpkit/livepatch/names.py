"""The names that code gets in the module: patched functions must be global and must not clash.

A function and its parts keep one stem, because objtool finds the parent of `name.cold` by its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from klpkit.diff.names import cold_parent, prefix_owner
from klpkit.livepatch.selection import Selection

PREFIX = "klpp_"


def new_names(selections: Sequence[Selection]) -> list[dict[int, str]]:
    """For each selection: entity → its symbol in the module, for functions and their parts."""
    counts = Counter(_wanted(s, e) for s in selections for e in s.functions)
    used: Counter[str] = Counter()
    tables = []
    for selection in selections:
        names: dict[int, str] = {}
        for function in selection.functions:
            name = _wanted(selection, function)
            if counts[name] > 1:
                used[name] += 1
                name = f"{name}__{used[name]}"
            names[function] = name
            for part in selection.unit.parts.get(function, ()):
                names[part] = _part_name(selection.unit.graph.names[part], name)
        tables.append(names)
    return tables


def _wanted(selection: Selection, function: int) -> str:
    name = selection.unit.graph.names[function]
    return PREFIX + name.replace(".", "_") if function in selection.unit.changed else name


def _part_name(part: str, function: str) -> str:
    if cold_parent(part) is not None:
        return f"{function}.cold"
    owner = prefix_owner(part)
    return part.replace(owner, function) if owner else part
