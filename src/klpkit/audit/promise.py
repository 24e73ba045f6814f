"""Whether a unit honours a level: what its flags allow, and what its clone dump shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from klpkit.audit.model import Breach
from klpkit.audit.object import DefinedFunction
from klpkit.compilers.driver.attributes import Attributes
from klpkit.compilers.driver.promise import check
from klpkit.compilers.flagstate import FlagState, passes_on
from klpkit.compilers.levels import Level, unhonoured_parts
from klpkit.records.clonelines import read_dump

# What the replay is asked to write for `record_breaches`.
DUMP_FLAGS = ("-fdump-ipa-clones", "-fdump-tree-cfg", "-fdump-ipa-cgraph")


def flag_breaches(state: FlagState, level: Level, *, marked: bool = False) -> tuple[Breach, ...]:
    """The passes that are on and that `level` forbids, and what the compiler has no switch for.

    `marked` says that the unit was compiled through the driver, which keeps public functions from being inlined
    by an attribute where no flag does.
    """
    if not state.optimised:
        return ()
    found = [
        Breach("pass-allowed", row.slug, f"{row.says}; {row.remedy} turns it off")
        for row in passes_on(state)
        if not row.allowed_at(level) and not (marked and row.slug == "inline-public")
    ]
    parts = unhonoured_parts(state.kind, level)
    return (*found, *(Breach("unhonoured-part", part, f"Clang has no flag for {part}") for part in parts))


def record_breaches(
    level: Level, dumps: Sequence[Path], functions: tuple[DefinedFunction, ...]
) -> tuple[Breach, ...]:
    """The records of the clone dump among `dumps` that `level` forbids.

    Functions that the language or the compiler inlines at any level (`always_inline`, extern `gnu_inline`) are
    excused, as in the driver.
    """
    texts = {name: _dump(dumps, name) for name in (".cfg", ".cgraph")}

    def ask() -> tuple[str, str]:
        return texts[".cfg"], texts[".cgraph"]

    linkage = {row.symbol: not row.local for row in functions}
    found: list[Breach] = []
    for path in dumps:
        if path.name.endswith(".ipa-clones"):
            broken, _ = check(level, read_dump(str(path)), linkage.get, Attributes(ask))
            for body, user, cause in broken:
                says = f"{cause}: the code of {user[0]} was made from {body[0]}"
                found.append(Breach("forbidden-record", body[0], says, body[1], body[2]))
    return tuple(found)


def _dump(dumps: Sequence[Path], suffix: str) -> str:
    return "".join(path.read_text(errors="replace") for path in dumps if path.name.endswith(suffix))
