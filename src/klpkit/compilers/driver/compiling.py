# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH113
"""One source compiled at a level: dump on, promise checked, list written, records kept for a link with LTO."""

from __future__ import annotations

import os

from klpkit.compilers.driver import run
from klpkit.compilers.driver.dumpfile import OPTION, DumpFile
from klpkit.compilers.driver.folders import content
from klpkit.compilers.driver.response import fitting
from klpkit.compilers.driver.talk import DriverError, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from klpkit.compilers.driver.effects import Effects
    from klpkit.compilers.driver.features import Features
    from klpkit.compilers.driver.options import Wanted
    from klpkit.compilers.driver.words import Command
    from klpkit.compilers.levels import Level
    from klpkit.records.clonelines import CloneDump
    from klpkit.records.lightelf import LightObject


class Job:
    """One compilation: the `command`, the `words` of its arguments with flags, one `source` and its `object`."""

    __slots__ = (
        "command",
        "compiled",
        "language",
        "lto",
        "member",
        "object",
        "own_dump",
        "source",
        "told",
        "unit",
        "words",
    )

    def __init__(
        self, command: Command, words: list[str], source: str, target: str, *, language: str, lto: bool
    ) -> None:
        self.command = command
        self.words = words
        self.source = source
        self.object = target
        # What the list calls the unit: a file, and the source where the file is made of several.
        self.unit = target
        self.member = ""
        self.language = language
        self.lto = lto
        # What the compilation itself left of the dumps `cfg` and `cgraph`.
        self.told = b"", b""
        # Whether the compiler has made the object.
        self.compiled = False
        # The user asked for the dump himself: it stays where he expects it.
        self.own_dump = any(word.startswith(("-fdump-ipa-clones", "-fdump-ipa-all")) for word in words)

    def argv(self, *more: str) -> list[str]:
        return [*self.command.wrapper, self.command.compiler, *fitting([*self.words, *more])]


class Unit:
    """What is known of one compiled source."""

    __slots__ = ("_dump", "code", "data", "job", "public_names")

    def __init__(self, job: Job, data: bytes, code: LightObject | None) -> None:
        self.job = job
        self.data = data
        self._dump: CloneDump | None = None
        self.code = code
        self.public_names: frozenset[str] = frozenset()

    @property
    def dump(self) -> CloneDump:
        """The dump, read when it is first asked for; `FormatError` where it can't be."""
        if self._dump is None:
            from klpkit.records.clonelines import parse_dump

            self._dump = parse_dump(self.data, f"clone dump of {self.job.source}")
        return self._dump

    def public(self, symbol: str) -> bool | None:
        """Whether other units can name `symbol`; None where its declaration has to tell."""
        return True if symbol in self.public_names else None


def compile_source(job: Job, wanted: Wanted, features: Features) -> tuple[int, Unit | None]:
    """Compile; (wait status, what is known of the unit, None where the compiler failed)."""
    level = wanted.level
    assert level is not None
    if job.source == "-":
        run.keep_input()
    names: frozenset[str] = frozenset()
    if features.needs_marking(level, job.lto):
        from klpkit.compilers.driver import marking

        status, data, names = marking.compile_marked(job)
    else:
        status, data = _run(job, level, _listing_modules if wanted.listing and not job.lto else None)
    if status or run.interrupted():
        return status, None
    job.compiled = True
    if data is None:
        data = _once_more(job)
    code = object_code(job.object) if wanted.listing and not job.lto else None
    unit = Unit(job, data, code)
    unit.public_names = names
    return status, unit


def _listing_modules() -> None:
    """Import what a list needs: done while the compiler runs, it keeps nobody waiting."""
    import klpkit.compilers.driver.listing
    import klpkit.records.lightelf  # noqa: F401


def _run(job: Job, level: Level, meanwhile: Callable[[], None] | None) -> tuple[int, bytes | None]:
    """Run the compiler, and `meanwhile` with it; (wait status, its dump, None where there is none)."""
    if job.own_dump:
        from klpkit.compilers.driver import owndump

        return owndump.run_with(job)
    if job.command.through_ccache:
        from klpkit.compilers.driver import ccache

        return ccache.run_through(job.argv())
    from klpkit.compilers.driver.asking import Along

    dump, along = DumpFile(), Along(job, level)
    status = run.run(job.argv(OPTION, *along.options), meanwhile=meanwhile)
    job.told = along.texts()
    return status, dump.content()


def _once_more(job: Job) -> bytes:
    """The dump of a compilation that left none: a wrapper took its object from elsewhere, so compile here."""
    from klpkit.compilers.driver.variants import quiet

    run.rewind_input()
    dump = DumpFile()
    if run.run([job.command.compiler, *fitting([*quiet(job.words), OPTION])]) == 0:
        data = dump.content()
        if data is not None:
            return data
    raise DriverError(
        f"{job.source}: the compiler left no clone dump, so nobody knows what it inlined",
        hint="run the compiler itself under klpkit-cc, without a wrapper between them",
    )


def object_code(path: str) -> LightObject | None:
    """What the object at `path` shows; None for what is no object (`-o /dev/null`)."""
    if not os.path.isfile(path):
        return None
    from klpkit.records import lightelf

    try:
        light = lightelf.read_light(content(path) or b"", path)
    except Exception as error:
        if type(error).__name__ != "FormatError":
            raise
        warn(f"{error}: how functions can be patched is unknown, callers of clones may be missing from the list")
        return None
    for sentence in light.warnings:
        warn(sentence, path)
    return light


def deliver(unit: Unit, wanted: Wanted) -> None:
    """Check the promise of the level and write the list."""
    level = wanted.level
    assert level is not None
    excused = keep_promise(unit, level)
    if unit.job.lto:
        from klpkit.compilers.driver import ltostore

        ltostore.keep(unit)
    if wanted.listing and not unit.job.lto:
        write_list(unit, wanted, excused)


def keep_promise(unit: Unit, level: Level) -> dict[tuple[str, str, int, int], str]:
    """Tell what breaks the level; the functions that are excused."""
    if level == "inline-clone" or not unit.data or not unit.dump.clones:
        return {}
    from klpkit.compilers.driver import asking, promise
    from klpkit.compilers.driver.attributes import Attributes

    cfg, cgraph = (data.decode(errors="surrogateescape") for data in unit.job.told)
    known = Attributes(asking.asker(unit.job), (cfg, cgraph), old_c=asking.is_old_c(unit.job))
    broken, excused = promise.check(level, unit.dump, unit.public, known)
    promise.tell(level, broken)
    return excused


def write_list(unit: Unit, wanted: Wanted, excused: dict[tuple[str, str, int, int], str]) -> None:
    from klpkit.compilers.driver import listing
    from klpkit.compilers.driver.effects import Effects

    effects = Effects()
    effects.add_dump(unit.dump)
    if unit.code:
        effects.add_object(unit.code)
    effects.excused = excused
    warn_unknown(effects, unit.job.source)
    functions = {symbol for symbol, _ in unit.code.functions} if unit.code else None
    job = unit.job
    name = listing.unit_name(job.unit, wanted.file) + (f"({job.member})" if job.member else "")
    level = str(wanted.level)
    listing.write(listing.text(name, level, effects, functions, wanted.function, [job.source]), wanted.file)


def warn_unknown(effects: Effects, where: str) -> None:
    from klpkit.records.clonelines import unknown_word_warning

    for word, count in effects.unknown_words.items():
        warn(unknown_word_warning(word, count), where)
