"""Whether the code that a live patch brings depends on a structure that the patch lays out anew: measured.

`klpkit.livepatch.layouts` makes the texts; here they are compiled and the objects compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
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

_NAMED = ("-Werror=designated-init",)
_HINT = (
    "keep the structure as it is and put new members into a shadow variable (klp_shadow_alloc); where every "
    "object of it is made and gone within patched code, --allow-layout-change goes on"
)


def settle_layouts(
    overlay: Overlay, pairs: Sequence[Pair], *, allow: bool, jobs: int | None = None
) -> tuple[list[Pair], list[Warned]]:
    """The pairs to make a live patch of: those whose code depends on a changed structure keep the old one.

    That is right where the patch only adds members and the unit does without them, as its compiling shows: what it
    reads are objects with the old layout.  A pair that is the same then drops out.  All else is refused
    (`structure-layout`), or with `allow` kept as it is and warned of.  Costs nothing where the patch changes no
    structure, else a compilation or two of each unit.
    """
    sources = [Source(file.path, file.original or "", file.patched or "") for file in overlay.patch.files]
    types = changed_types(sources)
    if not types:
        return list(pairs), []
    measure = _Measure(overlay, sources, types)
    settled, warned = [], []
    depending = programs.parallel(measure.depending, pairs, jobs=jobs)
    for pair, functions in zip(pairs, depending, strict=True):
        if not functions:
            settled.append(pair)
            continue
        kept = None if allow else measure.without_additions(pair)
        if kept is not None:
            if _changes(pair.original, kept):
                settled.append(replace(pair, patched=kept))
            evidence = f"{functions[0]} and the patch's other code take it as the running kernel has it"
            warned.append(Warned("structure-kept", _names(measure.growing), evidence))
            continue
        names = _names(measure.blamed(pair))
        evidence = f"{functions[0]} depends on how it is laid out, and objects that running code made have the old"
        if not allow:
            raise RefusedError("structure-layout", f"{names} changes: {evidence} layout", hint=_HINT)
        settled.append(pair)
        warned.append(Warned("structure-layout", names, f"{evidence} layout"))
    return settled, warned


def _names(types: Sequence[ChangedType]) -> str:
    return ", ".join(sorted({each.name for each in types}))


class _Measure:
    """Compiles variants of units, each once."""

    def __init__(self, overlay: Overlay, sources: Sequence[Source], types: Sequence[ChangedType]) -> None:
        self._overlay = overlay
        self._sources = sources
        self._types = types
        self.growing = [each for each in types if each.only_adds]
        self._made: dict[tuple[Path, str], Path | None] = {}

    def depending(self, pair: Pair, types: Sequence[ChangedType] = ()) -> list[str]:
        """The replaced and new functions and the new data of `pair` that `types`, or all, are something to."""
        types = types or self._types
        brought = _differing(pair.original, pair.patched)
        other = self._old(pair, types)
        if other is None:
            moved = shifted(self._sources, types)
            other = self._variant(pair, "shifted", types, moved) if moved is not None else None
        if other is None:
            return sorted(brought)  # it can't be measured
        return sorted(brought & _differing(other, pair.patched))

    def blamed(self, pair: Pair) -> Sequence[ChangedType]:
        """Those of the types that by themselves are something to the code of `pair`; all where none is."""
        if len(self._types) == 1:
            return self._types
        return [each for each in self._types if self.depending(pair, [each])] or self._types

    def without_additions(self, pair: Pair) -> Path | None:
        """The patched object whose structures lack new members; None where that could be another meaning.

        The other types that change must be nothing to it.  An initialiser by position would give its values to
        other members; only GCC can tell of those.
        """
        if not self.growing or pair.unit.kind != "gcc":
            return None
        texts = reverted(self._sources, self.growing, marked=True)
        kept = self._variant(pair, "kept", self.growing, texts, _NAMED) if texts is not None else None
        everything = self._old(pair, self._types)
        if kept is None or everything is None:
            return None
        return None if _differing(pair.original, kept) & _differing(everything, kept) else kept

    def _old(self, pair: Pair, types: Sequence[ChangedType]) -> Path | None:
        old = reverted(self._sources, types)
        return self._variant(pair, "old", types, old) if old is not None else None

    def _variant(
        self,
        pair: Pair,
        sort: str,
        types: Sequence[ChangedType],
        texts: Mapping[str, str],
        extra: Sequence[str] = (),
    ) -> Path | None:
        names = " ".join(sorted(f"{each.path}:{each.name}" for each in types))
        name = f"{sort}-{sha256(names.encode()).hexdigest()[:16]}"
        key = pair.unit.object, name
        if key not in self._made:
            self._made[key] = self._overlay.variant(pair.unit, name, texts, extra)
        return self._made[key]


def _changes(original: Path, patched: Path) -> bool:
    """Whether anything differs, an obstacle without a changed function included: a live patch has to answer it."""
    from klpkit.diff import Verdict, diff_files

    return diff_files(original, patched).verdict is not Verdict.NO_CHANGE


def _differing(original: Path, patched: Path) -> set[str]:
    """The names that functions which differ or are new, and new data, have on the patched side."""
    from klpkit.diff import Status, diff_files

    diff = diff_files(original, patched)
    functions = {f.patched_name or f.name for f in diff.functions if f.status is not Status.MOVED}
    return functions | {data.name for data in diff.data}
