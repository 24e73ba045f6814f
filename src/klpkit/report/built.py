"""A finished live patch as text and as JSON, version 1: `docs/reference/build.md` describes the fields."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from klpkit.livepatch import PatchedFunction
    from klpkit.pipeline import Built
    from klpkit.report.terminal import Sheet

SCHEMA = "klpkit.build/1"


def write_built(built: Built, sheet: Sheet) -> None:
    """What the module replaces and why, what came along, what to think about."""
    made = built.livepatch
    count = sum(len(patched.functions) for patched in made.objects)
    head = f"{made.path.name}: {count} function{'s' * (count != 1)} of {built.release}, {made.size:,} bytes"
    sheet.write(sheet.paint(head, "good") + "\n")
    for patched in made.objects:
        sheet.write(f"{sheet.paint(patched.name, 'strong')}\n")
        for function in patched.functions:
            _write_function(function, sheet)
        for member, function_name in patched.callbacks:
            sheet.write(f"  {member}: {function_name}\n")
    for name, sort, size in made.new:
        sheet.write(f"{sheet.paint('new', 'accent')} {sort} {name}, {size} bytes\n")
    for warning in built.warnings:
        sheet.write(f"{sheet.paint('warning', 'warn')} {warning.symbol}: {warning.evidence} [{warning.slug}]\n")
    for note in built.notes:
        sheet.write(f"note: {note}\n")
    equal = len(built.compiled.equal)
    if equal:
        sheet.write(f"{equal} unit{'s' * (equal != 1)} with the same code left out\n")


def _write_function(function: PatchedFunction, sheet: Sheet) -> None:
    arrow = "→" if sheet.unicode else "->"
    place = f" (number {function.sympos} of this name)" if function.sympos else ""
    old, new = function.sizes
    sheet.write(f"  {function.name}{place}, {old} {arrow} {new} bytes\n")
    for why in function.why:
        sheet.write(f"      {why}\n")


def write_built_json(built: Built, stream: TextIO) -> None:
    """The same as one JSON document."""
    made = built.livepatch
    document = {
        "schema": SCHEMA,
        "module": str(made.path),
        "name": made.name,
        "size": made.size,
        "release": built.release,
        "objects": [
            {
                "name": patched.name,
                "functions": [
                    {
                        "name": function.name,
                        "sympos": function.sympos,
                        "symbol": function.symbol,
                        "sizes": list(function.sizes),
                        "why": list(function.why),
                    }
                    for function in patched.functions
                ],
                "callbacks": dict(patched.callbacks),
            }
            for patched in made.objects
        ],
        "new": [{"name": name, "kind": sort, "size": size} for name, sort, size in made.new],
        "references": [
            {"kind": str(r.kind), "object": r.object, "name": r.name, "sympos": r.sympos, "users": list(r.users)}
            for r in made.references
        ],
        "units": {
            "changed": [str(pair.unit.source) for pair in built.compiled.pairs],
            "same": [str(unit.source) for unit in built.compiled.equal],
        },
        "files": list(built.compiled.changed_files),
        "warnings": [{"slug": w.slug, "symbol": w.symbol, "evidence": w.evidence} for w in built.warnings],
        "notes": list(built.notes),
        "seconds": {step: round(seconds, 3) for step, seconds in built.seconds.items()},
    }
    json.dump(document, stream, indent=1, ensure_ascii=False)
    stream.write("\n")
