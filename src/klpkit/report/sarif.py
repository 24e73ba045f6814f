"""An audit as SARIF 2.1.0, which code hosts and editors show beside the source.

Specified in "Static Analysis Results Interchange Format (SARIF) Version 2.1.0" (OASIS).  One rule for each pass
and each kind of breach; a pass is one result with every unit that it concerns as a location.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

from klpkit import __version__
from klpkit.audit.model import AbiStatus, Audit, UnitAudit
from klpkit.compilers.passes import Pass

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
BASE = "SOURCE"

# Rule → (severity, what it says of a unit or function).
RULES: Mapping[str, tuple[str, str]] = {
    "pass-allowed": ("error", "The flags allow a pass that the chosen level forbids."),
    "forbidden-record": ("error", "The compiler did what the chosen level forbids."),
    "unhonoured-part": ("error", "The compiler has no flag for a part of the chosen level."),
    "not-audited": ("error", "The command could not be read, so the level can't be shown to be honoured."),
    "abi-narrowed": ("note", "The function takes for granted what its callers pass."),
    "abi-clone": ("note", "The function is a copy with a calling convention or meaning of its own."),
    "abi-exposed": ("note", "The function may not keep the calling convention that its source declares."),
}
_STATUS_RULES = {
    AbiStatus.NARROWED: "abi-narrowed",
    AbiStatus.CLONE: "abi-clone",
    AbiStatus.EXPOSED: "abi-exposed",
}


def write_sarif(audit: Audit, stream: TextIO, *, source: Path | None = None) -> None:
    """Write `audit` to `stream`; `source` is the folder that the units' sources are relative to."""
    json.dump(sarif_document(audit, source=source), stream, indent=1, ensure_ascii=False)
    stream.write("\n")


def sarif_document(audit: Audit, *, source: Path | None = None) -> dict[str, Any]:
    """`audit` as a SARIF log with one run."""
    passes = {row.slug: row for unit in audit.units for row in unit.unlisted}
    rules = [_rule(slug, *row) for slug, row in RULES.items()] + [_pass_rule(row) for row in passes.values()]
    index = {rule["id"]: number for number, rule in enumerate(rules)}
    results = [*_breaches(audit), *_functions(audit), *_passes(audit, passes)]
    for result in results:
        result["ruleIndex"] = index[result["ruleId"]]
    run: dict[str, Any] = {
        "tool": {"driver": {"name": "klpkit audit", "version": __version__, "rules": rules}},
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": _notifications(audit)}],
        "columnKind": "utf16CodeUnits",
        "results": results,
    }
    if source is not None:
        run["originalUriBaseIds"] = {BASE: {"uri": source.absolute().as_uri() + "/"}}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(slug: str, severity: str, says: str, remedy: str = "") -> dict[str, Any]:
    rule: dict[str, Any] = {
        "id": slug,
        "shortDescription": {"text": says},
        "defaultConfiguration": {"level": severity},
    }
    return {**rule, "help": {"text": remedy}} if remedy else rule


def _pass_rule(row: Pass) -> dict[str, Any]:
    says = f"No record shows it when {row.says}."
    return _rule(f"unlisted-{row.slug}", "warning", says, f"To be rid of it: {row.remedy}.")


def _notifications(audit: Audit) -> list[dict[str, Any]]:
    return [{"level": "warning", "message": {"text": warning}} for warning in audit.warnings]


def _breaches(audit: Audit) -> Iterator[dict[str, Any]]:
    for unit in audit.breached:
        for breach in unit.breaches:
            text = f"{breach.subject}: {breach.says} (level {audit.level})"
            place = _location(breach.file or unit.source, line=breach.line)
            yield _result(breach.slug, RULES[breach.slug][0], text, [place])


def _functions(audit: Audit) -> Iterator[dict[str, Any]]:
    for unit in audit.units:
        for row in unit.functions:
            if row.status in _STATUS_RULES:
                rule = _STATUS_RULES[row.status]
                text = f"{row.symbol}: {'; '.join(row.notes)}"
                yield _result(rule, RULES[rule][0], text, [_location(unit.source, symbol=row.symbol)])


def _passes(audit: Audit, passes: Mapping[str, Pass]) -> Iterator[dict[str, Any]]:
    for slug, row in passes.items():
        places = [_pass_location(unit, slug) for unit in audit.units if row in unit.unlisted]
        text = f"{row.says}, and no record shows it; to be rid of it: {row.remedy}"
        yield _result(f"unlisted-{slug}", "warning", text, places)


def _pass_location(unit: UnitAudit, slug: str) -> dict[str, Any]:
    exposed = [symbol for row in unit.exposures if row.slug == slug for symbol in row.functions]
    place = _location(unit.source)
    return {**place, "logicalLocations": [_logical(symbol) for symbol in exposed]} if exposed else place


def _result(rule: str, severity: str, text: str, places: list[dict[str, Any]]) -> dict[str, Any]:
    return {"ruleId": rule, "level": severity, "message": {"text": text}, "locations": places}


def _location(file: str, *, line: int = 0, symbol: str = "") -> dict[str, Any]:
    artifact = {"uri": Path(file).as_uri()} if file.startswith("/") else {"uri": quote(file), "uriBaseId": BASE}
    physical: dict[str, Any] = {"artifactLocation": artifact}
    if line > 0:
        physical["region"] = {"startLine": line}
    place: dict[str, Any] = {"physicalLocation": physical}
    return {**place, "logicalLocations": [_logical(symbol)]} if symbol else place


def _logical(symbol: str) -> dict[str, str]:
    return {"fullyQualifiedName": symbol, "kind": "function"}
