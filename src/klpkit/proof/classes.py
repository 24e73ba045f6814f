"""Functions whose virtual calls take for granted of which classes anything in the unit makes objects.

For classes that no other unit can name, GCC knows which are made at all (gcc/ipa-devirt.cc) and calls the only
target directly.  Any function of the unit could make another, so no single body is hidden for that: the unit is
compiled without the pass instead, and whose code differs relied on it, or on a class that it knows otherwise.
"""

from __future__ import annotations

from klpkit.proof.changes import changes
from klpkit.proof.unit import ProofUnit

_WITHOUT = ("-fno-devirtualize", "-fno-devirtualize-speculatively")
_TABLES = ("_ZTV", "_ZTI", "_ZTS")
HOW = "its virtual calls take for granted of which local classes anything here makes objects"


def relying_on_classes(unit: ProofUnit) -> tuple[str, ...]:
    """The symbols of those functions; none where every class is known to other units too."""
    if unit.unit.language != "c++" or unit.unit.kind != "gcc" or not _has_local_classes(unit):
        return ()
    return tuple(sorted(changes(unit.baseline.object, unit.plain(_WITHOUT).object).by_symbol))


def _has_local_classes(unit: ProofUnit) -> bool:
    symbols = unit.baseline.elf.symbols
    return any(
        name.startswith(_TABLES) and not bind for name, bind in zip(symbols.names, symbols.bind, strict=True)
    )
