"""Code that must not be live-patched, by the section or the part of an image that holds it.

From `include/asm-generic/vmlinux.lds.h`, the section attributes in `include/linux/init.h`, `compiler_types.h`
and `asm-generic/kprobes.h`, and the architectures' linker scripts.  `docs/reasons.md` explains each slug.

`.sched.text`, `.spinlock.text`, `.irqentry.text`, `.softirqentry.text` and `.ref.text` are ordinary traced code
and not in this table.  Whatever is here or not, a function without an ftrace location can't be patched either.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """Code in sections called `section`, or that with a dot or plus after it, is refused with `slug`.

    `unless_traced`: older kernels trace such code and it can be patched there.  `start` and `end` are the
    symbols that bound the same code in a linked image, where it has no section of its own.
    """

    section: str
    slug: str
    unless_traced: bool = False
    start: str = ""
    end: str = ""


RULES = (
    Rule(".init.text", "init-code", start="_sinittext", end="_einittext"),
    Rule(".text.startup", "init-code"),
    Rule(".inittext", "init-code"),
    Rule(".meminit.text", "init-code"),
    Rule(".cpuinit.text", "init-code"),
    Rule(".devinit.text", "init-code"),
    Rule(".exit.text", "exit-code"),
    Rule(".text.exit", "exit-code"),
    Rule(".memexit.text", "exit-code"),
    Rule(".cpuexit.text", "exit-code"),
    Rule(".devexit.text", "exit-code"),
    Rule(".head.text", "boot-code", start="_head", end="_ehead"),
    Rule(".bstext", "boot-code"),
    Rule(".boot.text", "boot-code"),
    Rule(".xiptext", "boot-code"),
    Rule(".cpuidle.text", "noinstr-code", True, "__cpuidle_text_start", "__cpuidle_text_end"),
    Rule(".noinstr.text", "noinstr-code", start="__noinstr_text_start", end="__noinstr_text_end"),
    Rule(".kprobes.text", "kprobes-code", True, "__kprobes_text_start", "__kprobes_text_end"),
    Rule(".entry.text", "entry-code", start="__entry_text_start", end="__entry_text_end"),
    Rule(".entrytext", "entry-code"),
    Rule(".idmap.text", "identity-mapped-code", start="__idmap_text_start", end="__idmap_text_end"),
    Rule(".mmuoff.text", "identity-mapped-code"),
    Rule(".hibernate_exit.text", "identity-mapped-code"),
    Rule(".hyp.text", "hypervisor-code", start="__hyp_text_start", end="__hyp_text_end"),
    Rule(".hyp.idmap.text", "hypervisor-code", start="__hyp_idmap_text_start", end="__hyp_idmap_text_end"),
    Rule(".static_call.text", "trampoline-code", start="__static_call_text_start", end="__static_call_text_end"),
    Rule(".text.ftrace_trampoline", "trampoline-code"),
    Rule(".text..__x86", "trampoline-code", start="__indirect_thunk_start", end="__indirect_thunk_end"),
    Rule(".fixup", "fixup-code"),
    Rule(".text.fixup", "fixup-code"),
    Rule(".altinstr_replacement", "alternative-code"),
    Rule(".altinstr_aux", "alternative-code"),
    Rule("__ksymtab", "export-table"),
    Rule("__ksymtab_gpl", "export-table"),
    Rule("__ksymtab_strings", "export-table"),
    Rule("__kcrctab", "export-table"),
)

SLUGS = tuple(sorted({rule.slug for rule in RULES}))


def forbidden_section(name: str, traced: bool | None) -> str:
    """The slug for code in a section called `name`, empty where it may be patched.

    With `-ffunction-sections` the function's name follows: `.text.startup.f` is `f` in `.text.startup`.
    """
    for rule in RULES:
        same = name == rule.section or name.startswith((f"{rule.section}.", f"{rule.section}+"))
        if same and not (rule.unless_traced and traced):
            return rule.slug
    return ""


def forbidden_in_image(inside: dict[str, int], address: int, traced: bool | None) -> str:
    """The slug for code at `address` of a linked image whose boundary symbols are at `inside`, else empty."""
    for rule in RULES:
        start, end = inside.get(rule.start), inside.get(rule.end)
        within = start is not None and end is not None and start <= address < end
        if within and not (rule.unless_traced and traced):
            return rule.slug
    return ""


def boundary_symbols() -> frozenset[str]:
    """The names of all symbols that bound such code in an image."""
    return frozenset(name for rule in RULES for name in (rule.start, rule.end) if name)
