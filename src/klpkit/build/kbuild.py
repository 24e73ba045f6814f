"""Commands from Kbuild itself, for a tree that was prepared but holds no record of a source.

Kbuild is run in a copy of what `make modules_prepare` left behind, with a compiler of the same name first on PATH
that preprocesses where it should compile: Kbuild then writes the `.cmd` file with command and headers, in about a
second, and neither the tree nor its configuration is touched.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from klpkit import programs
from klpkit.build.cmdfile import read_head, read_unit
from klpkit.build.command import TranslationUnit, split_compiler
from klpkit.build.kbuildcopy import prepared_copy
from klpkit.build.kbuildseen import Seen
from klpkit.build.owners import VMLINUX
from klpkit.build.shellwords import ShellTrickError, split_words
from klpkit.cachedir import atomic_write
from klpkit.errors import EnvironmentLackError, FormatError, UserError

_TIME_LIMIT = 900.0
# Targets of one call of Make: a call that is interrupted or runs out of time loses no more than these.
_AT_ONCE = 200

# Stands in for the compiler: a compilation of kernel code becomes a preprocessor run, which writes the same list
# of headers, and an object with nothing in it.  Everything else (feature probes above all) is the real compiler's.
_STAND_IN = """#!/bin/sh
real={real}
case " $* " in
*" -DKBUILD_MODNAME="*" -c "*) ;;
*) exec $real "$@" ;;
esac
object= skip= count=$#
while [ "$count" -gt 0 ]; do
    word=$1; shift; count=$((count - 1))
    if [ -n "$skip" ]; then object=$word; skip=; continue; fi
    case $word in
    -o) skip=1 ;;
    -c) ;;
    *) set -- "$@" "$word" ;;
    esac
done
role=none
case " $KLPKIT_BUILT_IN " in *" $object "*) role=vmlinux ;; esac
case " $KLPKIT_MODULES " in *" $object "*) role="module $KLPKIT_MODULE" ;; esac
printf '%s\n' "$role" $KLPKIT_MAKEFILES >"$object.role"
[ "$role" != none ] || exit 1
$real "$@" -E -MT "$object" >/dev/null || exit
exec $real -c -x c /dev/null -o "$object"
"""
# Make variables that reach the stand-in through the environment of its recipe.  Each Make that leads there adds
# what it has read to the list of makefiles.
_ROLES = (
    "export KLPKIT_BUILT_IN = $(real-obj-y) $(lib-y) $(extra-y)",
    "export KLPKIT_MODULES = $(real-obj-m)",
    "export KLPKIT_MODULE = $(modfile)",
    "export KLPKIT_MAKEFILES += $(abspath $(filter-out %.cmd,$(MAKEFILE_LIST)))",
)


class NotBuiltError(UserError):
    """The configuration does not build a source."""


def commands_from_kbuild(
    build: Path, source: Path | None, sources: Sequence[str], *, skip_unbuilt: bool = False
) -> list[TranslationUnit]:
    """The units of `sources` (paths relative to the source tree) as Kbuild would compile them for `build`.

    Raises `UserError` where `build` is not prepared, `NotBuiltError` where this configuration does not build one
    of the sources unless `skip_unbuilt` leaves it out, `EnvironmentLackError` where the compiler is missing.
    """
    source = _prepared(build, source)
    targets = [str(Path(name).with_suffix(".o")) for name in sources]
    seen = Seen(source)
    with prepared_copy(build, source) as scratch:
        units = {target: _known(build, _record(scratch, target), target, seen) for target in targets}
        missing = [target for target, unit in units.items() if unit is None]
        if skip_unbuilt:
            missing = [target for target in missing if not _known_unbuilt(scratch, target, seen)]
        begun = time.time_ns()
        _ask_all(scratch, source, tree_compiler(build), missing, skip_unbuilt)
        for target in missing:
            record = _record(scratch, target)
            built = record.exists() and _is_built(record, target)
            units[target] = unit = _unit(build, record, target) if built or not skip_unbuilt else None
            seen.note(_mark(record, target), _read_for(unit, record, target, seen), begun)
    return [unit for target in targets if (unit := units[target]) is not None]


def _prepared(build: Path, source: Path | None) -> Path:
    """The source tree, which must be there and `build` be prepared for it."""
    if source is None or not (source / "scripts" / "Makefile.build").is_file():
        raise UserError(
            f"{build}: no kernel source to ask for commands", hint="name the source tree with --source"
        )
    if not (build / "include" / "config" / "auto.conf").is_file():
        hint = f"run make -C {source} O={build} olddefconfig modules_prepare"
        raise UserError(f"{build}: not a prepared kernel build tree", hint=hint)
    return source


def _known(build: Path, record: Path, target: str, seen: Seen) -> TranslationUnit | None:
    """The unit of a `.cmd` file that Kbuild left in the copy, while nothing has changed that it was made of."""
    head = read_head(record) if record.exists() else None
    if head is None or not head.source or not _role(record.parent, target):
        return None
    unit = _unit(build, record, target)
    return unit if seen.holds(_mark(record, target), _read_for(unit, record, target, seen)) else None


def _read_for(unit: TranslationUnit | None, record: Path, target: str, seen: Seen) -> list[Path]:
    """The files that decide what Kbuild says of `target`; `unit` is None where that is not built."""
    files = [unit.source, *unit.headers] if unit else []
    # A new Makefile or Kbuild takes the place of what was read.
    return [*files, *seen.makefiles(target), *_noted(record.parent, target)[1]]


def _mark(record: Path, target: str) -> Path:
    return record.with_name(f"{Path(target).name}.seen")


def tree_compiler(build: Path) -> tuple[str, ...]:
    """The compiler that `build` was prepared with, wrappers included."""
    for name in ("scripts/mod/.empty.o.cmd", "scripts/mod/.devicetable-offsets.s.cmd"):
        path = build / name
        if path.is_file() and (head := read_head(path)) is not None and head.command:
            try:
                return split_compiler(split_words(head.command))[0]
            except ShellTrickError as error:
                raise FormatError(path, "line 1", str(error), hint="prepare the tree again") from error
    config = (build / ".config").read_text(errors="replace")
    match = re.search(r'^CONFIG_CC_VERSION_TEXT="(\S+)', config, re.MULTILINE)
    if match is None:
        raise UserError(f"{build}: nothing tells which compiler it is for", hint="run make modules_prepare in it")
    return (match[1],)


def architecture_folder(build: Path) -> str:
    """The folder below `arch/` that the tree was configured for, "" where nothing tells."""
    generated = sorted(build.glob("arch/*/include/generated"))
    return generated[0].parent.parent.name if len(generated) == 1 else ""


def _clean_view(source: Path, scratch: Path) -> Path:
    """The source tree as Kbuild wants it for a build elsewhere: without what was built in it.

    An in-tree build is shown through links that leave out its configuration and generated headers.
    """
    if not (source / "include" / "config").exists() and not (source / ".config").exists():
        return source
    view = scratch.with_name(f"{scratch.name}.view")
    if not view.exists():
        part = view.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        _link_without(source, part, {".config", "include/config", "include/generated", "arch/*/include/generated"})
        part.rename(view)
    return view


def _name_the_source(view: Path, source: Path, records: Iterable[Path]) -> None:
    """Have `records` name the source tree itself where they name a view of it."""
    for record in records if view != source else ():
        if record.exists():
            record.write_bytes(record.read_bytes().replace(os.fsencode(view) + b"/", os.fsencode(source) + b"/"))


def _link_without(source: Path, view: Path, hidden: set[str], prefix: str = "") -> None:
    """Make `view` a folder of links to the entries of `source`, opening only folders that hold hidden ones."""
    view.mkdir(parents=True)
    for entry in source.iterdir():
        name = f"{prefix}{entry.name}"
        if any(Path(name).match(pattern) and name.count("/") == pattern.count("/") for pattern in hidden):
            continue
        depth = name.count("/") + 1
        opened = any(
            pattern.count("/") >= depth and Path(name).match("/".join(pattern.split("/")[:depth]))
            for pattern in hidden
        )
        if opened and entry.is_dir():
            _link_without(entry, view / entry.name, hidden, f"{name}/")
        else:
            (view / entry.name).symlink_to(entry)


def _record(scratch: Path, target: str) -> Path:
    path = scratch / target
    return path.with_name(f".{path.name}.cmd")


def _known_unbuilt(scratch: Path, target: str, seen: Seen) -> bool:
    """Whether Kbuild has said before that the configuration does not build `target`."""
    record = _record(scratch, target)
    if _role(record.parent, target) != "none":
        return False
    return seen.holds(_mark(record, target), _read_for(None, record, target, seen))


def _ask_all(
    scratch: Path, source: Path, compiler: Sequence[str], targets: Sequence[str], skip_unbuilt: bool
) -> None:
    """As `_ask`, for any number of targets and a source tree as it is."""
    if not targets:
        return
    view = _clean_view(source, scratch)
    for first in range(0, len(targets), _AT_ONCE):
        _ask(scratch, view, compiler, targets[first : first + _AT_ONCE], skip_unbuilt)
    _name_the_source(view, source, (_record(scratch, target) for target in targets))


def _ask(scratch: Path, source: Path, compiler: Sequence[str], targets: Sequence[str], skip_unbuilt: bool) -> None:
    """Have Kbuild make `targets` in `scratch`, its preparations taken as done."""
    for target in targets:
        _record(scratch, target).unlink(missing_ok=True)
        (scratch / target).unlink(missing_ok=True)
    folder = _stand_in(scratch, compiler)
    environment = {**os.environ, "LC_ALL": "C", "PATH": f"{folder}:{os.environ.get('PATH', os.defpath)}"}
    for name in ("MAKEFLAGS", "MAKELEVEL", "KBUILD_OUTPUT", "KCFLAGS", "CC"):
        environment.pop(name, None)
    argv = ["make", "--no-print-directory", "-rR", f"-j{programs.default_jobs()}", "-f", str(source / "Makefile")]
    argv += ["-o", "prepare", f"CC={' '.join([*compiler[:-1], _word(compiler)])}", *_toolchain(scratch, compiler)]
    argv += ["-k"] * skip_unbuilt + [*(f"--eval={line}" for line in _ROLES), *targets]
    try:
        programs.run(argv, cwd=scratch, env=environment, timeout=_TIME_LIMIT)
    except programs.ProgramFailedError as error:
        if skip_unbuilt and error.completed.status > 0 and not _failed(scratch, targets):
            return
        if b"No rule to make target" in error.completed.stderr:
            names = ", ".join(targets)
            hint = "check that the configuration builds it; `make` says: " + _last_line(error.completed.stderr)
            raise NotBuiltError(f"Kbuild has no rule for {names} in this configuration", hint=hint) from error
        for target in targets:
            _refuse_unbuilt(scratch, target)
        raise
    finally:
        # Empty objects must not be mistaken for the real ones.
        for target in targets:
            (scratch / target).unlink(missing_ok=True)


def _failed(scratch: Path, targets: Sequence[str]) -> list[str]:
    """Those of `targets` that the configuration builds and that could not be preprocessed."""
    return [t for t in targets if _is_built(_record(scratch, t), t) and not _record(scratch, t).exists()]


def _is_built(record: Path, target: str) -> bool:
    return _role(record.parent, target) not in ("", "none")


def _last_line(text: bytes) -> str:
    return next((line for line in text.decode(errors="replace").splitlines() if "***" in line), "")


def _word(compiler: Sequence[str]) -> str:
    """The compiler's own word, found on PATH first where the stand-in lies."""
    return Path(compiler[-1]).name


def _stand_in(scratch: Path, compiler: Sequence[str]) -> Path:
    """The folder with the program that stands in for `compiler`."""
    real = shutil.which(compiler[-1])
    if real is None:
        raise EnvironmentLackError(
            f"{compiler[-1]}: the compiler of this tree is not installed", hint=f"install {_word(compiler)}"
        )
    folder = scratch.with_name(f"{scratch.name}.bin")
    folder.mkdir(exist_ok=True)
    program = folder / _word(compiler)
    with atomic_write(program) as stream:
        stream.write(_STAND_IN.format(real=shlex.quote(real)))
    program.chmod(0o755)
    return folder


def _toolchain(scratch: Path, compiler: Sequence[str]) -> list[str]:
    return llvm_variables((scratch / ".config").read_text(errors="replace"), compiler)


def llvm_variables(config: str, compiler: Sequence[str]) -> list[str]:
    """Make variables without which a tree that Clang built would be taken for another compiler's.

    `config` is the text of its configuration, `compiler` its command.  Kbuild names LLVM's programs by a folder or
    by a suffix (`Documentation/kbuild/llvm.rst`): `LLVM=-16` goes with `clang-16`.
    """
    if not re.search(r"^CONFIG_LD_IS_LLD=y$", config, re.MULTILINE):
        return []
    folder, _, name = compiler[-1].rpartition("/")
    if folder:
        return [f"LLVM={folder}/"]
    return [f"LLVM={name.removeprefix('clang') or '1'}"]


def _unit(build: Path, record: Path, target: str) -> TranslationUnit:
    """The unit of a `.cmd` file that Kbuild left in the copy; its object is where `build` would have it."""
    role = _role(record.parent, target)
    unit = read_unit(record) if role else None
    if unit is None:
        raise FormatError(record, "line 1", "not a compilation", hint="name a C source")
    owner = VMLINUX if role == VMLINUX else ", ".join(sorted(role.split()[1:]))
    return replace(unit, object=build / target, owner=owner)


def _role(folder: Path, target: str) -> str:
    """What `target`, whose record lies in `folder`, is part of; "" where it was never compiled."""
    return _noted(folder, target)[0]


def _noted(folder: Path, target: str) -> tuple[str, list[Path]]:
    """What the stand-in noted about `target`, whose record lies in `folder`: its part, and makefiles read for it.

    A note that names no makefile is of an earlier klpkit: nothing tells whether it still holds.
    """
    path = folder / f"{Path(target).name}.role"
    role, *makefiles = (path.read_text() if path.exists() else "").splitlines() or [""]
    return (role, [Path(name) for name in makefiles]) if makefiles else ("", [])


def _refuse_unbuilt(scratch: Path, target: str) -> None:
    if _role((scratch / target).parent, target) == "none":
        hint = "check the options that its Makefile names"
        raise NotBuiltError(f"this configuration does not build {target}", hint=hint)
