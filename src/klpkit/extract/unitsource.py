"""One unit's source, preprocessed and read once for all of its drafts, and what of them was compiled already.

A draft can be begun before it is known to be the right one (`klpkit.extract.ahead`).  What was begun is kept by
the text that it is made of: nothing else decides what the unit's command makes of it.
"""

from __future__ import annotations

from concurrent.futures import Future
from functools import cached_property
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.build.replays import LEAN, replay
from klpkit.extract.chunks import Source
from klpkit.extract.preprocessed import expand, read_preprocessed

# The draft's functions have no prototypes in any header, and keep names for a person, not for users.
QUIET = ("-Wno-missing-prototypes", "-Wno-missing-declarations", "-Wno-unused-function", "-Wno-unused-variable")
# For the comparison with the kernel's code: whatever is referred to has a place of its own.
APART = ("-ffunction-sections", "-fdata-sections")


class UnitSource:
    """What drafts of `unit` are made of; `found` is its preprocessor's view."""

    def __init__(self, unit: TranslationUnit, expanded: list[str] | None = None) -> None:
        """`expanded` is what `expand` says of the unit; without it that is asked, with the errors of a replay."""
        self.unit = unit
        self.found = read_preprocessed(expand(unit) if expanded is None else expanded, unit.source_argument)
        self._begun: dict[str, Future[Path]] = {}

    @cached_property
    def source(self) -> Source:
        """The unit's source, cut into chunks."""
        return Source(self.found, lambda file: (self.unit.directory / file).read_text(errors="surrogateescape"))

    def text_file(self, work: Path) -> Path:
        """Where a draft's text lies in `work`, to be compiled."""
        return work / f"{self.unit.source.stem}.c"

    @property
    def draft_flags(self) -> tuple[str, ...]:
        """What the unit's own command is given to compile a draft."""
        return ("-iquote", str(self.unit.source.parent), *QUIET, *self.apart_flags)

    @property
    def apart_flags(self) -> tuple[str, ...]:
        """What its command is given for code that can be compared, draft or not."""
        return (*APART, *LEAN.get(self.unit.kind, ()))

    def begin(self, text: str, work: Path) -> None:
        """Compile `text` in `work` for a later call of `compiled`, which also gets the error where it fails."""
        made: Future[Path] = Future()
        self._begun[text] = made
        try:
            made.set_result(self._compile(text, work))
        except BaseException as error:  # noqa: BLE001 - whoever asks for the object gets it
            made.set_exception(error)

    def compiled(self, text: str, work: Path) -> Path:
        """The object that the unit's own command makes of a draft's `text`, in `work` unless `text` was begun.

        Raises what a replay does.  May be called while another thread is in `begin`.
        """
        begun = self._begun.pop(text, None)
        return self._compile(text, work) if begun is None else begun.result()

    def _compile(self, text: str, work: Path) -> Path:
        work.mkdir(parents=True, exist_ok=True)
        path = self.text_file(work)
        path.write_text(text, errors="surrogateescape")
        name = f"{self.unit.source.stem}.o"
        return replay(self.unit, workdir=work, source=path, extra=self.draft_flags, output=name).object
