"""The C file that registers the patch with the kernel's live patching (`include/linux/livepatch.h`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jinja2

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
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("klpkit.livepatch"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template("glue.c.j2").render(glue=glue, vmlinux=VMLINUX, returns=_RETURNS)
