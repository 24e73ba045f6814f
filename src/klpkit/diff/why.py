"""Why a function changed, in words: which callee, string or constant, which special section."""

from __future__ import annotations

from collections import Counter

from klpkit.diff.compare import Comparison, differing_extents
from klpkit.diff.graph import Graph
from klpkit.diff.model import Cause, Reason
from klpkit.diff.names import declared
from klpkit.elf.special import Role

SHOWN = 4
"""How many names a reason spells out."""


def reasons(result: Comparison, row: int) -> tuple[Reason, ...]:
    """The reasons why the function in `row` of the original counts as changed, strongest first."""
    both = result.both
    partner = int(result.found.partner[row]) - both.split
    found: list[Reason] = []
    causes = {cause for cause, _ in result.causes[row]}
    if Cause.CODE in causes:
        sizes = both.original.size_of(row), both.patched.size_of(partner)
        grown = sizes[1] - sizes[0]
        if grown:
            found.append(Reason(Cause.SIZE, f"{sizes[0]} bytes of code became {sizes[1]}"))
        else:
            found.append(Reason(Cause.CODE, "instructions differ"))
    if Cause.SIZE in causes:
        names = differing_extents(result).get(row, [])
        found.append(Reason(Cause.SIZE, f"the symbol {', '.join(names)} spans another number of bytes"))
    if Cause.REFERENCE in causes:
        found += _reference_reasons(result, row, partner)
    for cause, origin in sorted(result.causes[row], key=lambda item: both.name_of(item[1])):
        if cause is Cause.CONSTANT:
            found.append(Reason(cause, f"uses {label(both.side(origin)[0], both.side(origin)[1])}, which differs"))
        elif cause is Cause.PART:
            found.append(Reason(cause, f"its part {both.name_of(origin) or 'before its entry'} differs"))
    if Cause.SITE in causes and len(causes) == 1:
        found.append(Reason(Cause.SITE, f"entries differ in {', '.join(_site_sections(result, row))}"))
    return tuple(found)


def _reference_reasons(result: Comparison, row: int, partner: int) -> list[Reason]:
    """What the function refers to on one side only, by kind."""
    both = result.both
    left = _uses(result, both.original, row, 0)
    right = _uses(result, both.patched, partner, both.split)
    labels_gone = sorted({label(both.original, left[color]) for color in left.keys() - right.keys()} - {""})
    labels_new = sorted({label(both.patched, right[color]) for color in right.keys() - left.keys()} - {""})
    clones = [
        (before, after)
        for before in labels_gone
        for after in labels_new
        if before != after and (declared(before) or before) == (declared(after) or after)
    ]
    found = [Reason(Cause.CLONE, f"{before} became {after}") for before, after in clones[:SHOWN]]
    before, after = _brief(labels_gone), _brief(labels_new)
    if before and after:
        found.append(Reason(Cause.REFERENCE, f"refers to {after} instead of {before}"))
    elif before or after:
        found.append(Reason(Cause.REFERENCE, f"refers to {after}" if after else f"no longer refers to {before}"))
    elif row not in result.bytes_differ:
        found.append(Reason(Cause.REFERENCE, "the same references in another order or at other offsets"))
    return found


def _uses(result: Comparison, graph: Graph, entity: int, shift: int) -> dict[int, int]:
    """What an entity refers to: its identity on both sides → a row that shows it."""
    targets = graph.references.target[graph.references_of(entity)].tolist()
    return {int(result.color[target + shift]): target for target in targets}


def _brief(labels: list[str]) -> str:
    more = len(labels) - SHOWN
    return ", ".join(labels[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def label(graph: Graph, entity: int) -> str:
    """A name for people: the symbol, the string itself, or the section."""
    if graph.entities.role[entity] == Role.STRINGS and entity < graph.entities.defined:
        text = graph.bytes_of(entity).rstrip(b"\0").decode("utf-8", "replace")
        short = text if len(text) <= 40 else text[:37] + "..."
        return repr(short)
    name = graph.names[entity]
    if name:
        return name
    return f"a constant in {graph.section_name(entity)}" if entity < graph.entities.defined else ""


def _site_sections(result: Comparison, row: int) -> list[str]:
    """The special sections with entries for the function whose contents or number differ; all of them if none."""
    both = result.both
    counts: list[Counter[tuple[str, int]]] = []
    for graph, shift, own in ((both.original, 0, row), (both.patched, both.split, int(result.found.partner[row]))):
        rows = (result.site_owner[shift : shift + graph.entities.defined] == own).nonzero()[0].tolist()
        counts.append(Counter((graph.section_name(entity), int(both.content[entity + shift])) for entity in rows))
    differing = (counts[0] - counts[1]) + (counts[1] - counts[0])
    return sorted({name for name, _ in differing} or {name for name, _ in counts[0] + counts[1]})
