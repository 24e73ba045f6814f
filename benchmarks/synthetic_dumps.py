"""Clone dumps of a kernel that does not exist: deterministic, in the proportions of a real one.

The shape follows dumps of Linux 6.12 (gcc 12, cloud configuration): a dump has about 130 clone lines and 0.6
removal lines for each of them, 170 bytes a line; a sixth of the clone lines repeat an earlier one; a function
in the dump takes part in four; most are header functions that many dumps share; a function is inlined one to
four levels deep; one symbol in 50 has a second node.
"""

from __future__ import annotations

import random
from pathlib import Path

CLONE_LINES_PER_DUMP = 132
SUFFIXES = (("constprop", "constprop.0"), ("isra", "isra.0"), ("part", "part.0"))
WORDS = ("alloc", "bitmap", "check", "clear", "folio", "get", "init", "instrumented", "list", "lock", "page")
WORDS += ("percpu", "put", "refcount", "set", "sock", "static", "task", "test", "user", "xarray")
FOLDERS = ("kernel", "mm", "fs", "net/core", "net/ipv4", "drivers/base", "block", "lib", "security", "fs/ext4")


def _name(rng: random.Random, number: int) -> str:
    return f"{'_'.join(rng.choices(WORDS, k=rng.randint(2, 5)))}_{number % 977}"


class _Headers:
    """Inline functions that many dumps share."""

    def __init__(self, rng: random.Random, count: int) -> None:
        self.functions = [
            (
                _name(rng, i),
                f"./arch/x86/include/asm/{'_'.join(rng.choices(WORDS, k=3))}/{rng.choice(WORDS)}-instrumented.h",
                rng.randint(10, 3000),
                rng.choice((1, 19, 20, 29)),
            )
            for i in range(count)
        ]


def write_dumps(folder: Path, clone_lines: int, seed: int = 1) -> list[Path]:
    """Write dumps with `clone_lines` clone lines altogether below `folder` and return their paths."""
    rng = random.Random(seed)
    headers = _Headers(rng, 6000)
    paths = []
    for unit in range((clone_lines + CLONE_LINES_PER_DUMP - 1) // CLONE_LINES_PER_DUMP):
        directory = folder / FOLDERS[unit % len(FOLDERS)]
        directory.mkdir(parents=True, exist_ok=True)
        source = f"{FOLDERS[unit % len(FOLDERS)]}/{rng.choice(WORDS)}_{unit}.c"
        path = folder / f"{source}.000i.ipa-clones"
        wanted = min(CLONE_LINES_PER_DUMP, clone_lines - unit * CLONE_LINES_PER_DUMP)
        path.write_text("".join(_dump(rng, headers, source, wanted)))
        paths.append(path)
    return paths


def _dump(rng: random.Random, headers: _Headers, source: str, clone_lines: int) -> list[str]:
    """The lines of one unit's dump: levels of functions, each inlined into some of the level above."""
    used = rng.sample(headers.functions, clone_lines // 4)
    own = [(_name(rng, i), source, 20 * i + 20, 13) for i in range(clone_lines // 5)]
    nodes = [
        f"{name};{1000 + 7 * i};{file};{line};{column}" for i, (name, file, line, column) in enumerate(used + own)
    ]
    lines: list[str] = []
    count = 0
    while count < clone_lines:
        at = min(int(rng.betavariate(1, 2) * len(nodes)), len(nodes) - 2)
        user = rng.randrange(at + 1, min(len(nodes), at + 2 + len(nodes) // 2))
        line = f"Callgraph clone;{nodes[at]};{nodes[user]};inlining to\n"
        if rng.random() < 0.03:
            kind, suffix = rng.choice(SUFFIXES)
            name, order, rest = nodes[at].split(";", 2)
            clone = f"{name}.{suffix};{int(order) + 8000};{rest}"
            line = f"Callgraph clone;{nodes[at]};{clone};{kind}\n"
        elif rng.random() < 0.02:
            name, order, rest = nodes[at].split(";", 2)
            line = f"Callgraph clone;{name};{int(order) + 9000};{rest};{nodes[user]};inlining to\n"
        repeats = 2 if rng.random() < 0.17 and count + 1 < clone_lines else 1
        lines += [line] * repeats
        count += repeats
    gone = rng.sample(nodes, min(len(nodes), int(clone_lines * 0.3)))
    removals = [f"Callgraph removal;{node}\n" for node in gone]
    while len(removals) < int(clone_lines * 0.58):
        name, order, rest = rng.choice(nodes).split(";", 2)
        removals.append(f"Callgraph removal;{name};{int(order) + rng.randrange(10000, 20000)};{rest}\n")
    for removal in removals:
        lines.insert(rng.randrange(len(lines) // 2, len(lines) + 1), removal)
    return lines
