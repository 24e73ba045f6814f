"""What `klpkit-cc` adds to the CPU time of a kernel build, level by level.

A sample of the small kernel's translation units is compiled by the compiler with a level's own flags and the dumps
that the driver reads, and by `klpkit-cc` at that level with the list of all functions, in turn, so that other load
weighs on both.  Nothing is written into the build tree.

`tree` compares user and system time of both process trees, of each unit the least of `--rounds`: it holds all that
the driver causes, and the compiler's own time, which moves by a tenth and more from run to run.  `own` is what the
driver's processes used themselves, which the kernel counts in nanoseconds: the compiler does the same work with
and without it.

Run with `python benchmarks/bench_kernel_cpu.py [--build TREE] [--units N] [--rounds N] [--seed N] [LEVEL…|all]`;
without a level it is `inline-clone`.  About a second a unit and round.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import klpkit.compilers.driver
from klpkit.build import TranslationUnit, open_tree
from klpkit.build.replays import replay_argv, stable_environment
from klpkit.compilers.driver import features
from klpkit.compilers.levels import DEFAULT_LEVEL, LEVELS, Level

LIMIT = 1.06
# What else tells at a level whether it was honoured: which functions are always_inline, which are static.
MORE_DUMPS = {Level.NONE: ("-fdump-tree-cfg",), Level.ONLY_INLINE_STATIC: ("-fdump-ipa-cgraph",)}
FOLDERS = ("kernel/", "mm/", "fs/", "lib/", "drivers/")
UNITS = 40
ROUNDS = 2
SEED = 612


@dataclass(slots=True)
class Figures:
    """CPU seconds of a level: of the compiler alone, of the driver's trees, of the driver's own processes."""

    alone: float = 0.0
    driven: float = 0.0
    own: float = 0.0
    units: int = 0
    refused: list[str] = field(default_factory=list)


def main() -> None:
    """Print a row a level."""
    wanted = _arguments()
    build = wanted.build.resolve() if wanted.build else _small_kernel()
    if build is None:
        print("kernel build CPU: no small kernel was built (`make levels` builds one); nothing measured")
        return
    units = _sample(build, wanted.units, wanted.seed)
    print(f"CPU of {len(units)} translation units of {build.parent.name}/{build.name}, {wanted.rounds} rounds")
    for level in LEVELS if "all" in wanted.levels else wanted.levels or [DEFAULT_LEVEL]:
        with tempfile.TemporaryDirectory(prefix="klpkit-bench-") as folder:
            row = _measured(units, Level(level), Path(folder), wanted.rounds)
        left_out = f"; do not compile at this level: {', '.join(row.refused)}" if row.refused else ""
        alone = max(row.alone, 0.001)
        print(
            f"  {level:<18} the compiler alone {row.alone:.1f} s, klpkit-cc {row.driven:.1f} s: tree ratio"
            f" {row.driven / alone:.3f}; own {row.own / max(1, row.units) * 1000:.1f} ms a unit, ratio"
            f" {1 + row.own / alone:.3f} (limit {LIMIT}){left_out}",
            flush=True,
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CPU of klpkit-cc on a kernel's translation units")
    parser.add_argument("--build", type=Path, help="a kernel's build tree")
    parser.add_argument("--units", type=int, default=UNITS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("levels", nargs="*", help=f"among {', '.join(LEVELS)}, or all; {DEFAULT_LEVEL} by default")
    given = parser.parse_args()
    if unknown := sorted(set(given.levels) - {*LEVELS, "all"}):
        parser.error(f"unknown level: {', '.join(unknown)}")
    return given


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


def _measured(units: list[TranslationUnit], level: Level, folder: Path, rounds: int) -> Figures:
    """The figures of `units` at `level`.

    The driver starts without what it learned of headers before; what it learns of a compiler is not counted.
    """
    environment = {**stable_environment(), "XDG_CACHE_HOME": str(folder / "cache")}
    first = [*_driver(), *units[0].compiler, "-fease-live-patching", "-S", "-xc", os.devnull]
    _cpu(first, folder, environment)
    row = Figures()
    for unit in units:
        alone: list[float] = []
        driven: list[tuple[float, float]] = []
        for number in range(rounds):
            commands = _commands(unit, level, folder)
            taken = {
                ours: _cpu(commands[ours], unit.directory, environment) for ours in (number % 2, 1 - number % 2)
            }
            if taken[0][2] != taken[1][2]:
                raise SystemExit(f"{unit.object}: wait status {taken[0][2]} alone, {taken[1][2]} with klpkit-cc")
            if taken[0][2]:
                break
            alone.append(taken[0][0])
            driven.append(taken[1][:2])
        if not alone:
            row.refused.append(unit.object.name)
            continue
        row.units += 1
        row.alone += min(alone)
        row.driven += min(tree for tree, _ in driven)
        row.own += min(own for _, own in driven)
    return row


def _commands(unit: TranslationUnit, level: Level, folder: Path) -> tuple[list[str], list[str]]:
    """The compiler's command with the level's flags and a dump, and the driver's command."""
    target = folder / "unit.o"
    compiler = shutil.which(unit.compiler[-1]) or unit.compiler[-1]
    flags = features.of(compiler).flags_for(level, "compile", lto=False)
    ours = (f"-fease-live-patching={level}", f"-flive-patching-list=all,{folder / 'list.txt'}")
    dumps = ("-fdump-ipa-clones", *MORE_DUMPS.get(level, ()))
    asked = [f"{dump}={folder / f'dump{number}'}" for number, dump in enumerate(dumps)]
    alone = [*replay_argv(unit, target, extra=[*flags, *asked])]
    return alone, [*_driver(), *replay_argv(unit, target, extra=ours)]


def _driver() -> Iterator[str]:
    """The words that start the driver: the installed script, else the package itself."""
    script = Path(sys.executable).with_name("klpkit-cc")
    program = Path(klpkit.compilers.driver.__file__).with_name("__main__.py")
    yield from (str(script),) if script.exists() else (sys.executable, "-I", "-S", str(program))


def _cpu(argv: list[str], directory: Path, environment: dict[str, str]) -> tuple[float, float, int]:
    """CPU seconds of `argv` with all that it starts, and of its own process; its wait status."""
    quiet = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    os.chdir(directory)
    child = os.posix_spawnp(argv[0], argv, environment, file_actions=quiet)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    own = int(Path(f"/proc/{child}/schedstat").read_text().split()[0]) / 1e9
    _, status, usage = os.wait4(child, 0)
    return usage.ru_utime + usage.ru_stime, own, status


if __name__ == "__main__":
    main()
