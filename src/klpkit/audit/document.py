"""An audit as the JSON document that `klpkit audit --json` prints (docs/reference/audit.md)."""

from __future__ import annotations

from typing import Any

from klpkit.audit.model import Audit, UnitAudit

FORMAT = "klpkit-audit"
VERSION = 1


def as_document(audit: Audit) -> dict[str, Any]:
    """`audit` as plain dictionaries, lists, strings and numbers."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "build": audit.root,
        "level": str(audit.level) if audit.level else None,
        "honoured": audit.honoured,
        "units": [_unit(unit) for unit in audit.units],
        "established": {version: list(slugs) for version, slugs in audit.established.items()},
        "warnings": list(audit.warnings),
    }


def _unit(unit: UnitAudit) -> dict[str, Any]:
    return {
        "source": unit.source,
        "object": unit.object,
        "language": unit.language,
        "compiler": {"kind": unit.kind, "version": unit.compiler},
        "flag_set": unit.flag_set,
        "lto": unit.lto,
        "passes": [
            {"slug": row.slug, "cause": row.cause, "recorded": row.recorded, "affects": row.affects,
             "switches": list(row.switches), "says": row.says, "remedy": row.remedy}
            for row in unit.passes
        ],
        "inspected": unit.inspected,
        "functions": [
            {"symbol": row.symbol, "abi": str(row.status), "notes": list(row.notes)} for row in unit.functions
        ],
        "exposures": [
            {"pass": row.slug, "functions": list(row.functions), "note": row.note} for row in unit.exposures
        ],
        "breaches": [
            {"slug": row.slug, "subject": row.subject, "says": row.says, "file": row.file, "line": row.line}
            for row in unit.breaches
        ],
        "notes": list(unit.notes),
    }  # fmt: skip
