"""Build trees as Kbuild leaves them, made by hand."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

FLAGS = "-nostdinc -I./include -D__KERNEL__ -O2"


def write_cmd(
    tree: Path,
    target: str,
    source: str,
    *,
    prefix: str = "savedcmd_",
    headers: Iterable[str] = (),
    flags: str = FLAGS,
    compiler: str = "gcc",
    tail: str = "",
) -> Path:
    """The `.cmd` file of one compilation."""
    place = Path(target)
    path = tree / place.parent / f".{place.name}.cmd"
    path.parent.mkdir(parents=True, exist_ok=True)
    name = place.stem
    defines = f"-DKBUILD_MODFILE='\"{place.with_suffix('')}\"' -DKBUILD_MODNAME='\"{name}\"'"
    depfile = f"{place.parent}/.{place.name}.d"
    command = f"{compiler} -Wp,-MMD,{depfile} {flags}  {defines} -c -o {target} {source} {tail}"
    deps = "".join(f"  {header} \\\n    $(wildcard include/config/SMP) \\\n" for header in headers)
    path.write_text(
        f"{prefix}{target} := {command}\n\nsource_{target} := {source}\n\ndeps_{target} := \\\n{deps}\n"
        f"{target}: $(deps_{target})\n\n$(deps_{target}):\n"
    )
    return path


def write_source(tree: Path, name: str, text: str) -> Path:
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def thin_archive(folder: Path, name: str, members: Iterable[str]) -> None:
    """A thin archive as Kbuild makes them; the members are made where they are missing."""
    for member in members:
        (folder / member).parent.mkdir(parents=True, exist_ok=True)
        (folder / member).touch()
    subprocess.run(["ar", "cDPrST", name, *members], cwd=folder, check=True, capture_output=True)


def snapshot(tree: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file of `tree` with time, size and content."""
    return {
        str(path.relative_to(tree)): (path.stat().st_mtime_ns, path.stat().st_size, path.read_bytes())
        for path in sorted(tree.rglob("*"))
        if path.is_file()
    }
