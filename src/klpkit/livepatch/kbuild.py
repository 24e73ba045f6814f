"""The kernel's own build system makes a module of the glue and of objects that are finished already.

Prebuilt objects are handed over as `NAME.o_shipped`, which Kbuild copies (`Documentation/kbuild/makefiles.rst`).
Modpost reads a `.cmd` file beside each object for checksums of exports; ours export nothing.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from klpkit import programs
from klpkit.build.kbuild import llvm_variables, tree_compiler
from klpkit.elf import ElfObject
from klpkit.errors import EnvironmentLackError, RefusedError, UserError

TIME_LIMIT = 600.0
_VARIABLES = (
    # Klp symbols are not there until the relocations are converted; what else is not there is found then.
    "KBUILD_MODPOST_WARN=1",
    # No debug information: it would describe the glue alone.
    "KCFLAGS=-g0",
    "CONFIG_DEBUG_INFO_BTF_MODULES=",
    # Kernels without IBT run objtool on each object as it is compiled, which ours are already.
    "delay-objtool=y",
)
GLUE = "klpkit_glue"
# What make and Kbuild read from the environment; a caller's own build must not reach into this one.
_STRANGE = re.compile(
    r"^(MAKE|KBUILD_|MFLAGS|GNUMAKEFLAGS|KCFLAGS|KAFLAGS|KCPPFLAGS|ARCH$|CROSS_COMPILE$|M$|O$|V$|W$|C$)"
)


def link_module(
    name: str, glue: str, objects: Sequence[ElfObject], headers: Path, work: Path, cut: Collection[str] = ()
) -> Path:
    """Have the Kbuild of `headers` make the module `name` in the empty folder `work`.

    Returns the module's file.  `ProgramFailedError` where that fails; `RefusedError` where objtool says that it
    can't follow our code.  `cut` are functions in which a part is never reached, because its jump was taken out.
    """
    if not (headers / "Makefile").is_file():
        raise UserError(f"{headers}: no Makefile", hint="name the kernel's header package or build tree")
    try:
        _write_sources(name, glue, objects, work)
    except OSError as error:
        raise EnvironmentLackError(f"{work}: {error.strerror}", hint="make room, or set TMPDIR") from error
    done = _make(headers, work)
    text = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
    _refuse_objtool(text, cut)
    return work / f"{name}.ko"


def _write_sources(name: str, glue: str, objects: Sequence[ElfObject], work: Path) -> None:
    members = [f"{GLUE}.o"]
    (work / f"{GLUE}.c").write_text(glue)
    for number, model in enumerate(objects):
        member = f"unit{number}.o"
        (work / f"{member}_shipped").write_bytes(model.to_bytes())
        (work / f".{member}.cmd").write_text(f"savedcmd_{work / member} := cp\n")
        members.append(member)
    (work / "Makefile").write_text(f"obj-m := {name}.o\n{name}-y := {' '.join(members)}\n")


def _make(headers: Path, work: Path) -> programs.Completed:
    argv = ["make", "-C", str(headers), f"M={work}", *_VARIABLES, *_toolchain(headers), "modules"]
    # Temporary files of a compiler that is killed go with the folder.
    environment = {**clean_environment(os.environ), "TMPDIR": str(work)}
    try:
        return programs.run(argv, env=environment, timeout=TIME_LIMIT)
    except EnvironmentLackError as error:
        raise EnvironmentLackError(error.message, hint="apt-get install make") from error


def _toolchain(headers: Path) -> list[str]:
    """What tells Kbuild that the kernel was built with Clang: by itself it takes GCC."""
    config = headers / "include" / "config" / "auto.conf"
    text = config.read_text(errors="replace") if config.is_file() else ""
    if not re.search(r"^CONFIG_CC_IS_CLANG=y$", text, re.MULTILINE):
        return []
    compiler = clang_of(headers, text)
    return [f"CC={' '.join(compiler)}", *llvm_variables(text, compiler)]


def clang_of(headers: Path, config: str) -> tuple[str, ...]:
    """The Clang that a tree was prepared with; where its files do not name it, the one of that version."""
    known = tree_compiler(headers) if (headers / ".config").is_file() else ("",)
    if "clang" in Path(known[-1]).name:
        return known
    match = re.search(r"^CONFIG_CLANG_VERSION=(\d+)\d{4}$", config, re.MULTILINE)
    name = f"clang-{match[1]}" if match else "clang"
    return (name,) if shutil.which(name) else ("clang",)


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without what would change a kernel build."""
    kept = {name: value for name, value in environment.items() if not _STRANGE.match(name)}
    return {**kept, "LC_ALL": "C"}


# What objtool says of code that it can't follow; the module would have no unwind data for it.
_OBJTOOL = re.compile(r"^.*: (?:warning|error): objtool: (.*)$", re.MULTILINE)
_DEAD = re.compile(r"(\S+?)(?:\.cold)?\+0x[0-9a-f]+: unreachable instruction")
_HARMLESS = re.compile(
    # The glue names functions that no one calls indirectly: live patching returns to them.  A symbol under a klp
    # name hides that the function may be called with user access open.
    r"^functions_\d+\+\S+ data relocation to !ENDBR: klpp_|call to \.klp\.sym\.rela\.\S* with UACCESS enabled"
)


def objtool_complaints(text: str, cut: Collection[str] = ()) -> list[str]:
    """What objtool found wrong, but for what our own names of symbols and jumps taken out cause."""
    return [
        line
        for line in _OBJTOOL.findall(text)
        if not _HARMLESS.search(line) and not ((dead := _DEAD.match(line)) and dead[1] in cut)
    ]


def _refuse_objtool(text: str, cut: Collection[str]) -> None:
    complaints = objtool_complaints(text, cut)
    if complaints:
        raise RefusedError(
            "objtool-complaint",
            f"objtool can't follow the code of the module: {complaints[0]}",
            hint="change the patch so that the kernel's own build of it has no such warning",
        )
