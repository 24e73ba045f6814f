"""What differs between matched entities: exactly, bytes and references; and what that means for their users."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from klpkit.diff.correlate import Correlation, aligned, structure
from klpkit.diff.graph import Graph, Kind
from klpkit.diff.model import Cause
from klpkit.diff.pool import Hashes, Ints, Mask, among, distinct, mixed, run_starts, summed
from klpkit.diff.union import CODE, OTHER, OUTSIDE, STATE, Union
from klpkit.elf.special import Role


@dataclass(slots=True)
class Comparison:
    """Rows of the original that differ from their partners, and rows of either side that have none.

    `bytes_differ` and `references_differ` hold rows of the original; `places_differ` those whose references even
    lie at other places; `resized` is state of equal bytes whose symbol has another size.  `causes` maps a
    function's row (its parent's, for a part) to why it counts as changed.  `symbol_owners` says which module a
    symbol outside belongs to, as far as the caller knows.  `entries` are rows of registries, information and
    unknown sections that the other side lacks.
    """

    both: Union
    found: Correlation
    color: Hashes
    home: dict[int, int]
    bytes_differ: set[int] = field(default_factory=set)
    references_differ: set[int] = field(default_factory=set)
    places_differ: set[int] = field(default_factory=set)
    resized: set[int] = field(default_factory=set)
    constants: set[int] = field(default_factory=set)
    causes: dict[int, set[tuple[Cause, int]]] = field(default_factory=lambda: defaultdict(set))
    unmatched: list[int] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)
    loose_sites: list[int] = field(default_factory=list)
    symbol_owners: Mapping[str, str] = field(default_factory=dict)
    site_owner: Ints = field(default_factory=lambda: np.empty(0, np.int64))

    def function_of(self, row: int) -> int:
        """The function that a part belongs to, as the original's row where it has one."""
        row = self.home.get(row, row)
        partner = int(self.found.partner[row])
        return row if row < self.both.split or partner < 0 else partner


def compare(found: Correlation) -> Comparison:
    """Compare all matched entities."""
    both = found.both
    result = Comparison(both, found, structure(found, unmatched_code=False), _homes(found))
    left, right = found.pairs
    differing = both.content[left] != both.content[right]
    places, targets = _references(result, left, right)
    result.bytes_differ.update(left[differing].tolist())
    result.references_differ.update(left[places | targets].tolist())
    result.places_differ.update(left[places].tolist())
    result.unmatched = _unmatched(found)
    _spread(result)
    _sites(result)
    for row in differing_extents(result):
        if both.sort[row] == CODE:
            result.causes[result.function_of(row)].add((Cause.SIZE, row))
        else:
            result.resized.add(row)
    result.entries = _lone_entries(result)
    return result


def _homes(found: Correlation) -> dict[int, int]:
    """Part of a function → the function (a prefix of a cold part would belong to the function too)."""
    rows = np.flatnonzero(found.parent >= 0)
    parents = found.parent[rows]
    through = found.parent[parents]
    homes = np.where(through >= 0, through, parents)
    return dict(zip(rows.tolist(), homes.tolist(), strict=True))


def _references(result: Comparison, left: Ints, right: Ints) -> tuple[Mask, Mask]:
    """Which pairs have references at other places, and which to other targets."""
    both, color = result.both, result.color
    first = both.first
    count_left, count_right = first[left + 1] - first[left], first[right + 1] - first[right]
    a, b = aligned(both, left, right)
    index = np.full(both.split, -1, np.int64)
    index[left] = np.arange(len(left))
    places = (count_left > 0) | (count_right > 0)
    places[index[both.owner[a]]] = False
    same = (color[both.target[a]] == color[both.target[b]]) & (both.offset[a] == both.offset[b])
    targets = np.zeros(len(left), dtype=bool)
    targets[index[both.owner[a[~same]]]] = True
    return places, targets


def _unmatched(found: Correlation) -> list[int]:
    """Functions, state and named constants without a partner."""
    both = found.both
    named_constant = (both.role == Role.RODATA) & (both.declared == -1)
    want = (found.partner < 0) & (both.declared >= -1)
    want &= (both.sort == CODE) | ((both.role == Role.DATA) & (both.sort == STATE)) | named_constant
    want |= (found.partner < 0) & (both.kind == Kind.COMMON)
    rows: list[int] = np.flatnonzero(want).tolist()
    return rows


def _spread(result: Comparison) -> None:
    """Mark functions that differ, and the users of constants that differ."""
    both, found = result.both, result.found
    queue: list[int] = []
    for row in result.bytes_differ | result.references_differ:
        if both.sort[row] == CODE:
            _mark_code(result, row)
        elif both.sort[row] == OUTSIDE or _constant(both, row):
            result.constants.add(row)
            queue += [row, int(found.partner[row])]
    for row in result.unmatched:
        if both.sort[row] == CODE and row in result.home:
            result.causes[result.function_of(row)].add((Cause.PART, row))
    seen = set(queue)
    while queue:
        row = queue.pop()
        origin = row if row < both.split else int(found.partner[row])
        graph, entity = both.side(row)
        for user in (graph.users_of(entity) + (row - entity)).tolist():
            _mark_user(result, user, origin if origin >= 0 else row, queue, seen)


def _constant(both: Union, row: int) -> bool:
    return bool(both.role[row] == Role.RODATA)


def _mark_code(result: Comparison, row: int) -> None:
    own = result.function_of(row)
    if own != row:
        result.causes[own].add((Cause.PART, row))
        return
    if row in result.bytes_differ:
        result.causes[own].add((Cause.CODE, row))
    if row in result.references_differ:
        result.causes[own].add((Cause.REFERENCE, row))


def _mark_user(result: Comparison, user: int, origin: int, queue: list[int], seen: set[int]) -> None:
    both = result.both
    if user in seen:
        return
    if both.sort[user] == CODE:
        result.causes[result.function_of(user)].add((Cause.CONSTANT, origin))
    elif both.sort[user] == STATE and both.role[user] == Role.DATA:
        partner = int(result.found.partner[user])
        if partner >= 0:
            result.references_differ.add(min(user, partner))
    elif both.role[user] not in (Role.SITES, Role.INFORMATION, Role.DROPPED):
        seen.add(user)
        queue.append(user)
        partner = int(result.found.partner[user])
        if partner >= 0:
            result.constants.add(min(user, partner))
            if partner not in seen:
                seen.add(partner)
                queue.append(partner)


def differing_extents(result: Comparison) -> dict[int, list[str]]:
    """Code and state → those of its symbols that span other sizes on the two sides, though the bytes are the same.

    Where one symbol covers the bytes, another's size bounds no entity; and a symbol of no size covers all bytes to
    the next.  Nothing else would see those sizes differ.
    """
    both, found = result.both, _resized(result)
    for row in both.original.aliases:
        partner = int(result.found.partner[row])
        if both.sort[row] != CODE or partner < 0:
            continue
        before, after = _extents(both.original, row), _extents(both.patched, partner - both.split)
        names = [name for name in before.keys() & after.keys() if before[name] != after[name]]
        if names:
            found[row] = sorted(names)
    return found


def _resized(result: Comparison) -> dict[int, list[str]]:
    """Rows with one symbol on either side whose size differs while their own extent does not."""
    both = result.both
    left, right = result.found.pairs
    a, b = both.original, both.patched
    right = right - both.split
    before, after = a.entities.symbol[left], b.entities.symbol[right]
    named = (before >= 0) & (after >= 0) & (left < a.entities.defined) & (right < b.entities.defined)
    named &= (both.sort[left] == CODE) | (both.sort[left] == STATE)
    differ = named & (a.elf.symbols.size[before] != b.elf.symbols.size[after])
    extents = a.entities.end[left] - a.entities.start[left], b.entities.end[right] - b.entities.start[right]
    differ &= extents[0] == extents[1]
    rows = zip(left[differ].tolist(), right[differ].tolist(), strict=True)
    return {row: [both.name_of(row)] for row, other in rows if row not in a.aliases and other not in b.aliases}


def _extents(graph: Graph, entity: int) -> dict[str, int]:
    symbols = graph.elf.symbols
    rows = [int(graph.entities.symbol[entity]), *graph.aliases.get(entity, ())]
    return {symbols.names[row]: int(symbols.size[row]) for row in rows}


# --- special sections --------------------------------------------------------------------------------------


def _entry_colors(result: Comparison, rows: Ints) -> Hashes:
    """One number for each entry of a section: its bytes and what it refers to."""
    both = result.both
    wanted = np.zeros(len(both), dtype=bool)
    wanted[rows] = True
    use = np.flatnonzero(wanted[both.owner])
    values = mixed(both.at[use], both.type[use], both.offset[use], result.color[both.target[use]])
    sums = summed(values, both.owner[use], len(both))
    return mixed(_section_names(both, rows), both.content[rows], sums[rows])


def _section_names(both: Union, rows: Ints) -> Ints:
    """For each of `rows` the number of its section's name."""
    numbers: dict[str, int] = {}
    found = np.zeros(len(rows), np.int64)
    for graph, shift in ((both.original, 0), (both.patched, both.split)):
        mine = (rows >= both.split) == bool(shift)
        sections, names = graph.entities.section[rows[mine] - shift], graph.elf.sections.names
        table = np.zeros(len(names), np.int64)
        used = distinct(sections)
        table[used] = [numbers.setdefault(names[section], len(numbers)) for section in used.tolist()]
        found[mine] = table[sections]
    return found


def _sites(result: Comparison) -> None:
    """Functions whose entries in special sections differ though their code may not."""
    both = result.both
    result.site_owner = owner = site_owners(result)
    rows = np.flatnonzero(both.role == Role.SITES)
    if not len(rows):
        return
    colors = _entry_colors(result, rows)
    own = owner[rows]
    result.loose_sites = _lone(rows[own < 0], colors[own < 0], both.split)
    rows, colors, own = rows[own >= 0], colors[own >= 0], own[own >= 0]
    order = np.argsort(own, kind="stable")
    sums = summed(colors[order], own[order], len(both))
    left, right = result.found.pairs
    code = both.sort[left] == CODE
    left, right = left[code], right[code]
    for row in left[sums[left] != sums[right]].tolist():
        result.causes[result.function_of(row)].add((Cause.SITE, row))


def site_owners(result: Comparison) -> Ints:
    """For each entry of a special section the function that it describes (-1: none); -1 for other rows."""
    both = result.both
    owner = np.full(len(both), -1, np.int64)
    rows = np.flatnonzero(among(both.role[both.owner], (Role.SITES, Role.PIECES)))
    code = both.sort[both.target[rows]] == CODE
    # A piece belongs to the function whose middle it goes back to, not to one that it calls.
    code &= (both.role[both.owner[rows]] == Role.SITES) | (both.offset[rows] != 0)
    rows = rows[code | (both.role[both.target[rows]] == Role.PIECES)]
    if not len(rows):
        return owner
    heads = rows[run_starts(both.owner[rows])]
    direct = np.full(len(both), -1, np.int64)
    direct[both.owner[heads]] = both.target[heads]
    for _ in range(4):
        through = (direct >= 0) & (both.role[np.maximum(direct, 0)] == Role.PIECES)
        if not through.any():
            break
        direct[through] = direct[direct[through]]
    named = direct >= 0
    owner[named] = direct[named]
    homes = np.arange(len(both) + 1)
    homes[list(result.home)] = list(result.home.values())
    owner = np.where(owner >= 0, homes[owner], -1)
    owner[(owner >= 0) & (both.sort[np.maximum(owner, 0)] != CODE)] = -1
    return owner


def _lone(rows: Ints, colors: Hashes, split: int) -> list[int]:
    """Those of `rows` whose color has other numbers of rows on the two sides."""
    if not len(rows):
        return []
    _, inverse = np.unique(colors, return_inverse=True)
    size = int(inverse.max()) + 1
    balance = np.bincount(inverse[rows < split], minlength=size) - np.bincount(
        inverse[rows >= split], minlength=size
    )
    lone: list[int] = rows[
        ((balance[inverse] > 0) & (rows < split)) | ((balance[inverse] < 0) & (rows >= split))
    ].tolist()
    return lone


def _lone_entries(result: Comparison) -> list[int]:
    both = result.both
    mine = (Role.REGISTRY, Role.INFORMATION, Role.UNKNOWN)
    unused = _unreferenced_constants(result)
    rows = np.flatnonzero((among(both.role, mine) & (both.sort == OTHER)) | unused)
    return _lone(rows, _entry_colors(result, rows), both.split)


def _unreferenced_constants(result: Comparison) -> Mask:
    """Unnamed constants and code pieces that nothing refers to by a relocation: they must not differ unseen."""
    both = result.both
    used = np.zeros(len(both), dtype=bool)
    used[both.target] = True
    nameless = (both.kind == Kind.ANONYMOUS) & among(both.role, (Role.RODATA, Role.PIECES))
    unused: Mask = nameless & ~used
    return unused
