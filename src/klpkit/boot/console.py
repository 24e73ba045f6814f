"""What a kernel prints when something went wrong.

The words are those of the kernel's own source: lib/bug.c and kernel/panic.c for warnings and oopses, mm/fault
handlers, kernel/rcu, kernel/watchdog.c, kernel/hung_task.c, lib/ubsan.c, mm/kasan, kernel/livepatch.
Taint bits are in Documentation/admin-guide/tainted-kernels.rst.
"""

from __future__ import annotations

import re

# Each at the start of a message, after the time stamp and the level that may stand before it.
_TROUBLES = re.compile(
    r"""
    ^(?:<\d+>)?(?:\[\s*\d+\.\d+\](?:\[\s*[CT]\d+\])?\s)?\s*(?:
        BUG:|WARNING:|Oops|kernel\ BUG\ at|Kernel\ panic|general\ protection|unable\ to\ handle|Unable\ to\ handle
        |double\ fault|stack\ guard\ page|invalid\ opcode|int3:|divide\ error|traps:\ .*\ trap
        |UBSAN:|KASAN:|KFENCE:|list_(?:add|del)\ corruption|refcount_t:
        |INFO:\ (?:task|rcu|lockdep|possible)|rcu:\ INFO|watchdog:\ BUG|CFI\ failure|Missing\ ENDBR|Call\ Trace:
        |livepatch:\ .*(?:fail|not\ found|unresolvable|invalid|error|unable|is\ ambiguous|mismatch)
        |module:\ .*(?:overflow|Unknown|Skipping\ invalid)|jump_label:\ Fatal|.*:\ disagrees\ about\ version
        |.*:\ Unknown\ symbol
    )
    """,
    re.VERBOSE,
)

# Taint bit → what it says.  Those that a live patch from outside the tree sets by rights are not here.
_TAINTS = {
    1: "a module was force-loaded",
    4: "the processor reported an error",
    5: "a page was bad",
    7: "the kernel died",
    9: "the kernel warned",
    14: "a processor was stuck",
}


def troubles(console: str, *, around: int = 12) -> list[str]:
    """The first trouble in `console` with the `around` lines after it; empty where there is none."""
    lines = console.splitlines()
    for number, line in enumerate(lines):
        if _TROUBLES.search(line):
            return [text.rstrip() for text in lines[number : number + around]]
    return []


def taints(bits: int) -> list[str]:
    """What the kernel's taint bits say; only those that mean trouble."""
    return [what for bit, what in _TAINTS.items() if bits >> bit & 1]
