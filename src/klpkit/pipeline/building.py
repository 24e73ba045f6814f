"""The order of the steps: overlay, two compilations of each unit, fidelity, module, and only then a file."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from klpkit.build import Compiled, Pair, compile_pairs, open_tree
from klpkit.elf import ElfFile
from klpkit.errors import EnvironmentLackError, RefusedError, UserError
from klpkit.pipeline.watched import watched

if TYPE_CHECKING:
    from klpkit.build import BuildTree
    from klpkit.livepatch import LivePatch, Warned
    from klpkit.target import Target
    from klpkit.target.fidelity import Fidelity

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What to build: patches for the kernel that `build` was configured for and `image` or `vmlinux` is.

    `kernel` is the kernel's build tree where `build` is an external module's folder; `headers` is what the module
    is built with (default: the kernel's build tree), and holds `Module.symvers`.  `units` restricts the patch to
    these sources.  `keep` is a new folder for everything that is made on the way.
    """

    patches: tuple[Path, ...]
    build: Path
    out: Path
    source: Path | None = None
    kernel: Path | None = None
    image: Path | None = None
    vmlinux: Path | None = None
    modules: Path | None = None
    headers: Path | None = None
    units: tuple[str, ...] = ()
    fuzz: int = 0
    allow_mismatch: bool = False
    allow_layout_change: bool = False
    replace: bool = True
    name: str = ""
    keep: Path | None = None
    jobs: int | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """A finished live patch and how it came about; `seconds` has the time of each step."""

    livepatch: LivePatch
    compiled: Compiled
    release: str
    warnings: tuple[Warned, ...]
    notes: tuple[str, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)


def build_livepatch(request: Request, *, progress: Progress | None = None, target: Target | None = None) -> Built:
    """Build the live patch that `request` asks for; it appears under its name only when it was verified.

    `progress` is called with how many compilations are finished and how many there are.  `target` is the shipped
    kernel where the caller has opened it already.
    Raises `RefusedError` where no live patch can carry the change or the shipped kernel is another one, and
    `UserError` where a patch does not apply or compile.  Neither source nor build tree is written to.
    """
    _check(request)
    clock = _Clock()
    with _work_folder(request.keep) as work:
        with clock.step("compile"):
            from klpkit.livepatch import INCLUDE

            tree = open_tree(request.build, source=request.source, kernel=request.kernel)
            compiled = compile_pairs(
                tree,
                request.patches,
                work,
                units=request.units,
                include=[INCLUDE],
                fuzz=request.fuzz,
                jobs=request.jobs,
                done=progress,
            )
        with clock.step("compare"):
            _refuse_others(compiled.others)
            if not compiled.pairs:
                raise _nothing_changed(compiled)
        with clock.step("kernel"):
            target = target or open_shipped(request)
            _interfaces(request, tree, target, compiled.pairs)
        with clock.step("fidelity"):
            checked = [found for pair in compiled.pairs for found in _fidelity(pair, target, tree, work)]
            mismatch = _mismatches(checked, request, target, compiled.pairs[0])
        with clock.step("layouts"):
            from klpkit.pipeline.layouts import settle_layouts

            assert compiled.overlay is not None
            pairs, told = settle_layouts(
                compiled.overlay, compiled.pairs, allow=request.allow_layout_change, jobs=request.jobs
            )
            if not pairs:
                raise _nothing_changed(compiled)
            compiled = dataclasses.replace(compiled, pairs=tuple(pairs))
        with clock.step("module"):
            from klpkit.livepatch.making import make_module

            part = work / request.out.name
            livepatch = make_module(
                compiled.pairs, target, _headers(request), part, name=request.name, replace=request.replace
            )
            _refuse_unfaithful(checked, livepatch, target, request)
            warnings = (*livepatch.warnings, *told, *watched(livepatch, compiled.pairs))
            _publish(part, request.out)
    notes = (*compiled.notes, *mismatch)
    return Built(_moved(livepatch, request.out), compiled, target.release, warnings, notes, clock.seconds)


def _check(request: Request) -> None:
    """What can be said before anything is compiled."""
    from klpkit.livepatch.making import module_name

    if not request.patches:
        raise UserError("no patch was named", hint="name one or several patch files")
    if request.image is None and request.vmlinux is None:
        raise UserError(
            "nothing tells what the running kernel is", hint="name its image with --image or its --vmlinux"
        )
    if not request.out.name.endswith(".ko"):
        raise UserError(f"{request.out}: a module's name ends in .ko", hint="choose another name with -o")
    module_name(request.name or request.out.name)
    if not request.out.absolute().parent.is_dir():
        raise UserError(f"{request.out.parent}: no such folder", hint="make it, or choose another with -o")


@contextmanager
def _work_folder(keep: Path | None) -> Iterator[Path]:
    """A folder for everything between; gone afterwards unless `keep` names it."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="klpkit-build-") as name:
            yield Path(name)
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise UserError(f"{keep}: is there already", hint="name a new or empty folder with --keep")
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentLackError(f"can't make {keep}: {error.strerror}", hint="choose another place") from error
    yield keep.absolute()


def _headers(request: Request) -> Path:
    return request.headers or request.kernel or request.build


def open_shipped(request: Request) -> Target:
    """The shipped kernel that the files of `request` describe."""
    from klpkit.target import open_target

    symvers = _headers(request) / "Module.symvers"
    return open_target(
        image=request.image,
        vmlinux=request.vmlinux,
        modules=request.modules,
        symvers=symvers if symvers.is_file() else None,
    )


def _interfaces(request: Request, tree: BuildTree, target: Target, pairs: Iterable[Pair]) -> None:
    """Refuse new signatures of exported functions.

    A prototype in a header is nothing to units that neither define nor call the function.
    """
    from klpkit.build import read_patches
    from klpkit.livepatch.interfaces import Source, check_interfaces

    if tree.source is None:
        return
    patch = read_patches(request.patches, tree.source, fuzz=request.fuzz)
    sources = [Source(file.path, file.original or "", file.patched or "") for file in patch.files]
    paths = (path for pair in pairs for path in (pair.original, pair.patched))
    named = {name for path in paths for name in ElfFile.open(path).symbols.names}
    check_interfaces(sources, named.intersection(target.exports()))


def _refuse_others(others: Iterable[Pair]) -> None:
    """Refuse a change of what no live patch replaces: assembler code, the vDSO, the boot loader."""
    from klpkit.diff import Verdict, diff_files

    for pair in others:
        if diff_files(pair.original, pair.patched).verdict is Verdict.NO_CHANGE:
            continue
        if pair.unit.language == "assembler":
            hint = "patch C functions around it, or reboot into a fixed kernel"
            raise RefusedError("assembler-source", f"{pair.unit.source} is assembler and changes", hint=hint)
        hint = "a live patch changes the kernel and its modules only; leave this change out"
        raise RefusedError("other-program", f"{pair.unit.source} changes and is no kernel code", hint=hint)


def _nothing_changed(compiled: Compiled) -> RefusedError:
    count = len(compiled.equal) + len(compiled.pairs)
    message = f"{count} unit{'s' * (count != 1)} compiled, and no object differs"
    return RefusedError("nothing-changed", message, hint="the patch has no effect in this configuration")


def _fidelity(pair: Pair, target: Target, tree: BuildTree, work: Path) -> list[Fidelity]:
    """The original held against what is shipped.

    With a section for each function a jump to a neighbour is longer than in the shipped code: where a function
    differs, the unit is compiled once more in the very way that the tree does it.
    """
    from klpkit.target.checking import check_object, check_units

    checked = check_object(pair.unit, pair.original, target, source=tree.source)
    if all(each.faithful for each in checked):
        return checked
    return check_units([pair.unit], target, workdir=work / "objects" / "plain", root=tree.root, source=tree.source)


def _mismatches(checked: list[Fidelity], request: Request, target: Target, pair: Pair) -> list[str]:
    """Refuse a kernel that was made from something else; as sentences where the user allows it."""
    from klpkit.target.checking import refuse_unfaithful

    if not request.allow_mismatch:
        refuse_unfaithful(checked, target=target, compiler=pair.unit.compiler)
    bad = [(each, each.first) for each in checked]
    return [f"{each.source}: {first.name} is not as shipped ({first.verdict})" for each, first in bad if first]


def _refuse_unfaithful(checked: list[Fidelity], livepatch: LivePatch, target: Target, request: Request) -> None:
    """Refuse where a function that is replaced was not compared, though nothing speaks against its unit."""
    from klpkit.target.checking import refuse_unfaithful
    from klpkit.target.fidelity import Verdict

    if request.allow_mismatch:
        return
    needed = {function.name for each in livepatch.objects for function in each.functions}
    refuse_unfaithful(checked, target=target, needed=needed)
    for each in checked:
        replaced = (f for f in each.functions if f.name in needed and f.verdict is Verdict.OVERRIDDEN)
        if weak := next(replaced, None):
            hint = "patch the definition that the architecture has"
            raise RefusedError("not-faithful", f"{each.source}: {weak.name} is overridden elsewhere", hint=hint)


def _publish(part: Path, out: Path) -> None:
    """Put the finished module where it was asked for, whole or not at all."""
    from klpkit.cachedir import atomic_write

    with open(part, "rb") as content, atomic_write(out, "wb") as stream:
        shutil.copyfileobj(content, stream)


def _moved(livepatch: LivePatch, out: Path) -> LivePatch:
    from dataclasses import replace

    return replace(livepatch, path=Path(os.path.abspath(out)))  # noqa: PTH100 - a link stays one


class _Clock:
    """The seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start
