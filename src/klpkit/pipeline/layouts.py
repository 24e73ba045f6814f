"""Whether the code that a live patch brings depends on a structure that the patch lays out anew: measured.

`klpkit.livepatch.layouts` makes the texts; here they are compiled and the objects compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from klpkit import programs
from klpkit.errors import RefusedError
from klpkit.livepatch.interfaces import Source
from klpkit.livepatch.layouts import ChangedType, changed_types, reverted, shifted
from klpkit.livepatch.model import Warned

if TYPE_CHECKING:
    from klpkit.build import Pair
    from klpkit.build.overlay import Overlay

_HINT = (
    "keep the structure as it is and put new members into a shadow variable (klp_shadow_alloc); where every "
    "object of it is made and gone within patched code, --allow-layout-change goes on"
)


def check_layouts(
    overlay: Overlay, pairs: Sequence[Pair], *, allow: bool, jobs: int | None = None
) -> list[Warned]:
    """Refuse (`structure-layout`) where replaced or new code depends on a structure that changes.

    With `allow` that is a warning.  Costs nothing where the patch changes no structure, else a compilation or
    two of each unit.
    """
    sources = [Source(file.path, file.original or "", file.patched or "") for file in overlay.patch.files]
    types = changed_types(sources)
    if not types:
        return []
    measure = _Measure(overlay, sources)
    warned = []
    depending = programs.parallel(lambda pair: measure.depending(pair, types), pairs, jobs=jobs)
    for pair, functions in zip(pairs, depending, strict=True):
        for function in functions[:1]:
            blamed = [each for each in types if len(types) == 1 or measure.depending(pair, [each])] or types
            names = ", ".join(sorted({each.name for each in blamed}))
            evidence = f"{function} depends on how it is laid out, and objects that running code made have the old"
            if not allow:
                raise RefusedError("structure-layout", f"{names} changes: {evidence} layout", hint=_HINT)
            warned.append(Warned("structure-layout", names, f"{evidence} layout"))
    return warned


class _Measure:
    """Compiles variants of units; each set of types is laid over the source once."""

    def __init__(self, overlay: Overlay, sources: Sequence[Source]) -> None:
        self._overlay = overlay
        self._sources = sources

    def depending(self, pair: Pair, types: Sequence[ChangedType]) -> list[str]:
        """The replaced and new functions and the new data of `pair` that `types` are something to."""
        brought = _differing(pair.original, pair.patched)
        key = "-".join(sorted({each.name for each in types}))[:100]
        old = reverted(self._sources, types)
        other = self._overlay.variant(pair.unit, f"old-{key}", old) if old is not None else None
        if other is None:
            moved = shifted(self._sources, types)
            other = self._overlay.variant(pair.unit, f"shifted-{key}", moved) if moved is not None else None
        if other is None:
            return sorted(brought)  # it can't be measured
        return sorted(brought & _differing(other, pair.patched))


def _differing(original: Path, patched: Path) -> set[str]:
    """The names that functions which differ or are new, and new data, have on the patched side."""
    from klpkit.diff import Status, diff_files

    diff = diff_files(original, patched)
    functions = {f.patched_name or f.name for f in diff.functions if f.status is not Status.MOVED}
    return functions | {data.name for data in diff.data}
