"""A finished module read back as the kernel's loader would read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from klpkit.livepatch.model import PatchedObject
from klpkit.target import Target


def verify(content: bytes, path: Path, objects: Sequence[PatchedObject], target: Target) -> None:
    """`KlpkitError` where the loader would refuse the module, or take it and do something else."""
