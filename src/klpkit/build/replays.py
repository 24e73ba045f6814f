"""Replays a translation unit: its exact command, with other outputs, other flags or a wrapped source.

Nothing is written into the tree.  All that a compiler writes goes to a fresh folder first and takes its place in
the caller's folder when the compiler has succeeded, so that an interrupt leaves no half-written object.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from klpkit import programs
from klpkit.build.command import TranslationUnit, without_caching
from klpkit.build.outputs import redirected
from klpkit.errors import EnvironmentLackError, KlpkitError, UserError

TIME_LIMIT = 600.0
# Compiler family → flags that save a replay time and memory and change no code: no debug information (GCC's and
# Clang's manuals, -g), and memory that is given back early (GCC's manual, --param ggc-min-heapsize, in KiB).
LEAN = {
    "gcc": ("-g0", "--param=ggc-min-heapsize=65536", "--param=ggc-min-expand=10"),
    "clang": ("-g0",),
}
# Variables that make a compiler write files, read other headers or speak another language.
_UNSTABLE = frozenset(
    {"C_INCLUDE_PATH", "CPATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "LIBRARY_PATH", "LANG", "LANGUAGE"}
    | {"COMPILER_PATH", "GCC_EXEC_PREFIX", "GCC_COMPARE_DEBUG", "DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES"}
)


@dataclass(frozen=True, slots=True)
class Replayed:
    """A finished replay: the object, what else the compiler wrote (dumps, `.dwo`, dependency list), its output.

    `error` is None unless the caller of `replay_many` asked to go on after failures; then `object` does not exist.
    """

    unit: TranslationUnit
    object: Path
    completed: programs.Completed | None
    dumps: tuple[Path, ...]
    error: KlpkitError | None = None


def replay(
    unit: TranslationUnit,
    *,
    workdir: Path,
    extra: Sequence[str] = (),
    remove: Collection[str] = (),
    source: Path | None = None,
    output: str | None = None,
    timeout: float = TIME_LIMIT,
) -> Replayed:
    """Run `unit`'s command with its outputs in `workdir` and return what it made.

    `extra` flags come last and so win; arguments equal to one in `remove` are left out.  `source` is compiled in
    place of the unit's source: a file outside the tree that includes it (`include_line`).  `output` names the
    object, relative to `workdir` (default: the name of the unit's object).

    Raises `ProgramFailedError` where the compiler fails, crashes or runs longer than `timeout` seconds, and
    `UserError` where the source is gone, `EnvironmentLackError` where `workdir` can't be written.
    """
    _check(unit, source)
    name = output or unit.object.name
    workdir = workdir.absolute()
    final = workdir / name
    part = _fresh_folder(final, workdir)
    try:
        argv = replay_argv(unit, part / final.name, extra=extra, remove=remove, source=source)
        # A compiler that is killed leaves its temporary files behind: they go with the folder.
        environment = {**stable_environment(), "TMPDIR": str(part)}
        completed = programs.run(argv, cwd=unit.directory, env=environment, timeout=timeout)
        dumps = _publish(part, final)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Replayed(unit, final, completed, dumps)


def replay_many(
    units: Iterable[TranslationUnit],
    *,
    workdir: Path,
    root: Path | None = None,
    extra: Sequence[str] = (),
    remove: Collection[str] = (),
    jobs: int | None = None,
    timeout: float = TIME_LIMIT,
    keep_going: bool = False,
    done: Callable[[TranslationUnit, Replayed], None] | None = None,
) -> list[Replayed]:
    """Replay `units`, `jobs` at a time, results in their order; `done` is called as each one is finished.

    Objects lie in `workdir` as they do below `root` (default: each unit's directory).  The first failure ends all
    and is raised, unless `keep_going` asks for a result with `error` set in its place.
    """

    def work(unit: TranslationUnit) -> Replayed:
        output = _relative_object(unit, root)
        try:
            return replay(unit, workdir=workdir, extra=extra, remove=remove, output=output, timeout=timeout)
        except KlpkitError as error:
            if not keep_going:
                raise
            return Replayed(unit, workdir / output, None, (), error)

    workdir.mkdir(parents=True, exist_ok=True)
    return programs.parallel(work, units, jobs=jobs, done=done)


def replay_argv(
    unit: TranslationUnit,
    target: Path,
    *,
    extra: Sequence[str] = (),
    remove: Collection[str] = (),
    source: Path | None = None,
) -> tuple[str, ...]:
    """The command that `replay` runs: `unit`'s own, with `target` for its object."""
    folder = target.parent

    def place(name: str) -> str:
        return str(folder / Path(name).name)

    arguments = [word for word in redirected(unit.arguments, place) if word not in remove]
    if source is not None:
        arguments = _with_source(unit, arguments, source)
    return (*without_caching(unit.compiler), *arguments, *extra, "-o", str(target))


def include_line(unit: TranslationUnit) -> str:
    """The line with which a wrapper file pulls in the unit's source, to be compiled with `replay(source=…)`."""
    return f'#include "{unit.source}"\n'


def stable_environment() -> dict[str, str]:
    """The environment of a replay: the caller's, without what changes a compiler's output or its language."""
    kept = {name: value for name, value in os.environ.items() if name not in _UNSTABLE}
    return {**kept, "LC_ALL": "C"}


def _fresh_folder(final: Path, workdir: Path) -> Path:
    """A new folder in `workdir`, beside which there is room for `final`."""
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".replay-", dir=workdir))
    except OSError as error:
        hint = "free some space, or choose another place"
        raise EnvironmentLackError(f"can't write {workdir}: {error.strerror}", hint=hint) from error


def _check(unit: TranslationUnit, source: Path | None) -> None:
    for path in (unit.source, source):
        if path is not None and not path.exists():
            raise UserError(f"{path}: the source is gone", hint="restore it or build the tree again")
    if not unit.directory.is_dir():
        raise UserError(f"{unit.directory}: the build folder is gone", hint="build the tree again")


def _with_source(unit: TranslationUnit, arguments: list[str], source: Path) -> list[str]:
    """`arguments` compiling `source`, with `__FILE__` in the included source as it was.

    A source that the command spells as a relative path is included by its absolute one; the prefix that this
    adds is mapped away.  Headers beside the source are found because an include looks beside the including file.
    """
    spelled = unit.source_argument
    index = len(arguments) - 1 - arguments[::-1].index(spelled)
    mended = [*arguments[:index], str(source.absolute()), *arguments[index + 1 :]]
    if spelled.startswith("/"):
        return mended
    suffix = os.path.normpath(spelled)
    prefix = str(unit.source).removesuffix(suffix)
    return [*mended, f"-fmacro-prefix-map={prefix}={spelled.removesuffix(suffix)}"]


def _relative_object(unit: TranslationUnit, root: Path | None) -> str:
    base = root or unit.directory
    if unit.object.is_relative_to(base):
        return str(unit.object.relative_to(base))
    return str(unit.object).lstrip("/")


def _publish(part: Path, final: Path) -> tuple[Path, ...]:
    """Move what lies in `part` beside `final`; the object last, so that where it is, all is."""
    dumps = []
    try:
        for path in sorted(part.iterdir()):
            if path.name != final.name:
                path.replace(final.with_name(path.name))
                dumps.append(final.with_name(path.name))
        (part / final.name).replace(final)
    except FileNotFoundError as error:
        raise KlpkitError(
            f"the compiler ended well and wrote no {final.name}", hint="run the command by hand with --verbose"
        ) from error
    except OSError as error:
        raise EnvironmentLackError(f"can't write {final}: {error.strerror}", hint="free some space") from error
    return tuple(dumps)
