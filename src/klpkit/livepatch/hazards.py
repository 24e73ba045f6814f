"""What a person should look at before a patch is used: differences that are allowed and may still be wrong.

A patch is consistent for each task, not for the system: during the transition old and new code run side by side.
"""

from __future__ import annotations

from collections.abc import Iterator

from klpkit.diff.graph import Graph
from klpkit.elf.special import Role
from klpkit.livepatch.model import Warned
from klpkit.livepatch.selection import Selection
from klpkit.livepatch.unit import Unit

# A kernel thread's loop asks one of these.
_LOOP_QUESTIONS = frozenset(
    {"kthread_should_stop", "kthread_should_park", "kthread_should_stop_or_park", "kthread_freezable_should_stop"}
)


def hazards(selection: Selection) -> list[Warned]:
    """What is to be told about what one unit changes."""
    return [*_loops(selection.unit), *_new_state(selection), *_silent(selection)]


def _silent(selection: Selection) -> Iterator[Warned]:
    graph = selection.unit.graph
    for name, function in sorted({(each.key, graph.names[each.function]) for each in selection.silent}):
        tracepoint = name.removeprefix("__tracepoint_")
        yield Warned("silent-tracepoint", function, f"the module's tracepoint {tracepoint} does not fire in it")


def _loops(unit: Unit) -> Iterator[Warned]:
    for original in sorted(unit.changed.values()):
        if _LOOP_QUESTIONS & set(_called(unit.original, original)):
            evidence = "it is the loop of a kernel thread: the transition waits until it ends"
            yield Warned("thread-loop", unit.original.names[original], evidence)


def _called(graph: Graph, function: int) -> list[str]:
    return [graph.names[target] for target in graph.references.target[graph.references_of(function)].tolist()]


def _new_state(selection: Selection) -> Iterator[Warned]:
    """State that begins with the patch: what happened before is not in it."""
    graph = selection.unit.graph
    for entity in sorted(selection.taken):
        name = graph.names[entity]
        if graph.entities.role[entity] == Role.DATA and name:
            yield Warned(
                "new-state", name, "it begins at its initial value when the patch loads, and ends with it"
            )
