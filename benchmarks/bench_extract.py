"""`klpkit extract` on five functions of Debian's kernel: lines of the draft, and time next to compiling the unit.

Limits are the smallest drafts known of other tools, for the same functions of Linux 6.1 (6.12 is measured here,
whose functions and structures are larger): lines without blank ones and comments, as `code`; `all` counts every
line of the C file, the annotations and the header comment included.  Time is that of the whole command; the
baseline in the same run is one compilation of the unit with its own command.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from klpkit import programs
from klpkit.build import open_tree
from klpkit.build.csource import lexemes
from klpkit.build.replays import replay

DEBIAN = Path(__file__).parents[1] / "tools" / "debian_kernel.py"
CASES = (
    ("fs/proc/meminfo.c", "meminfo_proc_show", 133),
    ("fs/proc/cmdline.c", "cmdline_proc_show", 11),
    ("net/core/sock.c", "sk_common_release", 91),
    ("drivers/net/tun.c", "tun_net_xmit", 273),
    ("drivers/net/tun.c", "tun_get_user", 596),
)
MEMORY = 300  # MB
COMPILATIONS = 2


def stock() -> dict[str, str]:
    done = programs.run((sys.executable, str(DEBIAN), "stock"))
    known: dict[str, str] = json.loads(done.stdout)
    return known


def code_lines(text: str) -> int:
    """Lines that hold anything but comments and blanks."""
    kept = "".join(" " if kind == "comment" and "\n" not in token else "" if kind == "comment" else token
                   for kind, token, _ in lexemes(text))  # fmt: skip
    return sum(bool(line.strip()) for line in kept.split("\n"))


def measured(argv: list[str]) -> tuple[float, float]:
    """Wall seconds and the largest resident size (MB) of a command and what it runs."""
    start = time.monotonic()
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawn(argv[0], argv, {**os.environ, "LC_ALL": "C"}, file_actions=quiet)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{' '.join(argv)} failed")
    return time.monotonic() - start, usage.ru_maxrss / 1024


def main() -> None:
    kernel = stock()
    tree = open_tree(Path(kernel["build"]), source=Path(kernel["source"]))
    files: tuple[str, ...] = ("--image", kernel["image"], "--modules", kernel["modules"])
    files += ("--symvers", str(Path(kernel["headers"]) / "Module.symvers"))
    print(f"Linux {kernel['release']}; limits are for 6.1")
    print("function              code lines (limit)  all lines   unit s   extract s   compilations   MB")
    for source, function, limit in CASES:
        with tempfile.TemporaryDirectory(prefix="klpkit-bench-") as work:
            start = time.monotonic()
            replay(tree.ensure_unit(source), workdir=Path(work, "unit"))
            unit = time.monotonic() - start
            command = [str(Path(sys.executable).with_name("klpkit")), "extract", f"{source}:{function}", *files]
            command += ["--build", kernel["build"], "--only", "-o", f"{work}/draft"]
            seconds, memory = measured(command)
            (draft,) = [file for file in Path(work, "draft").glob("*.c") if file.name != "glue.c"]
            text = draft.read_text()
        print(
            f"{function:22}{code_lines(text):10} ({limit}) {len(text.splitlines()):11} {unit:8.1f} {seconds:11.1f}"
            f" {seconds / unit:14.2f} {memory:5.0f}"
        )
    print(f"wanted: {COMPILATIONS} compilations, {MEMORY} MB")


if __name__ == "__main__":
    main()
