"""What a linker and a kernel make of each section of an object: a table, not branches.

Sources: `include/asm-generic/vmlinux.lds.h`, `scripts/module.lds.S` and the structures that each section holds
(`asm/bug.h`, `asm/alternative.h`, `linux/jump_label.h`, `asm/extable.h`, `linux/dynamic_debug.h`, …).  An entry's
size differs between kernel versions: an object's own `sh_entsize` counts first, then the sizes here are tried on
the places of the relocations.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from klpkit.elf import constants as c


class Role(IntEnum):
    """What the contents of a section are to a live patch."""

    TEXT = 0
    """Functions."""
    DATA = 1
    """State: its initialisers have run and its contents have moved on."""
    RODATA = 2
    """Constants: code may be given new ones."""
    STRINGS = 3
    """NUL-ended literals that a linker merges."""
    CONSTANTS = 4
    """Pools of equal-sized constants: merge sections, tables of contents."""
    SITES = 5
    """One entry a place in code; entries travel with the code that they describe."""
    PIECES = 6
    """Code without functions of its own: alternatives, fixups."""
    REGISTRY = 7
    """Entries that take effect when a kernel boots or a module loads, and never again."""
    INFORMATION = 8
    """Read by people or tools only: differences are told, nothing depends on them."""
    DROPPED = 9
    """Not in the running kernel: debug information, linker notes."""
    UNKNOWN = 10
    """Nobody has said what it is."""


@dataclass(frozen=True, slots=True)
class Line:
    """Where an entry keeps a line number: `size` bytes at `offset`, `bits` of them; low bits unless big endian.

    `strings` are the offsets of the relocations that show that the entry has this shape.
    """

    offset: int
    size: int
    bits: int
    entry: int
    strings: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Special:
    """One row: sections called `name` (or that begin with it, where it ends in `*`).

    `entries` are the entry sizes in bytes to try; empty means that symbols and references bound them.  `partner`
    names the section whose entry of the same number belongs to it.  `slug` is the reason when a change of it
    stands in the way.  With `from_entry` places count from the start of their entry and not from their field
    (ppc feature fixups); `ends` are the fields with the place *behind* the last byte of what is meant.
    """

    name: str
    role: Role
    entries: tuple[int, ...] = ()
    lines: tuple[Line, ...] = ()
    partner: str = ""
    slug: str = ""
    from_entry: bool = False
    ends: tuple[int, ...] = ()


_BUG = (Line(8, 2, 16, 12, (0, 4)), Line(16, 2, 16, 24, (0, 8)), Line(12, 2, 16, 16, (0, 4, 8)))
_DESCRIPTOR = (Line(32, 4, 18, 56, (0, 8, 16, 24)), Line(32, 4, 18, 40, (0, 8, 16, 24)))
_PRINTK = (Line(24, 4, 32, 44, (0, 8, 16)), Line(24, 4, 32, 48, (0, 8, 16)))

_ROWS = (
    # Sites in code.
    Special("__bug_table", Role.SITES, (12, 16, 24, 8, 6), _BUG),
    Special("__ex_table", Role.SITES, (12, 8, 16)),
    Special("__jump_table", Role.SITES, (16, 24, 12)),
    Special(".altinstructions", Role.SITES, (12, 14, 13, 16)),
    Special(".static_call_sites", Role.SITES, (8,)),
    Special(".static_call_tramp_key", Role.SITES, (8,)),
    Special(".smp_locks", Role.SITES, (4, 8)),
    Special(".retpoline_sites", Role.SITES, (4,)),
    Special(".return_sites", Role.SITES, (4,)),
    Special(".call_sites", Role.SITES, (4,)),
    Special(".ibt_endbr_seal", Role.SITES, (4,)),
    Special(".cfi_sites", Role.SITES, (4,)),
    Special(".tramp_call_sites", Role.SITES, (4,)),
    Special(".kcfi_traps", Role.SITES, (4,)),
    Special(".runtime_*", Role.SITES, (4,)),
    Special(".parainstructions", Role.SITES, (16, 12, 8)),
    Special(".orc_unwind_ip", Role.SITES, (4,), partner=".orc_unwind"),
    Special(".orc_unwind", Role.DROPPED),
    Special("__mcount_loc", Role.SITES, (8,)),
    Special("__patchable_function_entries", Role.SITES, (8,)),
    Special("_kprobe_blacklist", Role.SITES, (8,)),
    Special(".s390_indirect*", Role.SITES, (4,)),
    Special(".s390_return*", Role.SITES, (4,)),
    Special("__ftr_fixup", Role.SITES, (48, 40), from_entry=True, ends=(24, 40)),
    Special("__mmu_ftr_fixup", Role.SITES, (48, 40), from_entry=True, ends=(24, 40)),
    Special("__fw_ftr_fixup", Role.SITES, (48, 40), from_entry=True, ends=(24, 40)),
    Special("__lwsync_fixup", Role.SITES, (8, 4)),
    Special("__barrier_nospec_fixup", Role.SITES, (8, 4)),
    Special("__btb_flush_fixup", Role.SITES, (16, 8), from_entry=True, ends=(8,)),
    Special("__spec_barrier_fixup", Role.SITES, (8, 4)),
    Special("__stf_*_fixup", Role.SITES, (8, 4)),
    Special("__rfi_flush_fixup", Role.SITES, (8, 4)),
    Special("__uaccess_flush_fixup", Role.SITES, (8, 4)),
    Special("__entry_flush_fixup", Role.SITES, (8, 4)),
    Special("__scv_entry_flush_fixup", Role.SITES, (8, 4)),
    # Code that functions go through.
    Special(".altinstr_replacement", Role.PIECES),
    Special(".altinstr_aux", Role.PIECES),
    Special(".fixup", Role.PIECES),
    Special("__ftr_alt_*", Role.PIECES),
    # Records that code refers to.
    Special("__dyndbg", Role.RODATA, lines=_DESCRIPTOR),
    Special("__verbose", Role.RODATA, lines=_DESCRIPTOR),
    Special("__dyndbg_classes", Role.RODATA),
    Special("__tracepoints", Role.DATA),
    Special("__tracepoints_strings", Role.RODATA),
    Special("_ftrace_annotated_branch", Role.RODATA),
    Special("_ftrace_branch", Role.RODATA),
    Special(".toc", Role.CONSTANTS, (8,)),
    Special(".got", Role.CONSTANTS, (8,)),
    # What boot or module load reads once.
    Special(".initcall*", Role.REGISTRY, (4, 8), slug="init-code"),
    Special(".exitcall*", Role.REGISTRY, (8,), slug="init-code"),
    Special(".con_initcall*", Role.REGISTRY, (4, 8), slug="init-code"),
    Special(".init.setup", Role.REGISTRY, (24,), slug="registration"),
    Special("__param", Role.REGISTRY, (40,), slug="registration"),
    Special("__modver", Role.REGISTRY, (72,), slug="registration"),
    Special("__tracepoints_ptrs", Role.REGISTRY, (4, 8), slug="registration"),
    Special("__bpf_raw_tp_map", Role.REGISTRY, (32,), slug="registration"),
    Special("_ftrace_events", Role.REGISTRY, (8,), slug="registration"),
    Special("_ftrace_eval_map", Role.REGISTRY, (8,), slug="registration"),
    Special("__syscalls_metadata", Role.REGISTRY, (8,), slug="registration"),
    Special("_error_injection_whitelist", Role.REGISTRY, (16, 8), slug="registration"),
    Special("___ksymtab*", Role.REGISTRY, slug="export"),
    Special("___kcrctab*", Role.REGISTRY, slug="export"),
    Special("__ksymtab*", Role.REGISTRY, slug="export"),
    Special("__kcrctab*", Role.REGISTRY, slug="export"),
    Special("__ksymtab_strings", Role.STRINGS),
    Special(".export_symbol", Role.DROPPED),
    Special(".BTF_ids", Role.REGISTRY, slug="registration"),
    # What a patch module has of its own.
    Special(".modinfo", Role.INFORMATION, slug="module-information"),
    Special("__versions*", Role.INFORMATION, slug="module-information"),
    Special(".gnu.linkonce.this_module", Role.INFORMATION, slug="module-information"),
    Special(".kpatch.callbacks.*", Role.INFORMATION, slug="patch-callback"),
    Special(".klp.callbacks.*", Role.INFORMATION, slug="patch-callback"),
    Special(".init.ramfs*", Role.INFORMATION, slug="initramfs"),
    Special(".printk_index", Role.INFORMATION, (8, 4), slug="printk-index"),
    # Not in the running kernel.
    Special(".discard*", Role.DROPPED),
    Special(".comment", Role.DROPPED),
    Special(".note*", Role.DROPPED),
    Special(".eh_frame*", Role.DROPPED),
    Special(".sframe", Role.DROPPED),
    Special(".debug*", Role.DROPPED),
    Special(".llvm_addrsig", Role.DROPPED),
    Special(".llvm.call-graph-profile", Role.DROPPED),
    Special(".stab*", Role.DROPPED),
    Special(".gnu.warning*", Role.DROPPED),
)

# Data sections whose objects keep a line number, told by the objects' shape and by who points to them.
PRINTK_ENTRY = _PRINTK

_READ_ONLY = (".rodata", ".data.rel.ro", ".srodata", ".init.rodata", ".lrodata", ".rodata1", ".gcc_except_table")
_WRITABLE = (
    ".data", ".bss", ".sdata", ".sbss", ".tdata", ".tbss", ".ldata", ".lbss", ".ref.data", ".init.data",
    ".exit.data", ".meminit.data", ".devinit.data", ".cpuinit.data", ".init_array", ".fini_array",
)  # fmt: skip

_EXACT = {row.name: row for row in _ROWS if "*" not in row.name}
_STARRED = sorted((row for row in _ROWS if "*" in row.name), key=lambda row: -len(row.name))
_ORDINARY = (".text", ".rodata", ".data", ".bss", ".init.text", ".init.data", ".init.rodata", ".rela")


@lru_cache(maxsize=4096)
def special(name: str) -> Special | None:
    """The table's row for sections called `name`, None for an ordinary section: the longest name that fits."""
    row = _EXACT.get(name)
    if row is not None or name.startswith(_ORDINARY):
        return row
    for end in range(len(name) - 1, 0, -1):
        if name[end] in ".+" and name[:end] in _EXACT:
            return _EXACT[name[:end]]
    for row in _STARRED:
        head, _, tail = row.name.partition("*")
        if name.startswith(head) and name.endswith(tail):
            return row
    return None


@lru_cache(maxsize=65536)
def role(name: str, kind: int, flags: int) -> Role:
    """The role of a section with this name, type and flags."""
    row = special(name)
    if row is not None:
        return row.role
    if not flags & c.SHF_ALLOC:
        return Role.DROPPED
    if flags & c.SHF_EXECINSTR:
        return Role.TEXT
    if flags & c.SHF_MERGE and not flags & c.SHF_WRITE:
        return Role.STRINGS if flags & c.SHF_STRINGS else Role.CONSTANTS
    if _begins(name, _READ_ONLY):
        return Role.RODATA
    if kind == c.SHT_NOBITS or _begins(name, _WRITABLE):
        return Role.DATA
    return Role.UNKNOWN


def _begins(name: str, heads: tuple[str, ...]) -> bool:
    return any(name == head or name.startswith(head + ".") for head in heads)
