"""What `klpkit-cc` adds to the CPU time of a kernel build, level by level.

A sample of the small kernel's translation units is compiled by the compiler with a level's own flags and
`-fdump-ipa-clones`, and by `klpkit-cc` at that level with the list of all functions: user and system time of both
process trees, in turn, so that other load weighs on both.  Nothing is written into the build tree.

Run with `python benchmarks/bench_kernel_cpu.py [--build TREE] [--units N] [--seed N] [LEVEL…]`.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import klpkit.compilers.driver
from klpkit.build import TranslationUnit, open_tree
from klpkit.build.replays import replay_argv, stable_environment
from klpkit.compilers.driver import features
from klpkit.compilers.levels import LEVELS, Level

LIMIT = 1.06
FOLDERS = ("kernel/", "mm/", "fs/", "lib/", "drivers/")
UNITS = 60
SEED = 612


def main() -> None:
    """Print a row a level."""
    wanted = _arguments()
    build = wanted.build or _small_kernel()
    if build is None:
        print("kernel build CPU: no small kernel was built (`make levels` builds one); nothing measured")
        return
    units = _sample(build, wanted.units, wanted.seed)
    print(f"CPU of {len(units)} translation units of {build.parent.name}/{build.name}, limit {LIMIT}")
    for level in wanted.levels or LEVELS:
        with tempfile.TemporaryDirectory(prefix="klpkit-bench-") as folder:
            plain, driven, refused = _measured(units, Level(level), Path(folder))
        each = (driven - plain) / max(1, len(units) - len(refused)) * 1000
        left_out = f"; do not compile at this level: {', '.join(refused)}" if refused else ""
        print(
            f"  {level:<20} the compiler alone {plain:7.2f} s, klpkit-cc {driven:7.2f} s, {each:+6.1f} ms a unit,"
            f" ratio {driven / max(plain, 0.001):.3f} (limit {LIMIT}){left_out}",
            flush=True,
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CPU of klpkit-cc on a kernel's translation units")
    parser.add_argument("--build", type=Path, help="a kernel's build tree")
    parser.add_argument("--units", type=int, default=UNITS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("levels", nargs="*", help=f"among {', '.join(LEVELS)}; all of them by default")
    return parser.parse_args()


def _small_kernel() -> Path | None:
    """A finished build of the small kernel without a level, in klpkit's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "klpkit", "kernels")
    return next((stamp.parent for stamp in sorted(cache.glob("*/small-*/plain*/.built"))), None)


def _sample(build: Path, count: int, seed: int) -> list[TranslationUnit]:
    """`count` units of the kernel's main folders, always the same ones for a seed."""
    tree = open_tree(build)
    found = [unit for unit in tree.units() if str(unit.object.relative_to(build)).startswith(FOLDERS)]
    found.sort(key=lambda unit: str(unit.object))
    return random.Random(seed).sample(found, min(count, len(found)))


def _measured(units: list[TranslationUnit], level: Level, folder: Path) -> tuple[float, float, list[str]]:
    """(CPU seconds of the compiler alone, of the driver, objects that do not compile at `level`).

    The driver starts without what it learned of headers before; what it learns of a compiler is not counted.
    """
    environment = {**stable_environment(), "XDG_CACHE_HOME": str(folder / "cache")}
    plain = driven = 0.0
    refused = []
    for number, unit in enumerate(units):
        alone, with_us = _commands(unit, level, folder)
        if not number:
            _cpu(
                [*_driver(), *unit.compiler, "-fease-live-patching", "-S", "-xc", os.devnull], folder, environment
            )
        first, second = (with_us, alone) if number % 2 else (alone, with_us)
        rows = _cpu(first, unit.directory, environment), _cpu(second, unit.directory, environment)
        (alone_took, alone_ended), (with_us_took, with_us_ended) = reversed(rows) if number % 2 else rows
        if alone_ended != with_us_ended:
            raise SystemExit(f"{unit.object}: wait status {alone_ended} alone, {with_us_ended} with klpkit-cc")
        if alone_ended:
            refused.append(unit.object.name)
            continue
        plain += alone_took
        driven += with_us_took
    return plain, driven, refused


def _commands(unit: TranslationUnit, level: Level, folder: Path) -> tuple[list[str], list[str]]:
    """The compiler's command with the level's flags and a dump, and the driver's command."""
    target = folder / "unit.o"
    compiler = shutil.which(unit.compiler[-1]) or unit.compiler[-1]
    flags = features.of(compiler).flags_for(level, "compile", lto=False)
    ours = (f"-fease-live-patching={level}", f"-flive-patching-list=all,{folder / 'list.txt'}")
    alone = [*replay_argv(unit, target, extra=[*flags, f"-fdump-ipa-clones={folder / 'dump'}"])]
    return alone, [*_driver(), *replay_argv(unit, target, extra=ours)]


def _driver() -> Iterator[str]:
    """The words that start the driver: the installed script, else the package itself."""
    script = Path(sys.executable).with_name("klpkit-cc")
    program = Path(klpkit.compilers.driver.__file__).with_name("__main__.py")
    yield from (str(script),) if script.exists() else (sys.executable, "-I", "-S", str(program))


def _cpu(argv: list[str], directory: Path, environment: dict[str, str]) -> tuple[float, int]:
    """(user and system seconds of `argv` and all that it starts, its wait status); its talk is dropped."""
    quiet = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    child = os.posix_spawnp("env", ["env", "-C", str(directory), *argv], environment, file_actions=quiet)
    _, status, usage = os.wait4(child, 0)
    return usage.ru_utime + usage.ru_stime, status


if __name__ == "__main__":
    main()
