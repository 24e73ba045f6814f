"""From rows that differ to the answer: functions with reasons, data, moved lines, obstacles, verdict."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from klpkit.diff import lines, obstacles, why
from klpkit.diff.compare import Comparison
from klpkit.diff.correlate import Correlation
from klpkit.diff.graph import Kind
from klpkit.diff.lines_fields import line_number
from klpkit.diff.model import Cause, Data, Function, MovedLine, ObjectDiff, Status, Verdict
from klpkit.diff.union import CODE, STATE, Union
from klpkit.elf.special import Role


def answer(result: Comparison) -> ObjectDiff:
    """Everything that a comparison says, in the records of `klpkit.diff.model`."""
    both = result.both
    moved = _moved_in_code(result) + _moved_in_records(result)
    functions = _functions(result)
    data = _data(result)
    stops = obstacles.obstacles(result, functions, data)
    notes = obstacles.notes(result)
    nothing = not functions and not data and not stops
    verdict = Verdict.NO_CHANGE if nothing else Verdict.UNPATCHABLE if stops else Verdict.PATCHABLE
    return ObjectDiff(
        original=both.original.path,
        patched=both.patched.path,
        arch=both.original.facts.name,
        verdict=verdict,
        functions=functions,
        data=data,
        moved=tuple(sorted(moved, key=lambda line: (line.where, line.before, line.after, line.evidence))),
        obstacles=stops,
        notes=notes,
        compared=(_function_count(both, 0), _function_count(both, 1)),
    )


def _function_count(both: Union, side: int) -> int:
    graph = (both.original, both.patched)[side]
    entities = graph.entities
    return int(((entities.kind == Kind.FUNCTION) & (entities.role == Role.TEXT)).sum())


# --- lines -------------------------------------------------------------------------------------------------


def _moved_in_code(result: Comparison) -> list[MovedLine]:
    """Take functions whose only difference is moved line numbers out of the changed ones."""
    both, moved = result.both, []
    for row, causes in list(result.causes.items()):
        own = {origin for cause, origin in causes if cause in (Cause.CODE, Cause.PART)}
        if any(cause not in (Cause.CODE, Cause.PART) for cause, _ in causes) or not own:
            continue
        explained: list[MovedLine] = []
        for origin in sorted(own):
            found = _explained(result, origin)
            if found is None:
                break
            explained += found
        else:
            if not _own_lines(result, row, explained):
                continue
            del result.causes[row]
            name = both.name_of(row)
            moved += [MovedLine(name, line.before, line.after, line.evidence) for line in explained]
    return moved


def _own_lines(result: Comparison, row: int, moved: list[MovedLine]) -> bool:
    if not (result.both.original.has_lines or result.both.patched.has_lines):
        return True
    from klpkit.diff.sourcelines import own_lines

    return own_lines(result, row, moved)


def _explained(result: Comparison, origin: int) -> list[MovedLine] | None:
    partner = int(result.found.partner[origin])
    if origin >= result.both.split or partner < 0 or origin in result.references_differ:
        return None
    if origin not in result.bytes_differ:
        return None
    other = partner - result.both.split
    return lines.moved_lines(result.both.original, origin, result.both.patched, other)


def _moved_in_records(result: Comparison) -> list[MovedLine]:
    """Line numbers in bug tables and printk records of functions that are the same otherwise."""
    left, right = _record_lines(result, 0), _record_lines(result, 1)
    moved = []
    for key, before in left.items():
        owner, _, section = key
        where = result.both.name_of(owner) if owner >= 0 else ""
        for old, new in zip(sorted(before), sorted(right.get(key, ())), strict=False):
            if old != new:
                moved.append(MovedLine(where or f"a record in {section}", old, new, f"{section} entry"))
    return moved


def _record_lines(result: Comparison, side: int) -> dict[tuple[int, int, str], list[int]]:
    """Line numbers by the function (or matched record; -1: none), place and section that they belong to."""
    both = result.both
    graph = (both.original, both.patched)[side]
    shift = side * both.split
    found: dict[tuple[int, int, str], list[int]] = defaultdict(list)
    for entity in graph.line_fields:
        row = entity + shift
        owner, partner = int(result.site_owner[row]), int(result.found.partner[row])
        own, place = (min(row, partner), -1) if partner >= 0 else (-1, -1)
        if owner >= 0:
            own = result.function_of(owner)
            place = int(graph.references.offset[graph.references_of(entity).start])
        if own < both.split and own not in result.causes:
            found[own, place, graph.section_name(entity)].append(line_number(graph, entity))
    return found


# --- functions ---------------------------------------------------------------------------------------------


def _functions(result: Comparison) -> tuple[Function, ...]:
    both = result.both
    found = [_changed(result, row) for row in result.causes if row < both.split and result.found.partner[row] >= 0]
    named = [row for row in result.unmatched if both.sort[row] == CODE and both.name_of(row)]
    found += [_lone(both, row) for row in named if row not in result.home]
    return tuple(sorted(found, key=lambda function: (function.status, function.name, function.file)))


def _changed(result: Comparison, row: int) -> Function:
    both = result.both
    partner = int(result.found.partner[row])
    a, b = both.original, both.patched
    first = _first_difference(a.bytes_of(row), b.bytes_of(partner - both.split))
    return Function(
        name=both.name_of(row),
        status=Status.CHANGED,
        section=a.section_name(row),
        patched_name=both.name_of(partner),
        reasons=why.reasons(result, row),
        sizes=(a.size_of(row), b.size_of(partner - both.split)),
        offset=first,
        file=_file(both, row),
        aliases=_alias_names(both, row),
    )


def _first_difference(a: bytes, b: bytes) -> int:
    if a == b:
        return -1
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _lone(both: Union, row: int) -> Function:
    graph, entity = both.side(row)
    size = graph.size_of(entity)
    new = row >= both.split
    return Function(
        name=both.name_of(row),
        status=Status.NEW if new else Status.GONE,
        section=graph.section_name(entity),
        patched_name=both.name_of(row) if new else "",
        sizes=(0, size) if new else (size, 0),
        file=_file(both, row),
        aliases=_alias_names(both, row),
    )


def _alias_names(both: Union, row: int) -> tuple[str, ...]:
    graph, entity = both.side(row)
    rows = graph.aliases.get(entity, [])
    return tuple(sorted(graph.elf.symbols.names[symbol] for symbol in rows))


def _file(both: Union, row: int) -> str:
    graph, entity = both.side(row)
    symbol = int(graph.entities.file[entity])
    return graph.elf.symbols.names[symbol] if symbol > 0 else ""


# --- data --------------------------------------------------------------------------------------------------


def _data(result: Comparison) -> tuple[Data, ...]:
    both = result.both
    left = np.flatnonzero((both.sort[: both.split] == STATE) & (result.found.partner[: both.split] >= 0))
    changed_role = left[both.role[left] != both.role[result.found.partner[left]]].tolist()
    rows = {row for row in result.bytes_differ | result.references_differ if both.sort[row] == STATE}
    rows |= set(changed_role) | result.resized
    known = [row for row in sorted(rows) if both.declared[row] == -1 or both.role[row] == Role.DATA]
    found = [_changed_data(result, row) for row in known]
    lone = [row for row in result.unmatched if both.sort[row] == STATE or both.kind[row] == Kind.COMMON]
    found += [_lone_data(both, row) for row in lone]
    return tuple(sorted(found, key=lambda data: (data.status, data.name)))


def _changed_data(result: Comparison, row: int) -> Data:
    both = result.both
    partner = int(result.found.partner[row])
    a, b = both.original, both.patched
    sizes = (a.size_of(row), b.size_of(partner - both.split))
    if row in result.resized:
        sizes = a.symbol_size(row), b.symbol_size(partner - both.split)
    if both.role[row] != both.role[partner]:
        what = "read-only"
    elif sizes[0] != sizes[1]:
        what = "size"
    else:
        what = "initialiser" if row in result.bytes_differ else "reference"
    return Data(
        name=both.name_of(row),
        status=Status.CHANGED,
        section=a.section_name(row),
        read_only=bool(both.role[row] == Role.RODATA),
        what=what,
        sizes=sizes,
        users=_users(result.found, row),
    )


def _lone_data(both: Union, row: int) -> Data:
    graph, entity = both.side(row)
    new = row >= both.split
    size = graph.size_of(entity)
    users = sorted({graph.names[int(user)] for user in graph.users_of(entity)} - {""})
    return Data(
        name=both.name_of(row) or f"{graph.section_name(entity)} (no name)",
        status=Status.NEW if new else Status.GONE,
        section=graph.section_name(entity) if entity < graph.entities.defined else "COMMON",
        read_only=bool(both.role[row] == Role.RODATA),
        sizes=(0, size) if new else (size, 0),
        users=tuple(users),
    )


def _users(found: Correlation, row: int) -> tuple[str, ...]:
    graph, entity = found.both.side(row)
    return tuple(sorted({graph.names[int(user)] for user in graph.users_of(entity)} - {""}))
