"""Whether a relocated field in shipped code leads to what the recompiled original names there."""

from __future__ import annotations

from klpkit.elf import constants as c
from klpkit.target.bodies import Live
from klpkit.target.original import Field
from klpkit.target.placing import Placing, meant_by
from klpkit.target.shipped import Spot


def wrong_reference(placing: Placing, live: Live, start: Spot) -> str | None:
    """What is wrong with a field of the function shipped at `start`, in words; None where nothing is."""
    field = live.field
    if not field.fact.size:
        return None
    meant = meant_by(placing.shipped, live, start)
    name = _label(placing, field)
    if meant is None:
        return f"refers to {name} in the original and to nothing in the shipped code"
    table = placing.original.elf.symbols
    section = int(table.section[field.symbol])
    if section > 0 and placing.original.merged(section):
        right = _same_constant(placing, field, section, meant)
    elif section > 0:
        right = _defined(placing, field, section, meant)
    else:
        right = _elsewhere(placing, field, section, meant)
    return (
        None if right else f"refers to {name} in the original and to {_there(placing, field, meant)} in the image"
    )


def _label(placing: Placing, field: Field) -> str:
    table = placing.original.elf.symbols
    name = table.names[field.symbol]
    if name:
        return name
    section = int(table.section[field.symbol])
    inside = placing.original.elf.sections.names[section] if section > 0 else "an absolute value"
    return f"{inside}{field.addend + field.fact.bias:+#x}"


def _there(placing: Placing, field: Field, meant: Spot) -> str:
    """What the shipped field leads to: for a section, with the distance that the field adds to it."""
    table = placing.original.elf.symbols
    inside = 0 if table.names[field.symbol] else field.addend + field.fact.bias
    return placing.shipped.describe((meant[0], meant[1] + inside))


def _same_constant(placing: Placing, field: Field, section: int, meant: Spot) -> bool:
    """Merged strings and constants lie anywhere: their content must be the same."""
    original = placing.original
    inside = field.addend + field.fact.bias
    offset = int(original.elf.symbols.value[field.symbol]) + inside
    spot = (meant[0], meant[1] + inside)
    if original.strings(section):
        content = original.bytes_of(section, offset, int(original.elf.sections.size[section]) - offset)
        return placing.shipped.text(spot) == content.partition(b"\0")[0]
    size = int(original.elf.sections.entry_size[section])
    return placing.shipped.read(spot, size) == original.bytes_of(section, offset, size)


def _defined(placing: Placing, field: Field, section: int, meant: Spot) -> bool:
    """A symbol of the object itself lies with its section, or, where another definition won, where its name is."""
    table = placing.original.elf.symbols
    expected = placing.spot_of(section, int(table.value[field.symbol]))
    if expected == meant:
        return _anonymous_content(placing, section)
    name = table.names[field.symbol]
    named = placing.shipped.named(name) if name else []
    # Where neighbours have moved, a local symbol is known by its name only if no other object has one like it.
    known = int(table.bind[field.symbol]) != c.STB_LOCAL or len(named) == 1
    return known and any(spot == meant for spot, _ in named)


def _anonymous_content(placing: Placing, section: int) -> bool:
    """Where nothing in a section has a name, references alone tell its place: its content must agree."""
    whole, base = placing.original.whole(section), placing.bases.get(section)
    if whole is None or base is None:
        return True
    body = placing.body(whole, base)
    return body is not None and body.difference is None


def _elsewhere(placing: Placing, field: Field, section: int, meant: Spot) -> bool:
    table = placing.original.elf.symbols
    name = table.names[field.symbol]
    if section == c.SECTION_ABS:
        return meant[1] == int(table.value[field.symbol])
    if meant == (f"?{name}", 0):
        return True
    if int(table.bind[field.symbol]) == c.STB_WEAK and meant[1] == 0:
        return True
    named = placing.shipped.named(name)
    if not named and not placing.shipped.lists_data:
        # Nothing tells where it is, but it is in one place and nothing else is there.
        mine = placing.seen.setdefault(field.symbol, meant)
        return mine == meant and list(placing.seen.values()).count(meant) == 1
    return any(spot == meant for spot, _ in named)
