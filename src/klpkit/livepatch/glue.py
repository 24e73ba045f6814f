"""The C file that registers the patch with the kernel's live patching (`include/linux/livepatch.h`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from klpkit.livepatch.callbacks import MEMBERS
from klpkit.livepatch.model import PatchedObject
from klpkit.target import VMLINUX


@dataclass(frozen=True, slots=True)
class Glue:
    """What the glue says: the objects patched, namespaces imported, states (id, version), and `replace`."""

    objects: Sequence[PatchedObject]
    namespaces: Sequence[str] = ()
    states: Sequence[tuple[int, int]] = ()
    replace: bool = True


# Callbacks differ in what they return.
_RETURNS = {member: "int" if member == "pre_patch" else "void" for member in MEMBERS}


def glue_source(glue: Glue) -> str:
    """The text of the C file."""
    # Plain strings: loading and compiling a template would take longer than all else that is done here.
    numbered = list(enumerate(glue.objects, 1))
    parts = [_HEAD, *map(_declared, glue.objects), "\n"]
    parts += [_functions(number, each) for number, each in numbered]
    parts += ["static struct klp_object objects[] = {\n", *(_object(number, each) for number, each in numbered)]
    parts += ["\t{ }\n};\n\n", _states(glue), _patch(glue), _TAIL]
    parts += [f'MODULE_INFO(import_ns, "{namespace}");\n' for namespace in glue.namespaces]
    return "".join(parts)


_HEAD = """\
// SPDX-License-Identifier: GPL-2.0
/* Made by klpkit: tells the kernel which functions the other objects of this module replace. */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>

"""
_TAIL = """
static int __init klpkit_init(void)
{
\treturn klp_enable_patch(&patch);
}

static void __exit klpkit_exit(void)
{
}

module_init(klpkit_init);
module_exit(klpkit_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Live patch made by klpkit");
MODULE_INFO(livepatch, "Y");
"""


def _declared(patched: PatchedObject) -> str:
    lines = [f"extern void {function.symbol}(void);\n" for function in patched.functions]
    lines += [
        f"extern {_RETURNS[member]} {function}(struct klp_object *object);\n"
        for member, function in patched.callbacks
    ]
    return "".join(lines)


def _functions(number: int, patched: PatchedObject) -> str:
    rows = "".join(
        f'\t{{\n\t\t.old_name = "{function.name}",\n\t\t.new_func = {function.symbol},\n'
        f"\t\t.old_sympos = {function.sympos},\n\t}},\n"
        for function in patched.functions
    )
    return f"static struct klp_func functions_{number}[] = {{\n{rows}\t{{ }}\n}};\n\n"


def _object(number: int, patched: PatchedObject) -> str:
    name = f'\t\t.name = "{patched.name}",\n' if patched.name != VMLINUX else ""
    calls = "".join(f"\t\t\t.{member} = {function},\n" for member, function in patched.callbacks)
    callbacks = f"\t\t.callbacks = {{\n{calls}\t\t}},\n" if calls else ""
    return f"\t{{\n{name}\t\t.funcs = functions_{number},\n{callbacks}\t}},\n"


def _states(glue: Glue) -> str:
    rows = "".join(f"\t{{ .id = {number}, .version = {version} }},\n" for number, version in glue.states)
    return f"static struct klp_state states[] = {{\n{rows}\t{{ }}\n}};\n\n" if rows else ""


def _patch(glue: Glue) -> str:
    states = "\t.states = states,\n" if glue.states else ""
    replace = "true" if glue.replace else "false"
    members = f"\t.mod = THIS_MODULE,\n\t.objs = objects,\n{states}\t.replace = {replace},\n"
    return f"static struct klp_patch patch = {{\n{members}}};\n"
