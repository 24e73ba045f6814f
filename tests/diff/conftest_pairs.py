"""Objects for the diff tests: the shared kernel pairs, and small C compiled on the spot."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from klpkit.diff import ObjectDiff, comparison
from klpkit.diff.answer import answer
from klpkit.elf import ElfFile

PAIRS = Path(__file__).resolve().parents[3] / "shared" / "objs"

Compile = Callable[..., Path]


def expected_pairs() -> list[dict[str, Any]]:
    """The rows of `expected.json`; empty where the folder is absent."""
    table = PAIRS / "expected.json"
    return json.loads(table.read_text()) if table.exists() else []


def pair_paths(row: dict[str, Any]) -> tuple[Path, Path]:
    folder = PAIRS / row["arch"]
    return folder / f"{row['name']}.original.o", folder / f"{row['name']}.patched.o"


def compared(original: Path, patched: Path) -> ObjectDiff:
    """The answer of the comparison itself, for equal objects too."""
    return answer(comparison(ElfFile.open(original), ElfFile.open(patched)))


@pytest.fixture
def compile_c(tmp_path: Path) -> Compile:
    """`compile_c(source, *flags, compiler="gcc-12", name="unit")` → the object."""
    count = iter(range(10_000))

    def compile_one(source: str, *flags: str, compiler: str = "gcc-12", name: str = "unit") -> Path:
        if shutil.which(compiler) is None:
            pytest.skip(f"{compiler} is not installed")
        folder = tmp_path / f"build{next(count)}"
        folder.mkdir()
        (folder / f"{name}.c").write_text(source)
        command = [compiler, *flags, "-c", f"{name}.c", "-o", f"{name}.o"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return folder / f"{name}.o"

    return compile_one
