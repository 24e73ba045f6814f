"""Compiling a text in place of a unit's source, with the unit's own flags and with records on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.build.replays import replay
from klpkit.elf import ElfFile
from klpkit.errors import KlpkitError
from klpkit.proof.decisions import Decisions, read_decisions

SUFFIXES = {"c": ".i", "c++": ".ii"}
DUMP = ".ipa-clones"


@dataclass(frozen=True, slots=True)
class Build:
    """One compilation of a text: its object and what the compiler decided between functions."""

    object: Path
    dumps: tuple[Path, ...]
    decisions: Decisions

    @property
    def elf(self) -> ElfFile:
        return ElfFile.open(self.object)


def preprocess(unit: TranslationUnit, workdir: Path) -> str:
    """The preprocessed text of `unit`; errors are those of a replay."""
    name = f"text{SUFFIXES.get(unit.language, '.i')}"
    made = replay(unit, workdir=workdir, extra=("-E", "-w"), output=name)
    return made.object.read_text(errors="surrogateescape")


def compile_text(unit: TranslationUnit, text: str, workdir: Path, *, extra: Sequence[str]) -> Build:
    """`text` compiled as `unit`, its object and dumps in `workdir`; `ProgramFailedError` where it can't be."""
    workdir.mkdir(parents=True, exist_ok=True)
    source = workdir / f"text{SUFFIXES.get(unit.language, '.i')}"
    source.write_text(text, errors="surrogateescape")
    made = replay(unit, workdir=workdir, source=source, extra=extra, output="text.o")
    source.unlink()
    return read_build(made.object, made.dumps)


def read_build(target: Path, dumps: Sequence[Path]) -> Build:
    """A finished compilation from its files."""
    clones = [path for path in dumps if path.name.endswith(DUMP)]
    if len(clones) != 1:
        raise KlpkitError(f"{target}: {len(clones)} clone dumps beside it", hint="clear klpkit's cache")
    return Build(target, tuple(dumps), read_decisions(clones[0]))
