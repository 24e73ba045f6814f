"""Patched functions that a person should think about before loading: locks, and functions that never return.

The transition of a live patch waits until no task sleeps in a patched function ("Consistency model" in
`Documentation/livepatch/livepatch.rst` of the kernel); old and new code run side by side until then.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from klpkit.build import Pair
from klpkit.elf import ElfFile
from klpkit.livepatch import LivePatch, Warned

if TYPE_CHECKING:
    from pathlib import Path

# Functions that are on the stack of some task at nearly any time; a table, from kernels' own idle stacks.
_ON_STACKS = """
    schedule __schedule schedule_timeout schedule_hrtimeout_range schedule_hrtimeout_range_clock schedule_idle
    preempt_schedule preempt_schedule_common preempt_schedule_irq io_schedule io_schedule_timeout
    kthread kthread_worker_fn smpboot_thread_fn worker_thread rescuer_thread kthreadd ret_from_fork
    do_idle cpu_startup_entry rest_init kernel_init kswapd kcompactd khugepaged ksm_scan_thread oom_reaper
    rcu_gp_kthread rcu_nocb_gp_kthread rcu_nocb_cb_kthread rcu_tasks_kthread kauditd_thread watchdog
    migration_cpu_stop devtmpfsd khungtaskd kjournald2 jbd2_journal_thread io_wq_worker io_sq_thread
    do_wait __do_wait do_select core_sys_select do_sys_poll do_poll do_epoll_wait ep_poll futex_wait_queue
    futex_wait do_futex __x64_sys_futex hrtimer_nanosleep do_nanosleep do_sigtimedwait pipe_read wait_woken
    do_syscall_64 x64_sys_call syscall_exit_to_user_mode
"""
ON_STACKS = frozenset(_ON_STACKS.split())
_LOCK = re.compile(
    r"_?_?raw_(spin|read|write)_|_?_?(mutex|rt_mutex|ww_mutex)_|(down|up)(_read|_write|_interruptible|_killable)?"
    r"|_?_?rcu_read_(un)?lock|_?_?srcu_read_|(un)?lock_page|__?lock_(page|buffer)|percpu_(down|up)_"
    r"|(read|write)_seq|_?_?local_bh_(dis|en)able|queued_(spin|read|write)_|lock_sock|release_sock"
)


def watched(livepatch: LivePatch, pairs: Sequence[Pair]) -> Iterator[Warned]:
    """Warnings about the functions that `livepatch`, made from `pairs`, replaces."""
    for patched in livepatch.objects:
        for function in patched.functions:
            if function.name.split(".")[0] in ON_STACKS:
                evidence = "some task sleeps in it nearly always: the transition may wait long or for ever"
                yield Warned("always-on-stack", function.name, evidence)
    names = {function.name for each in livepatch.objects for function in each.functions}
    for pair in pairs:
        yield from _locks(pair, names)


def _locks(pair: Pair, names: Iterable[str]) -> Iterator[Warned]:
    """Functions whose calls of locking functions are others than before."""
    before, after = _lock_calls(pair.original), _lock_calls(pair.patched)
    for name in sorted(names):
        if name not in before or name not in after:
            continue
        gained, lost = after[name] - before[name], before[name] - after[name]
        if gained or lost:
            parts = [f"{lock} {count} more" for lock, count in sorted(gained.items())]
            parts += [f"{lock} {count} fewer" for lock, count in sorted(lost.items())]
            evidence = f"calls {', '.join(parts)}: old and new code hold different locks until the transition ends"
            yield Warned("locks-changed", name, evidence)


def _lock_calls(path: Path) -> dict[str, Counter[str]]:
    """For each function with a section of its own: the locking functions that it refers to, and how often."""
    elf = ElfFile.open(path)
    found: dict[str, Counter[str]] = {}
    for index in elf.relocation_sections:
        table = elf.relocations(index)
        section = elf.sections.names[table.target]
        if not section.startswith(".text."):
            continue
        names = (elf.symbols.names[symbol] for symbol in table.symbol.tolist())
        found[section.removeprefix(".text.")] = Counter(name for name in names if _LOCK.match(name))
    return found
