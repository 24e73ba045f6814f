"""Two trees of objects, compared file by file in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from klpkit.diff.model import ObjectDiff, Verdict
from klpkit.errors import KlpkitError, RefusedError, UserError
from klpkit.programs import default_jobs


@dataclass(frozen=True, slots=True)
class Compared:
    """One object of a tree: `path` inside of it, and the difference, or why there is none."""

    path: str
    diff: ObjectDiff | None = None
    slug: str = ""
    problem: str = ""

    @property
    def verdict(self) -> Verdict:
        return self.diff.verdict if self.diff else Verdict.UNPATCHABLE


@dataclass(frozen=True, slots=True)
class TreeDiff:
    """All objects of both trees, in order of path."""

    original: str
    patched: str
    objects: tuple[Compared, ...]

    @property
    def verdict(self) -> Verdict:
        found = {compared.verdict for compared in self.objects}
        worst = (Verdict.UNPATCHABLE, Verdict.PATCHABLE)
        return next((verdict for verdict in worst if verdict in found), Verdict.NO_CHANGE)

    def count(self, verdict: Verdict) -> int:
        return sum(compared.verdict is verdict for compared in self.objects)


def diff_trees(
    original: Path,
    patched: Path,
    *,
    jobs: int | None = None,
    done: Callable[[Compared], None] | None = None,
    symbol_owners: Mapping[str, str] | None = None,
    dumps: tuple[Path, Path] | None = None,
) -> TreeDiff:
    """Compare every `*.o` below `original` with the one of the same path below `patched`.

    `dumps` are trees like both with the clone dumps, where they don't lie beside the objects.
    `done` is called in this process for each object as its turn comes.  `UserError` where there is no object.
    """
    left, right = _objects(original), _objects(patched)
    paths = sorted(left | right)
    if not paths:
        raise UserError(f"{original} and {patched} hold no objects", hint="name folders with *.o files")
    jobs = min(jobs or default_jobs(), len(paths))
    owners = dict(symbol_owners or {})
    work = [_Work(original, patched, path, path in left, path in right, owners, dumps) for path in paths]
    if jobs == 1:
        return TreeDiff(str(original), str(patched), tuple(_told(map(_compared, work), done)))
    with ProcessPoolExecutor(jobs) as pool:
        results = pool.map(_compared, work, chunksize=max(1, min(16, len(work) // (jobs * 4))))
        return TreeDiff(str(original), str(patched), tuple(_told(results, done)))


def _told(results: Iterable[Compared], done: Callable[[Compared], None] | None) -> list[Compared]:
    found: list[Compared] = []
    for compared in results:
        found.append(compared)
        if done:
            done(compared)
    return found


def _objects(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.o") if path.is_file()}


@dataclass(frozen=True, slots=True)
class _Work:
    original: Path
    patched: Path
    path: str
    left: bool
    right: bool
    symbol_owners: Mapping[str, str]
    dumps: tuple[Path, Path] | None


def _compared(work: _Work) -> Compared:
    path = work.path
    if not work.left:
        return Compared(
            path, slug="new-object", problem="only the patched tree has it: put its code into another unit"
        )
    if not work.right:
        return Compared(path, slug="gone-object", problem="only the original tree has it: keep it, even unused")
    from klpkit.diff.engine import diff_files

    try:
        sides = Path(work.original, path), Path(work.patched, path)
        above = Path(path).parent
        dumps = (work.dumps[0] / above, work.dumps[1] / above) if work.dumps else (None, None)
        return Compared(path, diff_files(*sides, symbol_owners=work.symbol_owners, dumps=dumps))
    except RefusedError as error:
        return Compared(path, slug=error.slug, problem=str(error))
    except KlpkitError as error:
        return Compared(path, slug="unusable-object", problem=str(error))
