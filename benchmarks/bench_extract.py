"""`klpkit extract` on five functions of Linux 6.1: lines of the draft, time next to compiling the unit, memory.

Limits are the smallest drafts known of other tools for the same functions.  `code` counts the lines of the C file
that hold more than comments and blanks: includes, what is copied, and annotations.  `all` counts every line, the
header comment included.  Time is that of the whole command and of what it runs, the verification included, with
the unit's command known to the build tree; the baseline in the same run is one compilation of the unit with that
command.  Time on the clock and of all processors, each the least of `ROUNDS` runs; both kinds of runs take turns,
since machines change their speed.  Memory is that of all processes together, pages that they share counted once
(PSS), at its peak in a run of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from klpkit import programs
from klpkit.build import open_tree
from klpkit.build.csource import lexemes
from klpkit.build.replays import replay_argv, stable_environment

DEBIAN = Path(__file__).parents[1] / "tools" / "debian_kernel.py"
SERIES = "6.1"
CASES = (
    ("fs/proc/meminfo.c", "meminfo_proc_show", 133),
    ("fs/proc/cmdline.c", "cmdline_proc_show", 11),
    ("net/core/sock.c", "sk_common_release", 91),
    ("drivers/net/tun.c", "tun_net_xmit", 273),
    ("drivers/net/tun.c", "tun_get_user", 596),
)
MEMORY = 300  # MB
COMPILATIONS = 2
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of processors and on the clock."""

    cpu: float
    wall: float


def stock(series: str) -> dict[str, str]:
    """The paths of Debian's kernel of this series, fetched where missing."""
    programs.run((sys.executable, str(DEBIAN), "image", "--series", series))
    known: dict[str, str] = json.loads(
        programs.run((sys.executable, str(DEBIAN), "stock", "--series", series)).stdout
    )
    return known


def code_lines(text: str) -> int:
    """Lines that hold anything but comments and blanks."""
    kept = "".join(" " if kind == "comment" and "\n" not in token else "" if kind == "comment" else token
                   for kind, token, _ in lexemes(text))  # fmt: skip
    return sum(bool(line.strip()) for line in kept.split("\n"))


def costs(*commands: tuple[Sequence[str], Path | None]) -> list[Cost]:
    """What each command, run in its folder, and all that it runs cost: the least of `ROUNDS` runs, in turns."""
    rounds = [[_once(*command) for command in commands] for _ in range(ROUNDS)]
    return [
        Cost(
            min(found.cpu for found in runs),
            min(found.wall for found in runs),
        )
        for runs in zip(*rounds, strict=True)
    ]


def _once(argv: Sequence[str], folder: Path | None) -> Cost:
    start = time.monotonic()
    child = _started(argv, folder)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{' '.join(argv)} failed")
    return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - start)


def _started(argv: Sequence[str], folder: Path | None) -> int:
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    here = Path.cwd()
    os.chdir(folder or here)
    try:
        return os.posix_spawnp(argv[0], list(argv), stable_environment(), file_actions=quiet)
    finally:
        os.chdir(here)


def memory(argv: Sequence[str]) -> float:
    """The most memory in MB that a command and all that it runs have at a time."""
    child, most = _started(argv, None), 0
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        most = max(most, sum(map(_proportional, _family(child))))
        time.sleep(0.01)
    return most / 1024


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # ended meanwhile
            for child in children.read_text().split():
                yield from _family(int(child))


def _proportional(pid: int) -> int:
    try:
        found = re.search(r"^Pss: *(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0  # ended meanwhile
    return int(found[1]) if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", default=SERIES, help=f"series of Debian's kernel (default: {SERIES})")
    parser.add_argument("functions", nargs="*", metavar="FUNCTION", help="only these")
    args = parser.parse_args()
    kernel = stock(args.series)
    tree = open_tree(Path(kernel["build"]), source=Path(kernel["source"]))
    options = ["--build", kernel["build"], "--source", kernel["source"]]
    options += ["--image", kernel["image"], "--modules", kernel["modules"]]
    options += ["--symvers", str(Path(kernel["headers"]) / "Module.symvers"), "--only", "--force"]
    print(f"Linux {kernel['release']}; wanted: lines within limits, {COMPILATIONS} compilations, {MEMORY} MB")
    print(f"{'':18} code (limit)   all   unit s   extract s   compilations (of processors)    MB")
    for source, function, limit in CASES:
        if args.functions and function not in args.functions:
            continue
        with tempfile.TemporaryDirectory(prefix="klpkit-bench-") as work:
            unit = tree.ensure_unit(source)
            command = [str(Path(sys.executable).with_name("klpkit")), "extract", f"{source}:{function}", *options]
            compilation, found = costs(
                (replay_argv(unit, Path(work, "unit.o")), unit.directory),
                ([*command, "-o", f"{work}/draft"], None),
            )
            together = memory([*command, "-o", f"{work}/draft"])
            (draft,) = [file for file in Path(work, "draft").glob("*.c") if file.name != "glue.c"]
            text = draft.read_text()
        lines = f"{code_lines(text):5} {f'({limit})':>7}{len(text.splitlines()):6}"
        ratios = f"{found.wall / compilation.wall:15.2f} {f'({found.cpu / compilation.cpu:.2f})':>15}"
        print(f"{function:18}{lines}{compilation.wall:9.2f}{found.wall:12.2f}{ratios}{together:6.0f}")


if __name__ == "__main__":
    main()
