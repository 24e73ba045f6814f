"""From a patch to a module: `klpkit build` for Debian's stock kernel against the work that can't be avoided.

That work is two compilations of the unit by the tree's own command, at once, and one link of a small module by
the kernel's own Kbuild.  Ratios are of CPU time (this process and all that it runs) and of time that passes.
"""

from __future__ import annotations

import difflib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from klpkit import programs
from klpkit.build import open_tree, replay
from klpkit.livepatch.kbuild import clean_environment

ROUNDS = 3
CHECKOUT = Path(__file__).resolve().parent.parent
UNITS = {
    "fs/proc/meminfo.c": '\tshow_val_kb(m, "MemFree:        ", i.freeram);\n',
    "kernel/signal.c": "\t\tset_tsk_thread_flag(t, TIF_SIGPENDING);\n\t\treturn true;\n",
}
CHANGE = {
    "fs/proc/meminfo.c": '\tseq_puts(m, "Fixed\\n");\n',
    "kernel/signal.c": "\t\tbarrier();\n\t\tcpu_relax();\n",
}


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of CPU and seconds that passed."""

    cpu: float
    wall: float


def took(work: Callable[[], object]) -> Took:
    cpu, wall = used(), time.monotonic()
    work()
    return Took(used() - cpu, time.monotonic() - wall)


def used() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def stock() -> dict[str, str]:
    """The paths of Debian's stock kernel."""
    tool = str(CHECKOUT / "tools" / "debian_kernel.py")
    for what in ("image", "stock"):
        done = subprocess.run([sys.executable, tool, what], check=True, capture_output=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def unavoidable(kernel: dict[str, str], source: str, work: Path) -> Took:
    """Two compilations at once, and Kbuild's own link of a module of one line."""
    unit = open_tree(Path(kernel["build"])).ensure_unit(source)
    module = work / "module"
    module.mkdir()
    (module / "Makefile").write_text("obj-m := bench.o\n")
    (module / "bench.c").write_text(
        '#include <linux/module.h>\nMODULE_LICENSE("GPL");\nMODULE_INFO(livepatch, "Y");\n'
    )
    argv = [
        "make",
        "-C",
        kernel["headers"],
        f"M={module}",
        "KCFLAGS=-g0",
        "CONFIG_DEBUG_INFO_BTF_MODULES=",
        "modules",
    ]

    def both() -> None:
        programs.parallel(lambda side: replay(unit, workdir=work / side, extra=["-g0"]), ("a", "b"))
        programs.run(argv, env=clean_environment(os.environ))

    return took(both)


def ours(kernel: dict[str, str], source: str, work: Path, environment: dict[str, str] | None = None) -> Took:
    """`klpkit build` as a user starts it."""
    line = UNITS[source]
    old = (Path(kernel["source"]) / source).read_text()
    before, after = (text.splitlines(True) for text in (old, old.replace(line, CHANGE[source] + line, 1)))
    patch = work / "fix.patch"
    patch.write_text("".join(difflib.unified_diff(before, after, f"a/{source}", f"b/{source}")))
    klpkit = str(Path(sys.executable).with_name("klpkit"))
    argv = [klpkit, "build", str(patch), "-o", str(work / "fix.ko")]
    for option in ("build", "headers", "image", "modules"):
        argv += [f"--{option}", kernel[option]]
    return took(lambda: subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env=environment))


def least(runs: list[Took]) -> Took:
    """The least of several runs: other work on the machine only adds."""
    return Took(min(run.cpu for run in runs), min(run.wall for run in runs))


def measured(kernel: dict[str, str], source: str) -> tuple[Took, Took]:
    """The unavoidable work and ours, in turns."""
    base, mine = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            base.append(unavoidable(kernel, source, Path(folder)))
            mine.append(ours(kernel, source, Path(folder)))
    return least(base), least(mine)


def cold(kernel: dict[str, str], source: str) -> Took:
    """The first patch ever for a kernel: its image is unpacked, its symbols decoded, Kbuild asked for commands."""
    with tempfile.TemporaryDirectory() as folder:
        return ours(kernel, source, Path(folder), {**os.environ, "XDG_CACHE_HOME": folder})


def main() -> None:
    kernel = stock()
    print(f"baseline: two compilations at once and Kbuild's link of an empty module; the least of {ROUNDS} runs")
    for source in UNITS:
        open_tree(Path(kernel["build"])).ensure_unit(source)  # Kbuild is asked for the command once, ever
        base, mine = measured(kernel, source)
        print(
            f"klpkit build, {source}: {mine.cpu:.1f} s of CPU, {mine.cpu / base.cpu:.2f} times the baseline's "
            f"{base.cpu:.1f}; {mine.wall:.1f} s, {mine.wall / base.wall:.2f} times the baseline's {base.wall:.1f}"
        )
    first = cold(kernel, next(iter(UNITS)))
    print(
        f"klpkit build, the first for a kernel, {next(iter(UNITS))}: {first.cpu:.1f} s of CPU, {first.wall:.1f} s"
    )


if __name__ == "__main__":
    main()
