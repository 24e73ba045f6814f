"""Every translation unit that a source patch affects, compiled without and with it in overlays of the source.

Neither the source nor the build tree is written to.  Both sides of a pair go through the same mechanism, so that
nothing but the patch is different between them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from threading import Lock
from typing import Literal

from klpkit import programs
from klpkit.build.command import TranslationUnit
from klpkit.build.dependencies import make_dependencies
from klpkit.build.overlaycommand import Place, paths_read, through_mirror
from klpkit.build.overlaylines import with_line_directives
from klpkit.build.overlaymirror import make_mirror, original_reads
from klpkit.build.overlayunits import affected_units
from klpkit.build.patch import Patch, read_patches
from klpkit.build.replays import Replayed, replay
from klpkit.build.tree import BuildTree
from klpkit.errors import KlpkitError, RefusedError, UserError

Side = Literal["original", "patched"]
SIDES: tuple[Side, Side] = ("original", "patched")
# A section for each function and object, so that changed ones can be taken alone; and no debug information,
# which names the folders of the overlay and takes time.
SECTIONS = ("-ffunction-sections", "-fdata-sections", "-g0")
# GCC would name system headers by their real paths, and look for what they include there.
_FAMILY_FLAGS: dict[str, tuple[str, ...]] = {"gcc": ("-fno-canonical-system-headers", "-fdump-ipa-clones")}


@dataclass(frozen=True, slots=True)
class Pair:
    """One unit compiled twice with a section for each function.

    `owner` is `vmlinux` or the module as in `fs/ext4/ext4`; several are joined by `, `.
    """

    unit: TranslationUnit
    original: Path
    patched: Path
    owner: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a patch makes of a tree: the pairs whose objects differ, and the units whose objects are the same.

    `others` are pairs that differ and that a live patch can't change: assembler sources, programs beside the
    kernel.  `changed_files` are relative to the source tree.  `notes` are sentences for the user: hunks applied
    elsewhere than they say, files that no unit of this build sees.  `overlay` can compile a unit once more while
    its folder is there.
    """

    pairs: tuple[Pair, ...]
    equal: tuple[TranslationUnit, ...]
    changed_files: tuple[str, ...]
    others: tuple[Pair, ...] = ()
    notes: tuple[str, ...] = ()
    overlay: Overlay | None = field(default=None, repr=False, compare=False)


Done = Callable[[int, int], None]


def compile_pairs(
    tree: BuildTree,
    patches: Sequence[Path],
    work: Path,
    *,
    units: Sequence[str] = (),
    include: Sequence[Path] = (),
    fuzz: int = 0,
    jobs: int | None = None,
    done: Done | None = None,
) -> Compiled:
    """Apply `patches` in their order to an overlay in `work` and compile every affected unit of `tree` twice.

    `units` restricts the answer to these sources; they are needed where the tree has no dependency lists and the
    patch changes a header that many include.  Headers are looked for in the folders `include` last.  `done` is
    called with how many compilations are finished and how many there are.  Raises `UserError` where a patch does
    not apply or what it makes does not compile, and `RefusedError` where it changes what no live patch can.
    """
    if tree.source is None:
        raise UserError(f"no source tree for {tree.root}", hint="name it with --source")
    patch = read_patches(patches, tree.source, fuzz=fuzz)
    if not patch.files:
        raise UserError("the patches change nothing", hint="check them: one may take back what another does")
    affected = affected_units(tree, patch, units)
    overlay = Overlay(patch, tree.root, work.absolute(), include)
    everything = [*affected.units, *affected.others]
    objects = overlay.compile(everything, jobs=jobs, done=done)
    _refuse_unseen(patch, overlay)
    pairs = [Pair(unit, *objects[unit.object], unit.owner) for unit in everything]
    differing = [pair for pair in pairs if pair.original.read_bytes() != pair.patched.read_bytes()]
    equal = {pair.unit.object for pair in pairs} - {pair.unit.object for pair in differing}
    return Compiled(
        pairs=tuple(pair for pair in differing if pair.unit in affected.units),
        equal=tuple(unit for unit in affected.units if unit.object in equal),
        changed_files=tuple(file.path for file in patch.files),
        others=tuple(pair for pair in differing if pair.unit in affected.others),
        notes=(*patch.notes, *affected.notes, *overlay.notes),
        overlay=overlay,
    )


def _refuse_unseen(patch: Patch, overlay: Overlay) -> None:
    """A new source that no unit includes would have to be compiled by a rule that the build does not have."""
    for file in patch.files:
        new = file.original is None and not file.renamed_from and file.path.endswith((".c", ".S", ".cc", ".cpp"))
        if new and file.path not in overlay.seen:
            hint = "put its functions into a file that is built already"
            raise RefusedError("new-source", f"no unit includes the new file {file.path}", hint=hint)


class Overlay:
    """The source tree without and with a patch, in folders of links below `work`.

    `patch` is what is laid over; `notes` says where line directives had to be left out, `seen` which changed files
    the compiler has read.
    """

    def __init__(self, patch: Patch, root: Path, work: Path, include: Sequence[Path] = ()) -> None:
        self.notes: list[str] = []
        self.seen: set[str] = set()
        self.patch = patch
        self._root = root
        self._work = work
        self._include = tuple(f"-I{folder.absolute()}" for folder in include)
        self._mirrors: dict[str, Path] = {}
        self._made: set[str] = set()
        self._lock = Lock()
        real = Path(patch.source).resolve()
        self._changed = {real / file.path for file in patch.files if file.original is not None}
        self._texts: dict[str, Mapping[str, str | None]] = {
            "original": {file.path: file.original for file in patch.files},
            "patched": _patched_texts(patch, lines=True),
            "plain": _patched_texts(patch, lines=False),
        }

    def compile(
        self, units: Sequence[TranslationUnit], *, jobs: int | None = None, done: Done | None = None
    ) -> dict[Path, tuple[Path, Path]]:
        """For each of `units`, by its object, its object without and with the patch."""
        folders = set(
            self._folders(units, (path for unit in units for path in unit_paths(unit, self.patch.source)))
        )
        total = 2 * len(units)
        results = self._round(units, "", folders, jobs, lambda count: done(count, total) if done else None)
        again = [unit for unit in units if any(self._missed(results[unit.object, side]) for side in SIDES)]
        if again:
            read = (path for unit in again for side in SIDES for path in self._read(results[unit.object, side]))
            folders |= set(self._parents(read))
            results |= self._round(again, "-whole", folders, jobs, lambda count: None)
        self._made = folders
        for unit in again:
            self._refuse_missed(results[unit.object, "original"], results[unit.object, "patched"])
        self._note_seen(results.values())
        return {
            unit.object: (results[unit.object, "original"].object, results[unit.object, "patched"].object)
            for unit in units
        }

    def variant(
        self, unit: TranslationUnit, name: str, texts: Mapping[str, str], extra: Sequence[str] = ()
    ) -> Path | None:
        """The object of `unit` with the patch, but with other `texts` of changed files; None: it does not compile.

        `name` is a new one for each set of texts, `extra` are flags.  Whether the compiler got at a changed file
        by another way was found out before, so that the folders that were made then do for this one too.
        """
        if name not in self._texts:
            own = {path: with_line_directives(self._before(path), text, path) for path, text in texts.items()}
            self._texts[name] = {**self._texts["patched"], **own}
        try:
            return self._replay(unit, name, name, "", self._made, extra).object
        except programs.NoSpaceError:
            raise
        except programs.ProgramFailedError:
            return None

    def _before(self, path: str) -> str:
        return next((file.original or "" for file in self.patch.files if file.path == path), "")

    # -- rounds ------------------------------------------------------------------------------------------------

    def _round(
        self,
        units: Sequence[TranslationUnit],
        suffix: str,
        folders: set[str],
        jobs: int | None,
        count: Callable[[int], None],
    ) -> dict[tuple[Path, Side], Replayed]:
        """Both sides of all `units` through mirrors in which `folders` are real ones."""
        finished = 0

        def advance(item: object, result: object) -> None:
            nonlocal finished
            finished += 1
            count(finished)

        def work(item: tuple[TranslationUnit, Side]) -> Replayed:
            return self._compile(item[0], item[1], suffix, folders)

        items = list(product(units, SIDES))
        results = programs.parallel(work, items, jobs=jobs, done=advance)
        return {(unit.object, side): result for (unit, side), result in zip(items, results, strict=True)}

    def _compile(self, unit: TranslationUnit, side: Side, suffix: str, folders: set[str]) -> Replayed:
        try:
            return self._replay(unit, side, side, suffix, folders)
        except programs.NoSpaceError:
            raise
        except programs.ProgramFailedError as error:
            if side == "original":
                raise self._failed(unit, error, "does not compile as it was built") from error
            if self._texts["plain"] == self._texts["patched"]:
                raise self._failed(unit, error, "does not compile with the patch") from error
            failure = error
        try:
            replayed = self._replay(unit, side, "plain", suffix, folders)
        except programs.NoSpaceError:
            raise
        except programs.ProgramFailedError:
            raise self._failed(unit, failure, "does not compile with the patch") from failure
        self.notes.append(f"{self._name(unit)}: compiled without line directives; lines may count as moved")
        return replayed

    def _replay(
        self,
        unit: TranslationUnit,
        side: str,
        texts: str,
        suffix: str,
        folders: set[str],
        more: Sequence[str] = (),
    ) -> Replayed:
        mirror = self._mirror(texts, suffix, folders)
        seen = through_mirror(unit, self.patch.source, mirror)
        extra = (*SECTIONS, *_FAMILY_FLAGS.get(unit.kind, ()), *self._include, *more)
        folder = self._work / "objects" / side
        return replay(seen, workdir=folder, extra=extra, output=self._object_name(unit))

    def _mirror(self, texts: str, suffix: str, folders: set[str]) -> Path:
        with self._lock:
            place = self._work / f"{texts}{suffix}"
            if place.name not in self._mirrors:
                make_mirror(self.patch.source, place, self._texts[texts], folders)
                self._mirrors[place.name] = place
            return self._mirrors[place.name]

    # -- folders -----------------------------------------------------------------------------------------------

    def _folders(self, units: Iterable[TranslationUnit], paths: Iterable[tuple[Place, str]]) -> Iterable[str]:
        """The folders to be real ones: where commands run, and those that a path leaves by `..`."""
        for unit in units:
            if (own := Place(self.patch.source, unit.directory).own) is not None:
                yield own if own != "." else ""
        for place, path in paths:
            yield from place.left(path)

    def _parents(self, read: Iterable[str]) -> Iterable[str]:
        """The folders of the source tree, relative to it, that hold the files `read` or their links."""
        top = self.patch.source.resolve()
        mirrors = [mirror.resolve() for mirror in self._mirrors.values()]
        for folder in {path.rpartition("/")[0] for path in read}:
            real = Path(folder).resolve()
            for base in (top, *mirrors):
                if real.is_relative_to(base):
                    yield str(real.relative_to(base))

    # -- checks ------------------------------------------------------------------------------------------------

    def _read(self, result: Replayed) -> list[str]:
        """Every file that the compiler read, as it spelled it; a unit reads a thousand, strings are enough."""
        path = result.object.with_name(f"{result.object.name}.d")
        return [os.path.join(result.unit.directory, name) for name in make_dependencies(path)]  # noqa: PTH118

    def _missed(self, result: Replayed) -> list[Path]:
        return original_reads(self._read(result), self._changed)

    def _refuse_missed(self, *results: Replayed) -> None:
        for result in results:
            if missed := self._missed(result):
                raise RefusedError(
                    "overlay-bypassed",
                    f"{self._name(result.unit)} reads {missed[0]} by a way around the overlay",
                    hint="report this with the command of the unit: klpkit --verbose shows it",
                )

    def _note_seen(self, results: Iterable[Replayed]) -> None:
        """Remember which changed files were read: they are the ones that are no links in a mirror."""
        names = tuple({f"/{Path(file.path).name}" for file in self.patch.files})
        mirrors = [mirror.resolve() for mirror in self._mirrors.values()]
        for path in {path for result in results for path in self._read(result) if path.endswith(names)}:
            real = Path(path).resolve()
            self.seen.update(str(real.relative_to(m)) for m in mirrors if real.is_relative_to(m))

    # -- words -------------------------------------------------------------------------------------------------

    def _failed(self, unit: TranslationUnit, error: programs.ProgramFailedError, what: str) -> KlpkitError:
        text = error.completed.stderr.decode(errors="replace")
        for mirror in self._mirrors.values():
            text = text.replace(f"{mirror}/", "")
        lines = [line for line in text.splitlines() if "error" in line or "fatal" in line] or text.splitlines()
        message = "\n  | ".join([f"{self._name(unit)} {what}", *lines[:10]])
        return UserError(message, hint="check that the source, the patch and the compiler belong together")

    def _name(self, unit: TranslationUnit) -> str:
        """The source of `unit` relative to the tree, for messages."""
        inside = Place(self.patch.source, unit.directory).inside(str(unit.source))
        return inside or str(unit.source)

    def _object_name(self, unit: TranslationUnit) -> str:
        inside = unit.object.is_relative_to(self._root)
        return str(unit.object.relative_to(self._root) if inside else unit.object).lstrip("/")


def unit_paths(unit: TranslationUnit, source: Path) -> Iterable[tuple[Place, str]]:
    """The paths with a `..` in the command of `unit` and in its list of dependencies."""
    from klpkit.build.dependencies import recorded_names

    place = Place(source, unit.directory)
    for name in {*paths_read(unit, source), *recorded_names(unit)}:
        if ".." in name:
            yield place, name


def _patched_texts(patch: Patch, *, lines: bool) -> Mapping[str, str | None]:
    """The texts of changed files with the patch; a renamed source is there under its old name too."""
    original = {file.path: file.original for file in patch.files}
    texts: dict[str, str | None] = {}
    for file in patch.files:
        text = file.patched
        before = original.get(file.renamed_from) if file.renamed_from else file.original
        if lines and text is not None and before is not None:
            text = with_line_directives(before, text, file.path)
        texts[file.path] = text
    for file in patch.files:
        if file.renamed_from and file.path.endswith((".c", ".S")) and texts.get(file.renamed_from) is None:
            texts[file.renamed_from] = texts[file.path]
    return texts
