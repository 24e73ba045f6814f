"""What a person should look at before a patch is used: differences that are allowed and may still be wrong.

A patch is consistent for each task, not for the system: during the transition old and new code run side by side.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from klpkit.diff.graph import Graph
from klpkit.diff.names import declared
from klpkit.elf.special import Role
from klpkit.livepatch.model import Warned
from klpkit.livepatch.selection import Selection
from klpkit.livepatch.unit import Unit

# Functions that some task is always in: their old code runs on until that task ends.
_ALWAYS_ON_STACKS = frozenset(
    {"schedule", "__schedule", "schedule_timeout", "do_idle", "cpu_startup_entry", "kthread", "kthreadd",
     "kthread_worker_fn", "worker_thread", "smpboot_thread_fn", "rcu_gp_kthread", "kswapd", "kcompactd",
     "khugepaged", "ksm_scan_thread", "oom_reaper", "rescuer_thread", "do_wait", "do_nanosleep", "do_poll",
     "do_select", "do_sys_poll", "ep_poll", "pipe_read", "futex_wait_queue"}
)  # fmt: skip
# A kernel thread's loop asks one of these.
_LOOP_QUESTIONS = frozenset(
    {"kthread_should_stop", "kthread_should_park", "kthread_should_stop_or_park", "kthread_freezable_should_stop"}
)
_LOCKS = re.compile(r"(?:\w*_)?(?:un|try)?lock(?:_\w+)?|(?:down|up)(?:_(?:read|write|interruptible|killable)\w*)?")


def hazards(selection: Selection) -> list[Warned]:
    """What is to be told about what one unit changes."""
    found: list[Warned] = []
    for entity, original in sorted(selection.unit.changed.items()):
        found += _sleepers(selection.unit, entity, original)
        found += _locks(selection.unit, entity, original)
    return [*found, *_new_state(selection)]


def _sleepers(unit: Unit, entity: int, original: int) -> Iterator[Warned]:
    name = unit.original.names[original]
    base = declared(name) or name
    if base in _ALWAYS_ON_STACKS:
        yield Warned("always-on-stack", name, "some task is always in it, and runs the old code until it leaves")
    elif _LOOP_QUESTIONS & set(_called(unit.original, original)):
        yield Warned("thread-loop", name, "it is the loop of a kernel thread: the transition waits until it ends")


def _locks(unit: Unit, entity: int, original: int) -> Iterator[Warned]:
    before = _lock_calls(unit.original, original, unit, 0)
    after = _lock_calls(unit.graph, entity, unit, unit.split)
    if before != after:
        less, more = sorted((before - after).elements()), sorted((after - before).elements())
        words = [f"no longer {', '.join(less)}"] if less else []
        words += [f"now {', '.join(more)}"] if more else []
        evidence = f"it takes locks differently ({'; '.join(words)}) while old code still runs"
        yield Warned("locks-differ", unit.graph.names[entity], evidence)


def _lock_calls(graph: Graph, function: int, unit: Unit, shift: int) -> Counter[str]:
    """The lock functions that a function and its parts call, with how often."""
    home = unit.result.home
    rows = [row - shift for row, owner in home.items() if owner == function + shift]
    names = [name for row in (function, *rows) for name in _called(graph, row)]
    return Counter(name for name in names if _LOCKS.fullmatch(name))


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
