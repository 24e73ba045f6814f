"""What can be done before the compiler's records are there: reading a unit, and compiling the draft to expect.

The records come out of a compilation of the whole unit, the longest step.  Meanwhile another processor reads the
source and compiles the draft that the kernel's symbols let expect; it is used where the records ask for the very
same text (`UnitSource.compiled`), else thrown away.  The preprocessor goes first, since most waits for it, and
libraries are loaded while compilers run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from klpkit.build.command import TranslationUnit
from klpkit.build.concerned import concerned_by
from klpkit.build.tree import BuildTree
from klpkit.errors import KlpkitError
from klpkit.extract.preprocessed import expand
from klpkit.programs import background, default_jobs

if TYPE_CHECKING:
    from klpkit.extract.unitsource import UnitSource
    from klpkit.impact.evidence import Evidence
    from klpkit.impact.treesource import Progress
    from klpkit.target import Target

log = logging.getLogger("klpkit.extract")


@dataclass(frozen=True, slots=True)
class Begun:
    """Work under way for the functions `specs`; everything that is made lies in the folder `work`."""

    tree: BuildTree
    specs: tuple[str, ...]
    work: Path
    evidence: Future[Evidence]
    _pool: Executor
    _read: Mapping[Path, Future[UnitSource]]

    def source(self, unit: TranslationUnit) -> UnitSource:
        """`unit` as read ahead, or read now; raises what `UnitSource` does."""
        from klpkit.extract.unitsource import UnitSource

        known = self._read.get(unit.object)
        return UnitSource(unit) if known is None else known.result()

    def expect(self, target: Target) -> None:
        """Begin with the draft that the symbols of `target` let expect, if a processor is free to compile it."""
        if default_jobs() > 1:
            for read in self._read.values():
                # A failure is told where the source is asked for: the records' may come first and be its cause.
                if read.exception() is None:
                    self._expect(read.result(), target)

    def _expect(self, source: UnitSource, target: Target) -> None:
        from klpkit.extract.composing import compose
        from klpkit.extract.expected import ExpectedOriginal
        from klpkit.target import VMLINUX
        from klpkit.target.module import module_name

        names = [spec.rpartition(":")[2] for spec in self.specs]
        try:
            home = target.object(module_name(source.unit.owner) if source.unit.owner else VMLINUX)
            made = compose(source, names, ExpectedOriginal(home))
            text = made.draft(made.few).numbered
        except KlpkitError as error:
            log.debug("no draft to expect: %s", error.message)
        else:
            self._pool.submit(source.begin, text, self.work / "expected")


@contextmanager
def begun(
    tree: BuildTree, specs: Sequence[str], work: Path, *, warnings: Sequence[str] = (), progress: Progress
) -> Iterator[Begun]:
    """Begin with records of the units of `tree` that `specs` (`name` or `file:name`) concern, and read the source.

    `warnings` are for the answer.  Nothing of it still runs when the block is left.  Errors are those of
    `concerned_by`; those of a compiler come where its result is asked for.
    """
    found = concerned_by(tree, specs)
    with ExitStack() as stack, background() as pool:
        # Which of several units has the functions only the records tell.
        sole = found.units if len(found.units) == 1 else ()
        read = {unit.object: pool.submit(_read, unit) for unit in sole}

        def records() -> Evidence:
            from klpkit.impact.treesource import units_evidence

            said = dict.fromkeys([*warnings, *found.warnings])
            made = units_evidence(tree, found.units, said, debug=False, progress=progress)
            return stack.enter_context(made)

        yield Begun(tree, tuple(specs), work, pool.submit(records), pool, read)


def _read(unit: TranslationUnit) -> UnitSource:
    expanded = expand(unit)
    from klpkit.extract.unitsource import UnitSource

    return UnitSource(unit, expanded)
