"""The answer of `klpkit fidelity`: for a terminal, and as a document for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from klpkit.report.terminal import Sheet
from klpkit.target.disassembly import instruction_at
from klpkit.target.fidelity import GOOD, Fidelity, FunctionFidelity, Verdict
from klpkit.target.opening import Target

_SHOWN = 10
_BYTES = 8
_STYLES = {Verdict.OVERRIDDEN: "faint", Verdict.DISCARDED: "faint", Verdict.DIFFERS: "bad", Verdict.ABSENT: "warn"}


def write_fidelity(checked: Sequence[Fidelity], target: Target, suspects: Sequence[str], sheet: Sheet) -> None:
    """Write what differs in each unit, and at the end whether all are faithful."""
    lines = [line for each in checked for line in _unit(each, sheet)]
    unfaithful = sum(not each.faithful for each in checked)
    total = sum(len(each.functions) for each in checked)
    equal = sum(each.counts()[Verdict.EQUAL] for each in checked)
    name = target.release or "the shipped kernel"
    if unfaithful:
        lines.append(sheet.paint(f"not faithful to {name}: {unfaithful} of {_count(len(checked), 'unit')}", "bad"))
        lines += [f"  {suspect}" for suspect in suspects]
    else:
        lines.append(sheet.paint(f"faithful to {name}: {equal} of {_count(total, 'function')} equal", "good"))
    sheet.write("\n".join(lines) + "\n")


def _unit(each: Fidelity, sheet: Sheet) -> Iterator[str]:
    told = ", ".join(f"{number} {verdict}" for verdict, number in each.counts().items() if number)
    yield sheet.paint(f"{each.source} ({each.object}): {told or 'no functions'}", "strong")
    odd = [function for function in each.functions if function.verdict is not Verdict.EQUAL]
    odd += [data for data in each.data if data.verdict is Verdict.DIFFERS]
    # What stands in the way comes first; a reader may look no further.
    odd.sort(key=lambda function: function.verdict in GOOD)
    for function in odd[:_SHOWN]:
        yield from _function(function, sheet)
    if len(odd) > _SHOWN:
        yield f"  and {len(odd) - _SHOWN} more: --json lists all"


def _function(function: FunctionFidelity, sheet: Sheet) -> Iterator[str]:
    verdict = sheet.paint(str(function.verdict), _STYLES[function.verdict])
    difference = function.difference
    if difference is None:
        yield f"  {function.name}  {verdict}"
        return
    yield f"  {function.name}+{difference.offset:#x}  {verdict}: {difference.why}"
    if function.verdict is Verdict.DIFFERS:
        for label, code in (("original", function.original), ("shipped", function.shipped)):
            text = _text(function, code)
            yield f"    {label:<9} {code[difference.offset :][:_BYTES].hex(' '):<{3 * _BYTES}} {text}".rstrip()


def _text(function: FunctionFidelity, code: bytes) -> str:
    """The instruction at the first difference; "" in data."""
    if function.symbol is not None and not function.symbol.function:
        return ""
    start = function.symbol.address if function.symbol else 0
    return instruction_at(code, function.difference.offset, start) if function.difference else ""


def fidelity_document(checked: Sequence[Fidelity], target: Target, suspects: Sequence[str]) -> dict[str, Any]:
    """Everything in `checked`, for `--json`."""
    return {
        "faithful": all(each.faithful for each in checked),
        "release": target.release,
        "suspects": list(suspects),
        "units": [_unit_document(each) for each in checked],
    }


def _unit_document(each: Fidelity) -> dict[str, Any]:
    return {
        "source": each.source,
        "object": each.object,
        "faithful": each.faithful,
        "counts": {str(verdict): number for verdict, number in each.counts().items()},
        "functions": [_function_document(function) for function in each.functions],
        "data": [_function_document(data) for data in each.data],
    }


def _function_document(function: FunctionFidelity) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": function.name,
        "section": function.section,
        "size": function.size,
        "verdict": str(function.verdict),
        "address": function.symbol.address if function.symbol else None,
    }
    difference = function.difference
    if difference is not None:
        document["difference"] = {"offset": difference.offset, "why": difference.why}
        if function.verdict is Verdict.DIFFERS:
            for label, code in (("original", function.original), ("shipped", function.shipped)):
                document["difference"][label] = {
                    "bytes": code[difference.offset :][:_BYTES].hex(),
                    "instruction": _text(function, code),
                }
    return document


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
