"""Where each section of a recompiled original lies in the shipped kernel, so that repeated names can't mislead.

A linker moves an object's section as a whole: one symbol or one reference that is sure places all of it.  Sure is
what most evidence agrees on, in this order:

1. names: where the functions and data of a section are, functions whose shipped bytes are equal counting;
2. references: relocated fields in equal functions, and in data of placed sections, tell where what they name is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from klpkit.target.bodies import Body, Live, compare_body
from klpkit.target.original import Extent, Original
from klpkit.target.shipped import Shipped, Spot

# Evidence that a place is right: a name with equal bytes, a reference out of equal code, a mere name.
_EQUAL, _REFERENCE, _NAME = 1000, 1000, 1
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
    votes: dict[int, Counter[Spot]] = {}
    for extent in original.extents:
        for section, base, weight in _by_name(placing, extent):
            votes.setdefault(section, Counter())[base] += weight
    _decide(placing, votes)
    told: set[tuple[int, Spot]] = set()
    for _ in range(_ROUNDS):
        before = dict(placing.bases)
        for section, base in _by_reference(placing, told):
            votes.setdefault(section, Counter())[base] += _REFERENCE
        _decide(placing, votes)
        if placing.bases == before:
            break
    return placing


def _decide(placing: Placing, votes: dict[int, Counter[Spot]]) -> None:
    """Place what the evidence is clear about: a tie places nothing."""
    for section, counter in votes.items():
        best = counter.most_common(2)
        if len(best) == 1 or best[0][1] > best[1][1]:
            placing.bases[section] = best[0][0]
        else:
            placing.bases.pop(section, None)


def _by_name(placing: Placing, extent: Extent) -> Iterator[tuple[int, Spot, int]]:
    code = extent.section in placing.original.elf.sections.executable
    for (section, offset), symbol in placing.shipped.named(extent.name):
        if code and extent.is_function:
            if not symbol.function:
                continue
            body = placing.body(extent, (section, offset))
            weight = _EQUAL if body is not None and body.difference is None else _NAME
        else:
            weight = _NAME
        yield extent.section, (section, offset - extent.offset), weight


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
        if meant is not None and not meant[0].startswith("?"):
            yield section, (meant[0], meant[1] - int(table.value[each.field.symbol]))


def meant_by(shipped: Shipped, live: Live, start: Spot) -> Spot | None:
    """The spot of the symbol that a field means in shipped code or data that begins at `start`."""
    if live.meant is not None:
        return live.meant
    field = live.field
    return shipped.meant((start[0], start[1] + live.at), field.kind, field.fact, field.addend)
