"""`klpkit --help`: how long a person waits for the first thing that they ask.

    python benchmarks/bench_help.py [ROUNDS]

The baselines are the bare interpreter and `import click`, without which no command runs.  The three take turns
and the median of each counts.  Bytecode is kept as it is at a user's, even where the environment forbids it: in
a folder of its own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 15
LIMIT_MS = 80
COMMANDS = {
    "bare interpreter": ["-c", "pass"],
    "import click": ["-c", "import click"],
    "klpkit --help": ["-c", "from klpkit.cli.entry import main; main()", "--help"],
}


def milliseconds(words: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """CPU and wall time of one run of the interpreter with `words`."""
    before, started = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *words], env=environment, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return 1000 * cpu, 1000 * wall


def bytecode_environment(folder: str) -> dict[str, str]:
    """An environment in which modules are compiled once, as at a user's."""
    environment = dict(os.environ)
    if environment.pop("PYTHONDONTWRITEBYTECODE", ""):
        environment["PYTHONPYCACHEPREFIX"] = folder
    return environment


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory(prefix="klpkit-bench-") as folder:
        environment = bytecode_environment(folder)
        for number in range(rounds + 1):
            for name, words in COMMANDS.items():
                figures = milliseconds(words, environment)
                # The first round fills caches.
                taken[name] += [figures] if number else []
    print(f"{'':20}{'CPU ms':>8}{'wall ms':>9}   medians of {rounds} rounds; limit {LIMIT_MS} ms")
    for name, all_figures in taken.items():
        cpu, wall = (statistics.median(column) for column in zip(*all_figures, strict=True))
        print(f"{name:20}{cpu:8.0f}{wall:9.0f}")


if __name__ == "__main__":
    main()
