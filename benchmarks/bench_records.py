"""Clone dumps of a whole kernel: read and closed for every function, and one function asked again later.

    python benchmarks/bench_records.py [CLONE_LINES]

Each figure is a fresh process's, imports included: CPU time (user and system), wall time and peak memory.  What
else a machine does only ever adds to a time, so klpkit's figures are those of the least of several runs, with the
median beside them; the baseline, which needs long, runs once.  It is what one writes first: an object a function
and an effect, a line split at a time, and a search with a stack for each function.  All run in this same call on
the same dumps (`synthetic_dumps`).
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench_help import bytecode_environment
from synthetic_dumps import REMOVALS, write_dumps

CLONE_LINES = 1_000_000
RUNS_OF_KLPKIT = 7


class Figures(NamedTuple):
    """What a process used and what it found."""

    cpu: float
    wall: float
    peak_mb: float
    found: str
    median_cpu: float | None = None


class _Function:
    def __init__(self, name: str, order: str, file: str, line: str, column: str) -> None:
        self.name, self.order = name, int(order)
        self.file, self.line, self.column = file, int(line), int(column)
        self.effects: list[_Effect] = []
        self.removed = False


class _Effect:
    def __init__(self, body: _Function, user: _Function, cause: str) -> None:
        self.body, self.user, self.cause = body, user, cause
        body.effects.append(self)


def run_baseline(folder: str) -> str:
    """The object graph; returns how many functions there are and how many they impact altogether."""
    functions: dict[tuple[str, str, str], _Function] = {}
    for path in sorted(Path(folder).rglob("*.ipa-clones")):
        unit = str(path)

        def function(fields: list[str], unit: str = unit) -> _Function:
            key = (unit, fields[0], fields[1])
            if key not in functions:
                functions[key] = _Function(*fields)
            return functions[key]

        with path.open() as lines:
            for line in lines:
                fields = line.rstrip("\n").split(";")
                if fields[0] == "Callgraph clone":
                    _Effect(function(fields[1:6]), function(fields[6:11]), fields[11])
                else:
                    function(fields[1:6]).removed = True
    lists = [_impacted(function) for function in functions.values()]
    return f"{sum(map(len, lists)):,} list entries"


def _impacted(function: _Function) -> list[_Function]:
    seen = {function: None}
    todo = [function]
    while todo:
        for effect in todo.pop().effects:
            if effect.user not in seen:
                seen[effect.user] = None
                todo.append(effect.user)
    return list(seen)


def run_klpkit(folder: str) -> str:
    """The same with klpkit, nothing kept on disk."""
    from klpkit.impact.closure import closure_all
    from klpkit.impact.graph import Graph
    from klpkit.records import read_clone_dumps

    closures = closure_all(Graph(read_clone_dumps(folder, cache=False)))
    return f"{closures.sizes().sum():,} list entries"


def run_query(folder: str) -> str:
    """One function asked; the first time reads the dumps and keeps the table."""
    from klpkit.impact.query import answer, find_functions
    from klpkit.records import read_clone_dumps

    table = read_clone_dumps(folder)
    name = table.strings[int(table.symbol[table.body[len(table) // 2]])]
    return f"{len(answer(table, find_functions(table, name)).impacted)} impacted"


def run_nothing(folder: str) -> str:
    """Everything imported once, so that no later figure has the compiling of modules in it."""
    from klpkit.impact import closure, query
    from klpkit.records import clonebulk, clonecache

    return f"{len((closure.__doc__, query.__doc__, clonebulk.__doc__, clonecache.__doc__))} modules for {folder}"


RUNS: dict[str, Callable[[str], str]] = {
    "nothing": run_nothing,
    "baseline": run_baseline,
    "klpkit": run_klpkit,
    "query": run_query,
}


def measured(kind: str, folder: Path) -> Figures:
    """What `kind` needs on the dumps in `folder`, in a process of its own."""
    before = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--run", kind, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=bytecode_environment(str(folder / ".bytecode")) | {"XDG_CACHE_HOME": str(folder / ".cache")},
    )
    wall = time.perf_counter() - before
    cpu, peak, found = done.stdout.rstrip("\n").split("\t")
    return Figures(float(cpu), wall, float(peak) / 1024, found)


def least(kind: str, folder: Path, runs: int = RUNS_OF_KLPKIT) -> Figures:
    """The run of several that needed the least CPU, and the median of all."""
    figures = sorted(measured(kind, folder) for _ in range(runs))
    return figures[0]._replace(median_cpu=statistics.median(each.cpu for each in figures))


def _run(kind: str, folder: str) -> None:
    found = RUNS[kind](folder)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss, found, sep="\t")


def main() -> None:
    """Print the table."""
    if sys.argv[1:2] == ["--run"]:
        _run(sys.argv[2], sys.argv[3])
        return
    clone_lines = int(sys.argv[1]) if len(sys.argv) > 1 else CLONE_LINES
    for removals, what in ((0.0, "clone lines alone"), (REMOVALS, "with the removal lines of a kernel")):
        with tempfile.TemporaryDirectory(prefix="klpkit-bench-") as name:
            folder = Path(name)
            dumps = write_dumps(folder, clone_lines, removals=removals)
            size = sum(path.stat().st_size for path in dumps) >> 20
            print(f"{clone_lines:,} clone lines, {what}: {len(dumps):,} dumps, {size} MiB")
            print_table(folder)


def print_table(folder: Path) -> None:
    """Measure everything on the dumps in `folder`."""
    print(f"{'':30}{'CPU s':>7}{'median':>8}{'wall s':>8}{'peak MB':>9}  ")
    measured("nothing", folder)
    base = measured("baseline", folder)
    rows = [("all functions, object graph", base), ("all functions, klpkit", least("klpkit", folder))]
    rows += [("one function, first time", measured("query", folder))]
    rows += [("one function, after that", least("query", folder))]
    for title, figures in rows:
        ratio = f"{base.cpu / figures.cpu:6.1f} x less CPU" if figures is not base else "baseline"
        median = "" if figures.median_cpu is None else f"{figures.median_cpu:.2f}"
        numbers = f"{figures.cpu:7.2f}{median:>8}{figures.wall:8.2f}{figures.peak_mb:9.0f}"
        print(f"{title:30}{numbers}  {ratio:18}{figures.found}")


if __name__ == "__main__":
    main()
