"""Every translation unit that a source patch affects, compiled without and with it in overlays of the source.

Neither the source nor the build tree is written to.  Both sides of a pair go through the same mechanism, so that
nothing but the patch is different between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.build.tree import BuildTree


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

    `changed_files` are relative to the source tree.  `notes` are sentences for the user: hunks applied elsewhere
    than they say, files that no unit of this configuration sees.
    """

    pairs: tuple[Pair, ...]
    equal: tuple[TranslationUnit, ...]
    changed_files: tuple[str, ...]
    notes: tuple[str, ...] = ()


def compile_pairs(
    tree: BuildTree,
    patches: Sequence[Path],
    work: Path,
    *,
    units: Sequence[str] = (),
    fuzz: int = 0,
    jobs: int | None = None,
    done: Callable[[TranslationUnit], None] | None = None,
) -> Compiled:
    """Apply `patches` in their order to an overlay in `work` and compile every affected unit of `tree` twice.

    `units` restricts the answer to these sources; they are needed where the tree has no dependency lists.
    """
    raise NotImplementedError
