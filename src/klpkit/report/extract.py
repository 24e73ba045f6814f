"""What was extracted, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from klpkit.extract.checking import Checked
    from klpkit.extract.making import UnitDraft
    from klpkit.extract.package import Wanted
    from klpkit.extract.request import Extraction

__all__ = ["extract_json", "extract_text"]


def extract_json(found: Extraction, written: Sequence[Path]) -> str:
    """Everything as one JSON object."""
    units = [_unit(draft, wanted, each) for (draft, wanted), each in zip(found.drafts, found.checked, strict=True)]
    files = [str(path) for path in written]
    return json.dumps({"units": units, "files": files, "warnings": list(found.warnings)}, indent=2)


def _unit(draft: UnitDraft, wanted: Sequence[Wanted], checked: Sequence[Checked]) -> dict[str, object]:
    return {
        "source": str(draft.unit.source),
        "object": draft.home,
        "functions": [
            {
                "name": each.name,
                "copy": draft.functions.get(each.name, ""),
                "why": each.why,
                "replaced": each.replaced,
                "sympos": each.sympos,
            }
            for each in wanted
        ],
        "copied": list(draft.copied),
        "references": [
            {"name": each.name, "origin": str(each.origin), "object": each.object, "symbol": each.symbol}
            for each in draft.references
        ],
        "starts_anew": list(draft.anew),
        "all_includes": draft.all_includes,
        "code": [
            {
                "function": each.function,
                "as_in_kernel": str(each.sameness),
                "offset": each.offset,
                "difference": each.difference,
                "bodies_known": list(each.known),
                "copies_called": list(each.copies),
            }
            for each in checked
        ],
    }


def extract_text(found: Extraction, written: Sequence[Path]) -> str:
    """A summary for a person."""
    return "\n".join([*_summary(found), *(f"wrote {path}" for path in written)])


def _summary(found: Extraction) -> Iterator[str]:
    for (draft, wanted), checked in zip(found.drafts, found.checked, strict=True):
        sentences = {each.function: each.sentence for each in checked}
        yield f"{draft.unit.source.name} ({draft.home})"
        for each in wanted:
            how = "replaced" if each.replaced else "edited, its users carry it"
            yield f"  {each.name}: {each.why} ({how})"
            yield f"    {sentences.get(each.name, '')}"
        if draft.copied:
            yield f"  copied along: {', '.join(draft.copied)}"
        annotated = [each.symbol for each in draft.references if each.symbol]
        if annotated:
            yield f"  to be converted: {', '.join(annotated)}"
