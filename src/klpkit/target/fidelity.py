"""Is the shipped kernel what this source, configuration and compiler make?  Function by function, byte by byte.

Each translation unit is compiled again with the command of the build tree and held against the shipped code:
bytes, and what every relocated field refers to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from klpkit.target.bodies import Body, Difference
from klpkit.target.model import TargetSymbol
from klpkit.target.original import Extent, Original
from klpkit.target.placing import Placing, place
from klpkit.target.references import wrong_reference
from klpkit.target.shipped import Shipped, Spot


class Verdict(StrEnum):
    """What became of one function."""

    EQUAL = "equal"
    DIFFERS = "differs"
    OVERRIDDEN = "overridden"
    """A `__weak` definition: the image has the other one."""
    DISCARDED = "discarded"
    """Its section is thrown away at the link."""
    ABSENT = "absent"
    """The image has no function of this name, or several and nothing tells which."""


GOOD = frozenset((Verdict.EQUAL, Verdict.OVERRIDDEN, Verdict.DISCARDED))


@dataclass(frozen=True, slots=True)
class FunctionFidelity:
    """One function, or one object of data.

    `symbol` is the shipped one, `original` and `shipped` are its bytes on both sides.
    `symbol` is None for an equal function too where several of its name are equal in all that is compared.
    """

    name: str
    section: str
    offset: int
    size: int
    verdict: Verdict
    symbol: TargetSymbol | None = None
    difference: Difference | None = None
    original: bytes = b""
    shipped: bytes = b""


@dataclass(frozen=True)
class Fidelity:
    """The answer for one translation unit: its functions in the order of their code."""

    source: str
    object: str
    functions: tuple[FunctionFidelity, ...]
    placing: Placing
    data: tuple[FunctionFidelity, ...] = ()
    """The named data that stays after boot, with its contents as the file has them."""

    @property
    def faithful(self) -> bool:
        """Whether no function differs or is missing without a reason, and no data differs."""
        return self.first is None

    @property
    def first(self) -> FunctionFidelity | None:
        """The first function that differs or is missing, else the first data that differs."""
        bad = (function for function in self.functions if function.verdict not in GOOD)
        return next(bad, None) or next((each for each in self.data if each.verdict is Verdict.DIFFERS), None)

    def counts(self) -> Mapping[Verdict, int]:
        """How many functions came out how."""
        return {verdict: sum(f.verdict is verdict for f in self.functions) for verdict in Verdict}

    def shipped_symbol(self, section: str, name: str, offset: int) -> TargetSymbol | None:
        """The shipped symbol that the original's `name` at `offset` of `section` is; None where it is not known.

        Works for functions and data, also where many objects have symbols of this name: the place decides.
        """
        for index in self.placing.original.elf.sections.find(section):
            spot = self.placing.spot_of(index, offset)
            for there, symbol in self.placing.shipped.named(name):
                if there == spot:
                    return symbol
        return None


def fidelity_of(original: Original, shipped: Shipped, *, source: str, owner: str) -> Fidelity:
    """Every function of `original` held against `shipped`."""
    placing = place(original, shipped)

    def judged(extents: tuple[Extent, ...]) -> tuple[FunctionFidelity, ...]:
        order = sorted(extents, key=lambda extent: (extent.section, extent.offset, extent.row))
        return tuple(_judged(placing, extent) for extent in order)

    return Fidelity(source, owner, judged(original.functions), placing, judged(original.objects))


def _judged(placing: Placing, extent: Extent) -> FunctionFidelity:
    here = placing.original.bytes_of(extent.section, extent.offset, extent.size)
    section = placing.original.elf.sections.names[extent.section]
    common = (extent.name, section, extent.offset, extent.size)
    spot = placing.place_of(extent)
    if extent.weak and _overridden(placing, extent, spot):
        return FunctionFidelity(*common, Verdict.OVERRIDDEN, original=here)
    if spot is None and (twins := _twins(placing, extent)):
        symbol = twins[0] if len(twins) == 1 else None
        return FunctionFidelity(*common, Verdict.EQUAL, symbol, original=here)
    if spot is None:
        verdict = Verdict.DISCARDED if section.startswith(DISCARDED) else Verdict.ABSENT
        return FunctionFidelity(
            *common, verdict, difference=Difference(0, _absence(placing, extent)), original=here
        )
    body = placing.body(extent, spot)
    if body is None:
        why = Difference(0, "the file has no bytes there")
        return FunctionFidelity(*common, Verdict.ABSENT, difference=why, original=here)
    difference = body.difference or next(_wrong_references(placing, extent, spot, body), None)
    symbol = next(symbol for there, symbol in placing.shipped.named(extent.name) if there == spot)
    verdict = Verdict.DIFFERS if difference else Verdict.EQUAL
    return FunctionFidelity(*common, verdict, symbol, difference, here, body.shipped)


DISCARDED = (".discard", ".exit.text", ".exitcall")


def _overridden(placing: Placing, extent: Extent, spot: Spot | None) -> bool:
    """Whether the image has another definition in the place of a weak one.

    It has its name, but not with its section, or (where the section is its own) no longer as a weak symbol.
    """
    expected = placing.spot_of(extent.section, extent.offset)
    if expected is not None and spot is not None and spot != expected:
        return True
    same = [symbol for there, symbol in placing.shipped.named(extent.name) if there == spot]
    return bool(same) and all(symbol.kind not in "wWvV" for symbol in same)


def _twins(placing: Placing, extent: Extent) -> list[TargetSymbol]:
    """The shipped functions or data of this name that are equal in all, where nothing else tells which it is."""
    found = []
    for spot, symbol in placing.shipped.named(extent.name):
        body = placing.body(extent, spot) if symbol.function or not extent.is_function else None
        if body is None or body.difference is not None:
            continue
        if not any(_wrong_references(placing, extent, spot, body)):
            found.append(symbol)
    return found


def _absence(placing: Placing, extent: Extent) -> str:
    count = len(placing.shipped.named(extent.name))
    if not count:
        return "the image has nothing of this name"
    return f"the image has {count} symbols of this name, and nothing tells which it is"


def _wrong_references(placing: Placing, extent: Extent, spot: Spot, body: Body) -> Iterator[Difference]:
    for live in body.live:
        why = wrong_reference(placing, live, spot)
        if why is not None:
            yield Difference(live.field.offset - extent.offset, why)
