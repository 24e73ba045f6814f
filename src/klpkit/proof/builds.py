"""Compiling a text in place of a unit's source, with the unit's own flags and with records on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.build.replays import replay
from klpkit.elf import ElfFile
from klpkit.errors import KlpkitError
from klpkit.proof.decisions import Decisions
from klpkit.proof.hiding import Hider


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
    name = "text.ii" if unit.language == "c++" else "text.i"
    made = replay(unit, workdir=workdir, extra=("-E", "-w"), output=name)
    return made.object.read_text(errors="surrogateescape")


def compile_text(
    unit: TranslationUnit, text: str, workdir: Path, hider: Hider, flags: Sequence[str] = ()
) -> Build:
    """Lowered `text` compiled as `unit`, its object and record in `workdir`; errors are those of a replay."""
    made = hider.compiled(unit, text, workdir, flags)
    return read_build(made.object, sorted(workdir.glob(f"*{hider.record}")), hider)


def read_build(target: Path, records: Sequence[Path], hider: Hider) -> Build:
    """A finished compilation from its files."""
    if len(records) != 1:
        raise KlpkitError(f"{target}: {len(records)} records beside it", hint="clear klpkit's cache")
    return Build(target, tuple(records), hider.decisions(records[0]))
