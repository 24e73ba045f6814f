"""The folder that is handed over: one C file a unit, the glue that registers the patch, klpkit.h, a Makefile."""

from __future__ import annotations

import re
import shlex
import shutil
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from klpkit.errors import UserError
from klpkit.extract.making import UnitDraft
from klpkit.extract.unitsource import QUIET
from klpkit.livepatch import INCLUDE, PatchedFunction, PatchedObject
from klpkit.livepatch.glue import Glue, glue_source
from klpkit.target import VMLINUX

HEADER = "klpkit.h"
GLUE = "glue"
_STARS: Any = {"initial_indent": " * ", "subsequent_indent": " * "}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One patched function: why it is in, and whether the kernel has code of its own for it to be replaced."""

    name: str
    why: str
    sympos: int = 0
    replaced: bool = True


def write_package(
    drafts: Sequence[tuple[UnitDraft, Sequence[Wanted]]],
    folder: Path,
    name: str,
    *,
    release: str,
    source: Path,
    force: bool = False,
) -> list[Path]:
    """Write everything into `folder` and return the files, the C files first.

    `release` is the kernel's, `source` the root of its source.  Raises `UserError` where the folder holds files
    that would be overwritten, unless `force` allows it.
    """
    texts = {f"{stem}.c": _c_file(draft, wanted, release, source) for stem, draft, wanted in _stems(drafts)}
    texts[f"{GLUE}.c"] = glue_source(Glue(_objects(drafts)))
    texts["Makefile"] = _makefile(name, _stems(drafts), source)
    present = sorted(file for file in [*texts, HEADER] if (folder / file).exists())
    if present and not force:
        raise UserError(
            f"{folder} already has {', '.join(present)}", hint="name a new folder, or allow it with --force"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (folder / file).write_text(text, errors="surrogateescape")
    shutil.copyfile(INCLUDE / HEADER, folder / HEADER)
    return [folder / file for file in [*texts, HEADER]]


_Stems = Iterator[tuple[str, UnitDraft, Sequence[Wanted]]]


def _stems(drafts: Sequence[tuple[UnitDraft, Sequence[Wanted]]]) -> _Stems:
    """A file name for each draft: its source's, numbered where two units have the same."""
    seen: dict[str, int] = defaultdict(int)
    for draft, wanted in drafts:
        stem = draft.unit.source.stem.replace("-", "_")
        seen[stem] += 1
        taken = seen[stem] > 1 or stem == GLUE
        yield f"{stem}_{seen[stem]}" if taken else stem, draft, wanted


def _c_file(draft: UnitDraft, wanted: Sequence[Wanted], release: str, source: Path) -> str:
    lines = [
        "/* SPDX-License-Identifier: GPL-2.0 */",
        "/*",
        f" * Live patch for {draft.home}{f' of {release}' if release else ''}, extracted by klpkit from",
        f" * {_relative(draft.unit.source, source)}.",
        " *",
    ]
    for function in wanted:
        new = draft.functions.get(function.name, function.name)
        text = f"{new}: {function.why}"
        lines += textwrap.wrap(text, 100, initial_indent=" * - ", subsequent_indent=" *   ")
    if draft.copied:
        text = "Copied, since the kernel has no code of theirs to call: " + ", ".join(draft.copied) + "."
        lines += [" *", *textwrap.wrap(text, 100, **_STARS)]
    if draft.anew:
        text = "What is said once or at a limited rate (printk_once and its like) starts anew in: "
        lines += [" *", *textwrap.wrap(f"{text}{', '.join(draft.anew)}.", 100, **_STARS)]
    # Headers offer modules less, and other code; Kbuild's own options come after all that a Makefile can say.
    built_in = ["#undef MODULE"] if draft.home == VMLINUX else []
    if draft.module_name:
        built_in += ["#undef KBUILD_MODNAME", f"#define KBUILD_MODNAME {draft.module_name}"]
    return "\n".join([*lines, " */", *built_in, draft.text])


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def _objects(drafts: Sequence[tuple[UnitDraft, Sequence[Wanted]]]) -> list[PatchedObject]:
    functions: dict[str, list[PatchedFunction]] = defaultdict(list)
    for draft, wanted in drafts:
        functions[draft.home] += [
            PatchedFunction(each.name, each.sympos, draft.functions[each.name]) for each in wanted if each.replaced
        ]
    return [PatchedObject(name, tuple(found)) for name, found in functions.items()]


_MAKEFILE = """\
# make            builds the module and resolves its references; klpkit must be on PATH
# KERNEL          the kernel's header package or build tree
# SOURCE          the kernel's source, whose private headers the patch includes
# TARGET          options that name the running kernel to klpkit convert
KERNEL ?= /lib/modules/$(shell uname -r)/build
SOURCE ?= {source}
TARGET ?= --image /boot/vmlinuz-$(shell uname -r) --modules /lib/modules/$(shell uname -r)

obj-m := {name}.o
{name}-y := {members}
ccflags-y += -I$(src) {quiet}
{flags}

ifeq ($(KERNELRELEASE),)
all:
\t$(MAKE) -C $(KERNEL) M=$(CURDIR) SOURCE=$(SOURCE) KBUILD_MODPOST_WARN=1 modules
\tklpkit convert {name}.ko $(TARGET)
clean:
\t$(MAKE) -C $(KERNEL) M=$(CURDIR) clean
.PHONY: all clean
endif
"""


# What Kbuild gives to every module itself: the kernel's header folders, and these macros.
_COMMON = re.compile(r"(arch/\w+/)?include(/|$)")
_KBUILD = re.compile(r"-D(__KERNEL__|MODULE|CC_USING_\w+|_*KBUILD_\w+)(=|$)")


def own_flags(file: Path, arguments: Sequence[str], source: Path) -> list[str]:
    """Where `file` looks for headers, and the macros that its own Makefile defines, from its whole command line.

    Folders are those below `source`, written as `$(SOURCE)/…`.
    """
    flags = [f"-iquote $(SOURCE)/{Path(_relative(file, source)).parent}"]
    for index, word in enumerate(arguments):
        if word.startswith("-I"):
            folder = Path(word[2:] or arguments[index + 1])
            inside = _relative(folder, source) if folder.is_relative_to(source) else ""
            if inside and not _COMMON.match(inside):
                flags.append(f"-I$(SOURCE)/{inside}")
        elif word.startswith("-D") and len(word) > 2 and not _KBUILD.match(word):
            flags.append(shlex.quote(word).replace("$", "$$").replace("#", "\\#"))
    return list(dict.fromkeys(flags))


def _makefile(name: str, stems: _Stems, source: Path) -> str:
    files: Mapping[str, UnitDraft] = {stem: draft for stem, draft, _ in stems}
    flags = [
        f"CFLAGS_{stem}.o := {' '.join(own_flags(draft.unit.source, draft.unit.arguments, source))}"
        for stem, draft in files.items()
    ]
    members = " ".join(f"{stem}.o" for stem in [GLUE, *files])
    return _MAKEFILE.format(
        name=name, source=source, members=members, quiet=" ".join(QUIET), flags="\n".join(flags)
    )
