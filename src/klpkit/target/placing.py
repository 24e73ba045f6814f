"""Where each section of a recompiled original lies in the shipped kernel, so that repeated names can't mislead.

A linker moves an object's section as a whole: one symbol or one reference that is sure places all of it.  Sure is
what most evidence agrees on, in this order:

1. unique names: where the functions and data of a section are, functions if their shipped bytes are equal;
2. references: relocated fields in equal functions, and in data of placed sections, tell where what they name is;
3. names that others have too, equal bytes first.

What unique names say no reference can change: the reference is what is to be checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from klpkit.target.bodies import Body, Live, compare_body
from klpkit.target.original import Extent, Original
from klpkit.target.shipped import Shipped, Spot

_SURE, _REFERENCE, _EQUAL, _NAME = 1000, 1000, 10, 1
"""How much a unique name, a reference out of equal code, equal bytes and a mere name count."""
_ROUNDS = 4


@dataclass(slots=True)
class Placing:
    """The answer: `bases` is the spot of the first byte of each placed section."""

    original: Original
    shipped: Shipped
    bases: dict[int, Spot] = field(default_factory=dict)
    seen: dict[int, Spot] = field(default_factory=dict)
    """Where symbols lie that the image does not name, by their first reference: row → spot."""
    _bodies: dict[tuple[int, Spot], Body | None] = field(default_factory=dict)

    def body(self, extent: Extent, spot: Spot) -> Body | None:
        """`extent` compared with what is shipped at `spot`; each pair is compared once."""
        key = (extent.row, spot)
        if key not in self._bodies:
            self._bodies[key] = compare_body(self.original, extent, self.shipped, spot)
        return self._bodies[key]

    def spot_of(self, section: int, offset: int) -> Spot | None:
        """Where offset `offset` of `section` lies in the image; None where the section is not placed."""
        base = self.bases.get(section)
        return (base[0], base[1] + offset) if base else None

    def plausible(self, section: int, base: Spot) -> bool:
        """Whether a section can begin at `base`: if the image has names of it, one is where it would be then."""
        places = [
            (spot, (base[0], base[1] + extent.offset))
            for extent in self.original.extents_of(section)
            for spot, _ in self.shipped.named(extent.name)
        ]
        return not places or any(spot == expected for spot, expected in places)

    def place_of(self, extent: Extent) -> Spot | None:
        """Where the function or object `extent` lies: with its section if its name is there, else by its name."""
        spots = [spot for spot, _ in self.shipped.named(extent.name)]
        expected = self.spot_of(extent.section, extent.offset)
        if expected in spots or not spots:
            return expected if expected in spots else None
        if expected is None:
            return spots[0] if len(spots) == 1 else None
        near = [spot for spot in spots if spot[0] == expected[0]]
        return min(near, key=lambda spot: abs(spot[1] - expected[1]), default=None)


def place(original: Original, shipped: Shipped) -> Placing:
    """Find the place of every section of `original` that can be found."""
    placing = Placing(original, shipped)
    names: dict[int, Counter[Spot]] = {}
    for extent in original.extents:
        for section, base, weight in _by_name(placing, extent):
            names.setdefault(section, Counter())[base] += weight
    votes = {section: Counter(counter) for section, counter in names.items()}
    for section, counter in names.items():
        _decide(placing, section, counter)
    open_ = {section for section in original.placed_sections if _doubtful(names.get(section, Counter()))}
    told: set[tuple[int, Spot]] = set()
    for _ in range(_ROUNDS):
        before = dict(placing.bases)
        for section, base in _by_reference(placing, told):
            votes.setdefault(section, Counter())[base] += _REFERENCE
        for section in open_ & votes.keys():
            _decide(placing, section, votes[section])
        if placing.bases == before:
            break
    return placing


def _doubtful(counter: Counter[Spot]) -> bool:
    """Whether names leave open where a section lies."""
    best = [count for _, count in counter.most_common(2)]
    return not best or best[0] < _SURE or best[0] in best[1:]


def _decide(placing: Placing, section: int, counter: Counter[Spot]) -> None:
    """Place a section where the evidence is clear: a tie places nothing."""
    best = counter.most_common(2)
    if len(best) == 1 or best[0][1] > best[1][1]:
        placing.bases[section] = best[0][0]
    else:
        placing.bases.pop(section, None)


def _by_name(placing: Placing, extent: Extent) -> Iterator[tuple[int, Spot, int]]:
    named = placing.shipped.named(extent.name)
    for (section, offset), symbol in named:
        if extent.is_function and not symbol.function:
            continue
        body = placing.body(extent, (section, offset))
        equal = body is not None and body.difference is None
        unique = len(named) == 1 and (equal or not extent.is_function)
        yield extent.section, (section, offset - extent.offset), _SURE if unique else _EQUAL if equal else _NAME


def _by_reference(placing: Placing, told: set[tuple[int, Spot]]) -> Iterator[tuple[int, Spot]]:
    """The bases of sections that the fields of equal functions, and of placed data, refer to; each field once."""
    original = placing.original
    for extent in original.functions:
        spot = placing.place_of(extent)
        if spot is None or (extent.row, spot) in told:
            continue
        body = placing.body(extent, spot)
        if body is not None and body.difference is None:
            told.add((extent.row, spot))
            yield from _told(placing, spot, body.live)
    for section in original.placed_sections - set(original.elf.sections.executable):
        base = placing.bases.get(section)
        if base is not None and (-section, base) not in told:
            told.add((-section, base))
            yield from _told(placing, base, [Live(each, each.offset) for each in original.fields(section)])


def _told(placing: Placing, start: Spot, fields: Sequence[Live]) -> Iterator[tuple[int, Spot]]:
    table = placing.original.elf.symbols
    for each in fields:
        section = int(table.section[each.field.symbol])
        if section not in placing.original.placed_sections:
            continue
        meant = meant_by(placing.shipped, each, start)
        if meant is None or meant[0].startswith("?"):
            continue
        base = meant[0], meant[1] - int(table.value[each.field.symbol])
        if placing.plausible(section, base):
            yield section, base


def meant_by(shipped: Shipped, live: Live, start: Spot) -> Spot | None:
    """The spot of the symbol that a field means in shipped code or data that begins at `start`."""
    if live.meant is not None:
        return live.meant
    field = live.field
    return shipped.meant((start[0], start[1] + live.at), field.kind, field.fact, field.addend)
