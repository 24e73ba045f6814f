"""What stands in the way of a live patch: one small check each, every finding with a slug of `docs/reasons.md`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

from klpkit.diff.compare import Comparison
from klpkit.diff.graph import Graph, Kind
from klpkit.diff.model import Data, Function, Obstacle, Status
from klpkit.diff.names import declared
from klpkit.diff.pool import among
from klpkit.diff.union import CODE, STATE
from klpkit.elf import constants as c
from klpkit.elf.special import Role, special
from klpkit.impact.forbidden import forbidden_section

# Flags and keys that a macro makes, one for each place: a new copy of one changes nothing that matters.
ONCE = frozenset(
    {"__key", "__warned", "__already_done", "__print_once", "__do_once_done", "__once", "___done", "___once_key"}
)

Check = Callable[[Comparison, tuple[Function, ...], tuple[Data, ...]], Iterator[Obstacle]]


def obstacles(result: Comparison, functions: tuple[Function, ...], data: tuple[Data, ...]) -> tuple[Obstacle, ...]:
    """Everything that a live patch can't carry, in order of slug and symbol."""
    found = {obstacle for check in _CHECKS for obstacle in check(result, functions, data)}
    return tuple(sorted(found, key=lambda o: (o.slug, o.symbol, o.evidence)))


def _forbidden_code(
    result: Comparison, functions: tuple[Function, ...], data: tuple[Data, ...]
) -> Iterator[Obstacle]:
    traced = {result.both.name_of(row) for row in ftrace_locations(result)}
    for function in functions:
        slug = forbidden_section(function.section, function.name in traced)
        if slug and function.status is not Status.GONE:
            evidence = f"{function.status} code in {function.section}"
            yield Obstacle(slug, function.name, evidence, _FORBIDDEN_ADVICE.get(slug, _OTHER_ADVICE))


_FORBIDDEN_ADVICE = {
    "init-code": "leave it alone and mend what it has set up in a patch callback",
    "exit-code": "leave it alone and change what it calls",
}
_OTHER_ADVICE = "leave it alone and change a traced caller or callee"


def _no_ftrace(result: Comparison, functions: tuple[Function, ...], data: tuple[Data, ...]) -> Iterator[Obstacle]:
    traced = ftrace_locations(result)
    for row in result.causes:
        partner = int(result.found.partner[row])
        if row >= result.both.split or partner < 0 or row in traced:
            continue
        if forbidden_section(result.both.original.section_name(row), traced=False):
            continue
        name = result.both.name_of(row)
        yield Obstacle(
            "no-ftrace-location",
            name,
            "no entry in a list of ftrace locations and no profiling call at its start",
            "patch its callers instead (mark it __always_inline, or rename it and change them)",
        )


def ftrace_locations(result: Comparison) -> set[int]:
    """The functions of the original that ftrace can redirect, as rows."""
    both = result.both
    graph = both.original
    facts = graph.facts
    names = graph.elf.sections.names
    listed = [number for number, name in enumerate(names) if name.startswith(facts.site_sections)]
    entries = np.flatnonzero(among(graph.entities.section[: graph.entities.defined], listed))
    owners = result.site_owner[entries]
    traced = set(owners[owners >= 0].tolist())
    for target in graph.names.find(set(facts.entry_calls)):
        traced.update(_called_early(graph, target, facts.site_after))
    if facts.entry_nop:
        traced.update(row for row in result.causes if row < both.split and _starts_with_nop(graph, row))
    return traced


def _starts_with_nop(graph: Graph, row: int) -> bool:
    code = graph.bytes_of(row)
    for pad in graph.facts.landing_pads:
        code = code.removeprefix(pad)
    return code.startswith(graph.facts.entry_nop)


def _called_early(graph: Graph, target: int, reach: int) -> list[int]:
    rows, first = graph.users
    use = rows[int(first[target]) : int(first[target + 1])]
    early = graph.references.at[use] <= reach + 8
    owners: list[int] = graph.references.owner[use][early].tolist()
    return owners


def _changed_state(
    result: Comparison, functions: tuple[Function, ...], data: tuple[Data, ...]
) -> Iterator[Obstacle]:
    used = _changed_names(functions)
    for item in data:
        if item.status is not Status.CHANGED:
            continue
        local = declared(item.name) is not None
        sizes = f"{item.sizes[0]} bytes became {item.sizes[1]}"
        if item.read_only and item.what != "read-only":
            if not used.intersection(item.users):
                evidence = f"the constant in {item.section} differs, and code outside of the patch reads it"
                yield Obstacle(
                    "changed-constant", item.name, evidence, "give the changed functions a new constant"
                )
        elif item.what == "size":
            slug = "static-local-layout" if local else "changed-data-size"
            advice = "keep the object as it is and put the new fields into a shadow variable"
            yield Obstacle(slug, item.name, f"{item.section}: {sizes}", advice)
        elif item.what == "read-only":
            advice = "leave its const as it was, or give the changed functions a new object"
            yield Obstacle("changed-data", item.name, f"{item.section}: became read-only or writable", advice)
        else:
            evidence = f"{item.section}: its {item.what} differs; the running object already has its contents"
            advice = "leave the initialiser alone and change the value in a patch callback"
            yield Obstacle("changed-data", item.name, evidence, advice)


def _changed_names(functions: tuple[Function, ...]) -> set[str]:
    changed = [function for function in functions if function.status is not Status.GONE]
    return {function.name for function in changed} | {function.patched_name for function in changed}


def _shared_constants(
    result: Comparison, functions: tuple[Function, ...], data: tuple[Data, ...]
) -> Iterator[Obstacle]:
    """Constants that other objects can see keep their old contents there."""
    both = result.both
    for row in sorted(result.constants):
        if row >= both.split or both.sort[row] != STATE or both.original.entities.local[row]:
            continue
        if both.name_of(row):
            evidence = f"a global constant in {both.original.section_name(row)} differs; other objects read it too"
            advice = "leave it alone and give the changed functions a constant of their own"
            yield Obstacle("changed-constant", both.name_of(row), evidence, advice)


def _doubtful_state(
    result: Comparison, functions: tuple[Function, ...], data: tuple[Data, ...]
) -> Iterator[Obstacle]:
    """Static locals that may be the same one, of functions that changed too much to tell."""
    both = result.both
    free = [row for row in result.unmatched if both.sort[row] == STATE and both.role[row] == Role.DATA]
    gone = [row for row in free if row < both.split and both.declared[row] >= 0]
    for row in gone:
        name = declared(both.name_of(row)) or both.name_of(row)
        if name.rsplit(".", 1)[-1] in ONCE:
            continue
        mine = {int(result.found.partner[user]) for user in both.original.users_of(row).tolist()}
        for other in free:
            if other < both.split or both.declared[other] != both.declared[row]:
                continue
            theirs = {int(user) + both.split for user in both.patched.users_of(other - both.split)}
            if mine & theirs - {-1}:
                evidence = f"{both.name_of(row)} and {both.name_of(other)} may be the same variable"
                advice = "give the variables distinct names, or change less of the function at once"
                yield Obstacle("doubtful-static-local", both.name_of(row), evidence, advice)


def _anchored_state(
    result: Comparison, functions: tuple[Function, ...], data: tuple[Data, ...]
) -> Iterator[Obstacle]:
    """State without users is reached by a distance from its neighbours: which is which can't be told."""
    both = result.both
    for row in result.unmatched if both.original.facts.anchors else ():
        graph, entity = both.side(row)
        if both.sort[row] != STATE or both.role[row] != Role.DATA or both.declared[row] < 0:
            continue
        name = declared(both.name_of(row)) or both.name_of(row)
        if len(graph.users_of(entity)) or not name or name.rsplit(".", 1)[-1] in ONCE:
            continue
        evidence = f"nothing refers to it by name; code reaches it by its place in {graph.section_name(entity)}"
        yield Obstacle(
            "section-anchor", both.name_of(row), evidence, "compile both sides with -fno-section-anchors"
        )


def _registries(result: Comparison, functions: tuple[Function, ...], data: tuple[Data, ...]) -> Iterator[Obstacle]:
    both = result.both
    for row in result.entries:
        graph, entity = both.side(row)
        section = graph.section_name(entity)
        table = special(section)
        symbol = both.name_of(row) or _first_target(graph, entity) or section
        which = "new" if row >= both.split else "gone or different"
        if both.role[row] == Role.REGISTRY and table is not None:
            evidence = f"a {which} entry in {section}, which is only read at boot or load"
            yield Obstacle(table.slug or "registration", symbol, evidence, "register it in a patch callback")
        elif both.role[row] == Role.UNKNOWN:
            yield _unknown(section, symbol, f"{which} contents")
        elif both.role[row] in (Role.RODATA, Role.PIECES):
            evidence = (
                f"{which} bytes at {_place(graph, entity):#x} of {section} that nothing is known to refer to"
            )
            yield Obstacle("unexplained-change", symbol, evidence, "compile both sides with -fdata-sections")
        elif table is not None and table.slug == "module-information" and not _imports(graph, entity):
            evidence = f"{which} contents of {section}"
            yield Obstacle("module-information", symbol, evidence, "a patch can't change its target's information")
    for row in result.loose_sites:
        graph, entity = both.side(row)
        evidence = f"an entry of {graph.section_name(entity)} differs and belongs to no function"
        yield Obstacle("unexplained-change", _first_target(graph, entity) or "?", evidence, "report this object")


def _place(graph: Graph, entity: int) -> int:
    """Where an entity begins in its section."""
    return int(graph.entities.start[entity] - graph.flat.base[graph.entities.section[entity]])


def _imports(graph: Graph, entity: int) -> bool:
    return bool(re.match(rb"(?:[\w-]+\.)?import_ns=", graph.bytes_of(entity)))


def _unknown(section: str, symbol: str, what: str) -> Obstacle:
    hint = f"say what {section} holds (a row in klpkit/elf/special.py), or leave it out of both objects"
    return Obstacle("unknown-special-section", symbol, f"{section}: {what}", hint)


def _first_target(graph: Graph, entity: int) -> str:
    targets = graph.references.target[graph.references_of(entity)].tolist()
    return next((graph.names[target] for target in targets if graph.names[target]), "")


def _unknown_users(
    result: Comparison, functions: tuple[Function, ...], data: tuple[Data, ...]
) -> Iterator[Obstacle]:
    """Sections that nobody has described and that refer to code that changed."""
    both = result.both
    for side, graph in enumerate((both.original, both.patched)):
        shift = side * both.split
        owner = graph.references.owner
        rows = np.flatnonzero((graph.entities.role[owner] == Role.UNKNOWN) & (owner < graph.entities.defined))
        for row in rows.tolist():
            target = int(graph.references.target[row]) + shift
            if both.sort[target] != CODE:
                continue
            function = result.function_of(target)
            if function in result.causes or function in result.unmatched:
                yield _unknown(
                    graph.section_name(int(owner[row])), both.name_of(function), "refers to code that changed"
                )


def _unnamed_code(
    result: Comparison, functions: tuple[Function, ...], data: tuple[Data, ...]
) -> Iterator[Obstacle]:
    both = result.both
    rows = set(result.causes) | {row for row in result.unmatched if both.sort[row] == CODE}
    for row in sorted(rows):
        if both.name_of(row) or row in result.home:
            continue
        graph, entity = both.side(row)
        evidence = f"code without a symbol at {_place(graph, entity):#x} of {graph.section_name(entity)} differs"
        yield Obstacle("unnamed-code", graph.section_name(entity), evidence, "give the code a symbol")


def _groups(result: Comparison, functions: tuple[Function, ...], data: tuple[Data, ...]) -> Iterator[Obstacle]:
    left, right = _signatures(result.both.original), _signatures(result.both.patched)
    for name in sorted(left ^ right):
        which = "new" if name in right else "gone"
        advice = "keep the code that makes it out of the patch"
        yield Obstacle("section-group", name, f"a {which} section group: a linker may keep another copy", advice)


def _signatures(graph: Graph) -> set[str]:
    names = graph.elf.symbols.names
    found = set()
    for group in graph.elf.groups():
        symbol = int(graph.elf.sections.info[group.section])
        section = int(graph.elf.symbols.section[symbol])
        found.add(names[symbol] or (graph.elf.sections.names[section] if section > 0 else ""))
    return found


def _sibling_calls(
    result: Comparison, functions: tuple[Function, ...], data: tuple[Data, ...]
) -> Iterator[Obstacle]:
    """ppc64: a jump to another function leaves no room to restore the TOC pointer of a module."""
    both = result.both
    graph = both.patched
    if graph.elf.machine != c.EM_PPC64:
        return
    for row in result.causes:
        partner = int(result.found.partner[row])
        if row >= both.split or partner < 0:
            continue
        entity = partner - both.split
        code, span = graph.bytes_of(entity), graph.references_of(entity)
        for index in range(span.start, span.stop):
            at, target = int(graph.references.at[index]), int(graph.references.target[index])
            word = int.from_bytes(code[at : at + 4], "little")
            if word & 0xFC000003 == 0x48000000 and target != entity:
                evidence = f"a jump at {at:#x} to {graph.names[target] or 'another function'} in place of a call"
                advice = 'add __attribute__((optimize("-fno-optimize-sibling-calls"))) to its definition'
                yield Obstacle("sibling-call", both.name_of(row), evidence, advice)
                break


def _module_keys(
    result: Comparison, functions: tuple[Function, ...], data: tuple[Data, ...]
) -> Iterator[Obstacle]:
    """Jump labels and static calls of a patch are set up before klp relocations give it a module's symbols."""
    for function, section, name in _touched_keys(result):
        module = result.symbol_owners.get(name, "vmlinux")
        if module != "vmlinux":
            evidence = f"its entry in {section} uses the key {name} of module {module}"
            advice = "use static_key_enabled() or an ordinary call in the patched function"
            yield Obstacle("module-key", result.both.name_of(function), evidence, advice)


def _touched_keys(result: Comparison) -> Iterator[tuple[int, str, str]]:
    """`(function, section, key)` for the jump labels and static calls of changed and new functions."""
    both = result.both
    graph = both.patched
    sections = [
        number for name in ("__jump_table", ".static_call_sites") for number in graph.elf.sections.find(name)
    ]
    owner = graph.references.owner
    rows = np.flatnonzero(among(graph.entities.section[owner], sections) & (owner < graph.entities.defined))
    unmatched = set(result.unmatched) if len(rows) else set()
    for row in rows.tolist():
        target = int(graph.references.target[row])
        name = graph.names[target]
        # Of its references one or two are the place in code.
        if both.sort[target + both.split] == CODE and not name.startswith("__SCT__"):
            continue
        function = result.function_of(int(result.site_owner[int(owner[row]) + both.split]))
        if function in result.causes or function in unmatched:
            yield function, graph.section_name(int(owner[row])), name or "without a name"


def _aliases(result: Comparison, functions: tuple[Function, ...], data: tuple[Data, ...]) -> Iterator[Obstacle]:
    both = result.both
    lone = {both.name_of(row): row for row in result.unmatched if both.sort[row] == CODE and both.name_of(row)}
    for side, graph in enumerate((both.original, both.patched)):
        names = graph.elf.symbols.names
        for entity, rows in graph.aliases.items():
            for name in (names[row] for row in rows):
                row = lone.get(name, -1)
                if row >= 0 and (row < both.split) == bool(side):
                    evidence = f"{name} and {graph.names[entity]} share one body on one side only"
                    advice = "patch both names by hand, or keep the two functions equal"
                    yield Obstacle("alias-changed", name, evidence, advice)


def _crc(result: Comparison, functions: tuple[Function, ...], data: tuple[Data, ...]) -> Iterator[Obstacle]:
    both = result.both
    rows = [row for row in result.bytes_differ if both.kind[row] == Kind.ABSOLUTE and row < both.split]
    for row in rows:
        name = both.name_of(row)
        slug = "export" if name.startswith("__crc_") else "unexplained-change"
        advice = "keep the types of exported functions as they are"
        yield Obstacle(slug, name, "its absolute value differs", advice)


_CHECKS: tuple[Check, ...] = (
    _forbidden_code,
    _no_ftrace,
    _changed_state,
    _shared_constants,
    _doubtful_state,
    _anchored_state,
    _registries,
    _unknown_users,
    _unnamed_code,
    _groups,
    _sibling_calls,
    _module_keys,
    _aliases,
    _crc,
)


def notes(result: Comparison) -> tuple[str, ...]:
    """What differs and matters to people only."""
    both = result.both
    found = set()
    for row in result.entries:
        graph, entity = both.side(row)
        table = special(graph.section_name(entity))
        if both.role[row] == Role.INFORMATION and table is not None:
            which = "new" if row >= both.split else "gone or different"
            found.add(f"{which} entries in {graph.section_name(entity)} ({table.slug})")
    found |= _assumed_owners(result)
    return tuple(sorted(found))


def _assumed_owners(result: Comparison) -> set[str]:
    """Keys of which nothing says that they are the kernel's own and not a module's: that is assumed, and said."""
    keys = sorted({name for _, _, name in _touched_keys(result)} - result.symbol_owners.keys())
    if not keys:
        return set()
    what = f"{', '.join(keys[:4])}{f' and {len(keys) - 4} more' if len(keys) > 4 else ''}"
    why = "it is not exported" if result.symbol_owners else "name a Module.symvers (--symvers) to have it checked"
    return {f"taken for keys of the kernel itself, not of a module: {what} ({why})"}
