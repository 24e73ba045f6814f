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


def lowered(unit: TranslationUnit, text: str, workdir: Path, hider: Hider) -> str:
    """The text in which `hider` hides bodies, made of preprocessed `text`."""
    if not hider.lowering:
        return text
    workdir.mkdir(parents=True, exist_ok=True)
    source = workdir / ("text.ii" if unit.language == "c++" else "text.i")
    source.write_text(text, errors="surrogateescape")
    made = replay(
        unit, workdir=workdir, source=source, extra=hider.lowering, output=f"text{hider.suffix(unit.language)}"
    )
    return made.object.read_text(errors="surrogateescape")


def compile_text(
    unit: TranslationUnit, text: str, workdir: Path, hider: Hider, extra: Sequence[str] = ()
) -> Build:
    """`text` compiled as `unit`, its object and dumps in `workdir`; `ProgramFailedError` where it can't be."""
    workdir.mkdir(parents=True, exist_ok=True)
    source = workdir / f"text{hider.suffix(unit.language)}"
    source.write_text(text, errors="surrogateescape")
    flags = (*hider.flags, *hider.dumps, *extra)
    made = replay(unit, workdir=workdir, source=source, extra=flags, output="text.o")
    source.unlink()
    return read_build(made.object, made.dumps, hider)


def read_build(target: Path, dumps: Sequence[Path], hider: Hider) -> Build:
    """A finished compilation from its files."""
    records = [path for path in dumps if path.name.endswith(hider.record)]
    if len(records) != 1:
        raise KlpkitError(f"{target}: {len(records)} records beside it", hint="clear klpkit's cache")
    return Build(target, tuple(dumps), hider.decisions(records[0]))
