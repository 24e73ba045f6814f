"""Objects for the tests of the ELF rooms: tiny C compiled on the spot, and the shared pairs where present."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "objs"

SOURCE = """
static int hidden(int x) { return x * 3 + 1; }
__attribute__((noinline)) static int used(int x) { return hidden(x) ^ x; }
int data = 7;
extern int other(int);
const char *text(void) { return "a string"; }
int entry(int x) { return used(x) + other(data) + used(x + 1); }
__attribute__((weak)) int soft(void) { return 5; }
"""


def compiler(name: str = "gcc") -> str:
    """The path of `name`; skips the test where it is not installed."""
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def compile_c(source: str, output: Path, *flags: str, cc: str = "gcc") -> Path:
    """`source` compiled to `output` with `-O2` and `flags`."""
    command = [compiler(cc), "-O2", *flags, "-c", "-x", "c", "-", "-o", str(output)]
    subprocess.run(command, input=source.encode(errors="surrogateescape"), check=True, capture_output=True)
    return output


def assemble(source: str, output: Path, *flags: str, cc: str = "gcc") -> Path:
    """Assembler `source` to `output`."""
    command = [compiler(cc), *flags, "-c", "-x", "assembler", "-", "-o", str(output)]
    subprocess.run(command, input=source.encode(errors="surrogateescape"), check=True, capture_output=True)
    return output


@cache
def shared_objects() -> tuple[Path, ...]:
    """The shared object pairs, none where the folder is absent."""
    return tuple(sorted(SHARED.glob("*/*.o")))


def require_shared() -> tuple[Path, ...]:
    """The shared object pairs; skips the test where the folder is absent."""
    if not shared_objects():
        pytest.skip(f"no object pairs in {SHARED}")
    return shared_objects()
