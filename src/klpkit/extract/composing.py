"""A unit's draft as text: what its functions need of the source, and with which includes it can be written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from klpkit.extract.chunks import Source
from klpkit.extract.closure import Plan, Running, plan
from klpkit.extract.draft import Draft, StaticSymbols, write_draft
from klpkit.extract.includes import missed, needed_includes
from klpkit.extract.items import Item
from klpkit.extract.preprocessed import Include, Preprocessed
from klpkit.extract.unitsource import UnitSource


class Original(Running, StaticSymbols, Protocol):
    """What a draft's text depends on besides the source: which symbols the kernel has of the unit."""


@dataclass(frozen=True, slots=True)
class Composition:
    """What a draft takes; `few` are the includes that it seems to need, `every` those of its source."""

    plan: Plan
    few: list[Include]
    _found: Preprocessed
    _source: Source
    _original: Original
    _keys_as_data: bool

    @property
    def every(self) -> list[Include]:
        return self._found.includes

    def more(self, includes: Sequence[Include], said: str) -> list[Include]:
        """`includes`, and those that bring what the compiler's errors in `said` miss."""
        names, tags = missed(said)
        missing = needed_includes(self._found, names, tags, ())
        return [each for each in self.every if each in includes or each in missing]

    def draft(self, includes: Sequence[Include]) -> Draft:
        """The draft with these includes; raises what `write_draft` does."""
        return write_draft(self._source, self.plan, includes, self._original, keys_as_data=self._keys_as_data)


def compose(
    unit: UnitSource, functions: Sequence[str], original: Original, *, keys_as_data: bool = False
) -> Composition:
    """What a draft of `functions` takes of `unit`; raises what `plan` does."""
    source, found = unit.source.copy(), unit.found
    closed = plan(source, functions, original)
    few = needed_includes(found, closed.names, _tags(closed), list(_items(closed)))
    return Composition(closed, few, found, source, original, keys_as_data)


def _items(closed: Plan) -> Iterator[Item]:
    for kept in closed.kept.values():
        yield from kept.chunk.items


def _tags(closed: Plan) -> set[str]:
    return set().union(*(item.tags for item in _items(closed)))
