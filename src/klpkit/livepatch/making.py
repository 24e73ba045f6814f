"""From pairs of objects to a verified module: the order of the steps."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from klpkit.elf import ElfObject
from klpkit.elf import constants as c
from klpkit.elf.writer import write_whole
from klpkit.errors import UserError
from klpkit.livepatch.glue import Glue, glue_source
from klpkit.livepatch.kbuild import link_module
from klpkit.livepatch.klprela import KlpReference, write_klp_relocations
from klpkit.livepatch.model import Kind, LivePatch, PairLike
from klpkit.livepatch.planning import Plan, plan_module
from klpkit.livepatch.verify import verify
from klpkit.target import Target

_NAME = re.compile(r"[A-Za-z0-9_]{1,55}")


def make_module(
    pairs: Sequence[PairLike],
    target: Target,
    headers: Path,
    out: Path,
    *,
    name: str = "",
    replace: bool = True,
) -> LivePatch:
    """Build the live patch for `pairs` with the Kbuild of `headers` and put it at `out`, verified.

    `headers` is a header package or a build tree.  `name` is the module's name (by default that of `out`),
    `replace` whether it replaces all live patches before it.  `RefusedError` with a slug where the patch can't be
    carried; then nothing is written.
    """
    plan = plan_module(pairs, target)
    name = module_name(name or out.name)
    with tempfile.TemporaryDirectory(prefix="klpkit-module-") as folder:
        return _built(plan, name, headers.absolute(), out, Path(folder), replace)


def _built(plan: Plan, name: str, headers: Path, out: Path, work: Path, replace: bool) -> LivePatch:
    glue = glue_source(Glue(plan.objects, sorted(plan.kernel.namespaces), plan.states, replace))
    _show_callbacks(plan)
    module = ElfObject.read(link_module(name, glue, plan.carved, headers, work, plan.cut()))
    references = tuple(plan.kernel.references.values())
    klp = [reference for reference in references if reference.kind is Kind.KLP]
    write_klp_relocations(
        module, [KlpReference(r.symbol, r.patched_object, r.object, r.name, r.sympos) for r in klp]
    )
    content = module.to_bytes()
    verify(content, out, plan.objects, plan.target)
    write_whole(out, content)
    return LivePatch(out, name, tuple(plan.objects), references, plan.new(), tuple(plan.warnings), len(content))


def _show_callbacks(plan: Plan) -> None:
    """Make the callbacks visible to the glue."""
    wanted = {function for each in plan.objects for _, function in each.callbacks}
    for carved in plan.carved:
        for symbol in carved.symbols:
            if symbol.section is not None and symbol.name in wanted:
                symbol.bind = c.STB_GLOBAL


def module_name(name: str) -> str:
    """`name` as the kernel takes it: without `.ko`, dashes as underscores."""
    found = name.removesuffix(".ko").replace("-", "_")
    if not _NAME.fullmatch(found):
        raise UserError(f"{name}: no name for a module", hint="use letters, digits, dashes and underscores")
    return found
