"""System calls, whose functions a macro makes: `SYSCALL_DEFINE3(name, …)` (`include/linux/syscalls.h`).

A copy gets its name by way of the macro's first argument, and leaves out the metadata that tracing keeps of each
system call: there may be only one of that.
"""

from __future__ import annotations

import re

_DEFINE = re.compile(r"\b((?:COMPAT_)?SYSCALL_DEFINE\d)\s*\(\s*([A-Za-z_]\w*)")
NO_METADATA = "#undef SYSCALL_METADATA\n#define SYSCALL_METADATA(...)"


def call_of(text: str) -> str:
    """The name of the system call that `text` defines, "" where it defines none."""
    match = _DEFINE.search(text)
    return match[2] if match else ""


def copied_call(text: str, prefix: str) -> str:
    """`text` defining the call under a name with `prefix`."""
    return NO_METADATA + "\n" + _DEFINE.sub(rf"\1({prefix}\2", text, count=1)


def copied_name(function: str, call: str, prefix: str) -> str:
    """What the macro calls a function of the copy: `__x64_sys_klpp_kill` for `__x64_sys_kill`."""
    return function.removesuffix(call) + prefix + call
