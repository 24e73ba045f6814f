"""Indexing 5,000 `.cmd` files, against reading and splitting each whole with the standard library.

The files are made from a template of the size that a kernel's have (60 kB, 750 headers); the page cache is warm.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from klpkit.build.index import load_index

FILES = 5_000
FOLDERS = 400
_FLAGS = " ".join(f"-Wsome-warning-number-{number}" for number in range(140))
_HEADERS = "".join(
    f"  /usr/src/linux/include/linux/header_{number}.h \\\n    $(wildcard include/config/OPTION_{number}) \\\n"
    for number in range(750)
)


def make_tree(root: Path) -> None:
    """A build tree of `FILES` `.cmd` files and twice as many other files in `FOLDERS` folders."""
    for number in range(FILES):
        folder = f"drivers/d{number % FOLDERS}"
        target = f"{folder}/unit{number}.o"
        (root / folder).mkdir(parents=True, exist_ok=True)
        command = f"gcc -D__KERNEL__ {_FLAGS} -DKBUILD_MODNAME='\"unit{number}\"' -c -o {target} {target[:-1]}c"
        (root / folder / f".unit{number}.o.cmd").write_text(
            f"savedcmd_{target} := {command}\n\nsource_{target} := {target[:-1]}c\n\n"
            f"deps_{target} := \\\n{_HEADERS}\n"
        )
        (root / target).touch()
        (root / f"{target[:-1]}mod").touch()
    then = time.time() - 1000
    for path in [root, *root.rglob("*")]:
        os.utime(path, (then, then))


def baseline(root: Path) -> int:
    """What a short script does: read each file, split its command, list its headers."""
    units = {}
    for path in root.rglob(".*.cmd"):
        text = path.read_text()
        command = shlex.split(text.split(" := ", 1)[1].split("\n", 1)[0])
        headers = re.findall(r"^  (\S+\.h) ", text, re.MULTILINE)
        units[path] = command, headers
    return len(units)


def timed(label: str, work: Callable[[], int]) -> float:
    wall, cpu = time.perf_counter(), time.process_time()
    count = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"  {label:<44} {wall:7.3f} s wall {cpu:7.3f} s CPU  ({count} units)")
    return cpu


def main() -> None:
    """Print the times and their ratios."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_CACHE_HOME"] = f"{name}/cache"
        root = Path(name, "tree")
        make_tree(root)
        print(f"index of {FILES} .cmd files")
        base = timed("baseline: read and split each (shlex, re)", lambda: baseline(root))
        first = timed("klpkit, first time", lambda: len(load_index(root).entries))
        again = timed("klpkit, nothing changed", lambda: len(load_index(root).entries))
        print(
            f"  less CPU than the baseline: {base / first:.0f} times at first, {base / again:.0f} times afterwards"
        )


if __name__ == "__main__":
    main()
