"""What `klpkit-cc` costs of its own in a call, against the compiler alone with the same flags and dump.

CPU time, of which other load on the machine takes no part.  `own` is what the driver's process used itself: the
kernel counts it in nanoseconds, and the compiler's processes are others.  Where the driver becomes the compiler,
the compiler's own share is subtracted.  `tree` is the whole process tree against that of the compiler alone, call
by call in turn; it moves with the compiler's own time, by a tenth of it on a busy machine.

Run with `python benchmarks/bench_driver.py [COMPILER]`; status 1 where the least `own` of a row is above
`LIMIT_MS`.  The least is what the call costs; other programs that share the processor's caches only add to it.
"""

from __future__ import annotations

import compileall
import os
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import klpkit
import klpkit.compilers.driver
from klpkit.compilers.driver import features
from klpkit.compilers.levels import LEVELS, Level

LIMIT_MS = 25.0
CALLS = 20
MID_CALLS = 7
FUNCTIONS = 400
"""Functions in the mid-size source: about what a file of the kernel's core has."""

OPTION = "-fease-live-patching"
LIST = "-flive-patching-list=all,list.txt"


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of call: the compiler's words, the driver's options, what the compiler alone gets in their place."""

    name: str
    call: list[str]
    ours: list[str]
    theirs: list[str]
    becomes: bool = False
    calls: int = CALLS


def cpu_ms(argv: list[str]) -> tuple[float, float]:
    """Run `argv`; CPU milliseconds of its own process, and of the tree of all that it started."""
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawnp(argv[0], argv, os.environ, file_actions=quiet)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    own = int(Path(f"/proc/{child}/schedstat").read_text().split()[0]) / 1e6
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{argv}: wait status {status}")
    return own, (usage.ru_utime + usage.ru_stime) * 1000


def mid_size_source() -> str:
    """C text with statics, header-like inlines and loops, a few hundred clone records when compiled."""
    text = ["int ext(int);"]
    for number in range(FUNCTIONS // 2):
        text.append(f"static int helper{number}(int x, int k) {{ return ext(x) * k + {number}; }}")
        text.append(f"int user{number}(int x) {{ return helper{number}(x, 3) + helper{number}(x + 1, 3); }}")
    return "\n".join(text) + "\n"


def starts() -> dict[str, list[str]]:
    """The ways to start the driver."""
    program = str(Path(klpkit.compilers.driver.__file__).with_name("__main__.py"))
    found = {"klpkit-cc --launcher": [sys.executable, "-I", "-S", program]}
    script = Path(sys.executable).with_name("klpkit-cc")
    return {"klpkit-cc": [str(script)], **found} if script.exists() else found


def main() -> int:
    compiler = sys.argv[1] if len(sys.argv) > 1 else shutil.which("gcc-12") or "gcc"
    # As an installer does; a checkout's bytecode may be old or unwanted (PYTHONDONTWRITEBYTECODE).
    compileall.compile_dir(Path(klpkit.__file__).parent, quiet=1)
    for name, words in {"without": ["-I", "-S"], "with": []}.items():
        taken = [cpu_ms([sys.executable, *words, "-c", ""])[0] for _ in range(CALLS)]
        print(f"interpreter {name} site: least {min(taken):.1f} ms, median {statistics.median(taken):.1f} ms")
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("small.c").write_text("int f(int x) { return x; }\n")
        Path("mid.c").write_text(mid_size_source())
        for name, words in starts().items():
            worst = max(worst, *(measured(name, words, case) for case in cases(compiler)))
    print(f"most of its own in a call: {worst:.1f} ms (the least of a row; at most {LIMIT_MS:g} ms are allowed)")
    return int(worst > LIMIT_MS)


def measured(name: str, words: list[str], case: Case) -> float:
    """Print a row; the least that the driver's process used itself, in milliseconds."""
    own: list[float] = []
    added: list[float] = []
    alone: list[float] = []
    for _ in range(case.calls):
        plain_own, plain_tree = cpu_ms([*case.call, *case.theirs])
        driven_own, driven_tree = cpu_ms([*words, *case.call, *case.ours])
        own.append(driven_own - plain_own if case.becomes else driven_own)
        added.append(driven_tree - plain_tree)
        alone.append(plain_tree)
    print(
        f"{name:20} {case.name:25} own least {min(own):5.1f}, median {statistics.median(own):5.1f} ms;"
        f" tree {statistics.median(added):+6.1f} ms on {statistics.median(alone):6.1f}",
        flush=True,
    )
    return min(own)


def cases(compiler: str) -> list[Case]:
    """Every kind of call that is measured."""
    flags = features.of(shutil.which(compiler) or compiler)
    small = [compiler, "-O2", "-c", "small.c", "-o", "small.o"]
    middle = [compiler, "-O2", "-c", "mid.c", "-o", "mid.o"]

    def same(level: Level) -> list[str]:
        return [*flags.flags_for(level, "compile", False), "-fdump-ipa-clones=/dev/null"]

    clone = same(Level.INLINE_CLONE)
    return [
        Case("--version", [compiler, "--version"], [], [], becomes=True),
        Case("small, no level", small, [], [], becomes=True),
        *(Case(f"small, {level}", small, [f"{OPTION}={level}"], same(level)) for level in LEVELS),
        Case("small, list", small, [OPTION, LIST], clone),
        Case(f"{FUNCTIONS} functions, list", middle, [OPTION, LIST], clone, calls=MID_CALLS),
    ]


if __name__ == "__main__":
    sys.exit(main())
