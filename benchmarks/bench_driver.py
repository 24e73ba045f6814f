"""What `klpkit-cc` costs of its own in a call, against the compiler alone with the same flags and dump.

CPU time of the whole process tree, the least of many calls, so that other load on the machine does not count.
Run with `python benchmarks/bench_driver.py [COMPILER]`; status 1 where a call costs more than `LIMIT_MS`.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import klpkit.compilers.driver
from klpkit.compilers.driver import features
from klpkit.compilers.levels import LEVELS, Level

LIMIT_MS = 25.0
CALLS = 20
MID_CALLS = 5
FUNCTIONS = 400
"""Functions in the mid-size source: about what a file of the kernel's core has."""

OPTION = "-fease-live-patching"
LIST = "-flive-patching-list=all,list.txt"


def cpu_ms(*commands: list[str], calls: int = CALLS) -> list[float]:
    """The least CPU time of each of `commands` in milliseconds, over `calls` runs in turn."""
    least = [float("inf")] * len(commands)
    for _ in range(calls):
        for number, argv in enumerate(commands):
            least[number] = min(least[number], _once(argv))
    return least


def _once(argv: list[str]) -> float:
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawnp(argv[0], argv, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{argv}: wait status {status}")
    return (usage.ru_utime + usage.ru_stime) * 1000


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
    bare, site = cpu_ms([sys.executable, "-I", "-S", "-c", ""], [sys.executable, "-c", ""])
    print(f"interpreter alone {bare:.1f} ms, with site {site:.1f} ms")
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("small.c").write_text("int f(int x) { return x; }\n")
        Path("mid.c").write_text(mid_size_source())
        for name, words in starts().items():
            worst = max(worst, measured(name, words, compiler))
    print(f"most of its own in a call: {worst:.1f} ms (at most {LIMIT_MS:g} ms are allowed)")
    return int(worst > LIMIT_MS)


def measured(name: str, words: list[str], compiler: str) -> float:
    """Print a row a kind of call; the most that `words` added, in milliseconds."""
    worst = 0.0
    for what, call, ours, theirs in cases(compiler):
        calls = MID_CALLS if "mid.c" in call else CALLS
        plain, driven = cpu_ms([*call, *theirs], [*words, *call, *ours], calls=calls)
        worst = max(worst, driven - plain)
        print(
            f"{name:22} {what:22} {driven:7.1f} ms, alone {plain:7.1f} ms:"
            f" {driven - plain:+6.1f} ms, ratio {driven / plain:.2f}"
        )
    return worst


def cases(compiler: str) -> list[tuple[str, list[str], list[str], list[str]]]:
    """(what, call, the driver's options, what the compiler alone gets in their place)."""
    flags = features.of(shutil.which(compiler) or compiler)
    found: list[tuple[str, list[str], list[str], list[str]]] = [("--version", [compiler, "--version"], [], [])]
    compiling = [compiler, "-O2", "-c", "small.c", "-o", "small.o"]
    found.append(("small, no level", compiling, [], []))
    dump = "-fdump-ipa-clones=/dev/null"
    for level in LEVELS:
        same = [*flags.flags_for(level, "compile", False), dump]
        found.append((f"small, {level}", compiling, [f"{OPTION}={level}"], same))
    same = [*flags.flags_for(Level.INLINE_CLONE, "compile", False), dump]
    found.append(("small, list", compiling, [OPTION, LIST], same))
    middle = [compiler, "-O2", "-c", "mid.c", "-o", "mid.o"]
    found.append((f"{FUNCTIONS} functions, list", middle, [OPTION, LIST], same))
    return found


if __name__ == "__main__":
    sys.exit(main())
