"""Static keys, static calls and tracepoints of modules in a draft.

Their tables (`__jump_table`, `.static_call_sites`) are read when the patch loads, before references to a module
that may come later are resolved.  So a draft that uses one asks all keys as data, and has tracepoints call what
iterates over their probes: what a kernel without jump labels and static calls does
(`include/linux/jump_label.h`, `include/linux/tracepoint.h`).
"""

from __future__ import annotations

AS_DATA = """\
/* Keys and static calls of a module can't be patched into the code of a live patch: they are asked as data. */
#include <linux/jump_label.h>
#include <linux/tracepoint.h>
#undef static_branch_likely
#define static_branch_likely(x) likely(static_key_count(&(x)->key) > 0)
#undef static_branch_unlikely
#define static_branch_unlikely(x) unlikely(static_key_count(&(x)->key) > 0)
#define static_key_true(key) likely(static_key_count(key) > 0)
#define static_key_false(key) unlikely(static_key_count(key) > 0)
#ifdef __DO_TRACE_CALL
#undef __DO_TRACE_CALL
#define __DO_TRACE_CALL(name, args) __traceiter_##name(NULL, args)
#endif"""
"""Comes before whatever else a draft includes."""
