"""The impact answer as JSON: the stable form for scripts, described by `docs/reference/impact.schema.json`.

Functions are told apart by an `id` that counts from 0 within one document; effects refer to it.  Fields may be
added within a version of the schema, none is removed or changes its meaning.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from klpkit.impact.result import ImpactAnswer, ImpactedFunction
from klpkit.records.model import Effect, Function, Location
from klpkit.report.text import sort_key
from klpkit.report.wording import functions_of

SCHEMA = "klpkit.impact/1"
ALL_SCHEMA = "klpkit.impact-all/1"


def document(answer: ImpactAnswer) -> dict[str, Any]:
    """`answer` as what `json.dump` takes."""
    functions = functions_of(answer)
    ids = {function: number for number, function in enumerate(functions)}
    impacted = {item.function for item in answer.impacted}
    return {
        "schema": SCHEMA,
        "seeds": [ids[seed] for seed in answer.seeds],
        "impacted": [_impacted(item, ids) for item in answer.impacted],
        "other_functions": [_function(f, ids) for f in functions if f not in impacted],
        "effects": [_effect(effect, ids) for effect in answer.effects],
        "evidence": list(answer.evidence),
        "warnings": list(answer.warnings),
    }


def write_json(answer: ImpactAnswer, stream: TextIO) -> None:
    """Write `answer` to `stream` as one indented document."""
    stream.write(json.dumps(document(answer), indent=2, ensure_ascii=True) + "\n")


def write_all_json(
    answers: Mapping[Function, ImpactAnswer],
    stream: TextIO,
    *,
    warnings: Sequence[str] = (),
    evidence: Sequence[str] = (),
) -> None:
    """Write the answer of every function, sorted by unit and symbol, as one document with an answer a line.

    `warnings` and `evidence` are what holds for all of them.  Answers are taken from the mapping one at a time, so
    that a mapping that computes them keeps memory small.
    """
    head = json.dumps({"schema": ALL_SCHEMA, "evidence": list(evidence), "warnings": list(warnings)})
    stream.write(f'{head.removesuffix("}")}, "answers": [')
    for number, function in enumerate(sorted(answers, key=sort_key)):
        line = json.dumps(document(answers[function]), ensure_ascii=True, separators=(",", ":"))
        stream.write(f"{',' if number else ''}\n{line}")
    stream.write("\n]}\n")


def _impacted(item: ImpactedFunction, ids: Mapping[Function, int]) -> dict[str, Any]:
    patchability = item.patchability
    return {
        **_function(item.function, ids),
        "distance": item.distance,
        "causes": list(item.causes),
        "chain": [_effect(effect, ids) for effect in item.chain],
        "chains": [[_effect(effect, ids) for effect in chain] for chain in item.chains],
        "how": str(patchability.how),
        "callable": patchability.callable,
        "owner": patchability.owner,
        "section": patchability.section,
        "ftrace": patchability.ftrace,
        "forbidden": patchability.forbidden,
        "notes": list(patchability.notes),
    }


def _function(function: Function, ids: Mapping[Function, int]) -> dict[str, Any]:
    return {
        "id": ids[function],
        "symbol": function.symbol,
        "unit": function.unit,
        "order": function.order if function.order >= 0 else None,
        "location": _location(function.location),
    }


def _effect(effect: Effect, ids: Mapping[Function, int]) -> dict[str, Any]:
    return {
        "body": ids[effect.body],
        "user": ids[effect.user],
        "cause": effect.cause,
        "where": _location(effect.where),
    }


def _location(location: Location | None) -> dict[str, Any] | None:
    if location is None:
        return None
    return {"file": location.file, "line": location.line or None, "column": location.column or None}
