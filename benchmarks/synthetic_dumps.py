"""Clone dumps of a kernel that does not exist: deterministic, in the proportions of a real one.

The shape follows the 662 dumps of a Linux 6.12 with a small configuration (gcc 12), which hold 87,923 clone
lines.  That kernel, and 1,000,000 clone lines made here:

                                                          kernel     made
    clone lines in a dump, mean                              133      123
    lines in a dump: median, 90 %, most           75, 553, 3,474   74, 456, 3,476
    removal lines for each clone line                       0.58     0.58
    different clone lines                                   0.85     0.82
    functions in a dump for each clone line                 0.57     0.55
    clone lines with the user of the clone line before      0.51     0.49
    functions with no user, with one                  0.18, 0.56   0.23, 0.60
    removed nodes that clone lines name                     0.75     0.73
    different symbols, of those counted dump by dump        0.53     0.41
    numbers that two functions of a dump share              none     none
    source files in a dump                                    16       13
    bytes of a clone line, of a removal line             138, 75  141, 73

The bytes are those of a kernel that is built in its source folder; one that is built elsewhere can have the source
folder's path in front of every file, twice in a clone line: `prefix`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

CLONE_LINES_MEDIAN = 47
CLONE_LINES_SPREAD = 1.45
CLONE_LINES_MAX = 2200
REMOVALS = 0.58
# Numbers of nodes are 1000 and a multiple of 7; what is made of a node gets another rest, so that GCC's rule
# holds: no two nodes of a dump have one number.
SUFFIXES = (("constprop", "constprop.0", 8401), ("isra", "isra.0", 8402), ("part", "part.0", 8403))
INLINED_COPY = 9104
REMOVED_COPIES = range(10007, 31007, 7)
WORDS: tuple[str, ...] = (
    "alloc",
    "bitmap",
    "check",
    "clear",
    "folio",
    "get",
    "init",
    "instrumented",
    "list",
    "lock",
    "page",
)
WORDS += ("percpu", "put", "refcount", "set", "sock", "static", "task", "test", "user", "xarray")
FOLDERS = ("kernel", "mm", "fs", "net/core", "net/ipv4", "drivers/base", "block", "lib", "security", "fs/ext4")
HEADER_FOLDERS = ("./include/linux", "./arch/x86/include/asm", "./include/net")
HEADERS = 600


@dataclass(frozen=True, slots=True)
class _Node:
    """A call graph node as a dump writes it: the place is `FILE;LINE;COLUMN`."""

    name: str
    order: int
    place: str

    def __str__(self) -> str:
        return f"{self.name};{self.order};{self.place}"

    def copied(self, name: str, further: int) -> _Node:
        return _Node(name, self.order + further, self.place)


def _name(rng: random.Random, number: int) -> str:
    return f"{'_'.join(rng.choices(WORDS, k=rng.choice((1, 2, 2, 3, 3))))}_{number % 977}"


def _headers(rng: random.Random, prefix: str) -> list[list[tuple[str, str]]]:
    """The inline functions of each header, name and place: many dumps share them."""
    headers = []
    for number in range(HEADERS):
        file = f"{rng.choice(HEADER_FOLDERS)}/{'_'.join(rng.choices(WORDS, k=2))}_{number}.h"
        file = prefix + file.removeprefix("./") if prefix else file
        headers.append(
            [
                (_name(rng, number + 7 * i), f"{file};{20 * i + 11};{rng.choice((1, 19, 20, 29))}")
                for i in range(20)
            ]
        )
    return headers


def write_dumps(
    folder: Path, clone_lines: int, seed: int = 1, prefix: str = "", removals: float = REMOVALS
) -> list[Path]:
    """Write dumps with `clone_lines` clone lines altogether below `folder` and return their paths.

    Each clone line comes with `removals` removal lines.
    """
    rng = random.Random(seed)
    headers = _headers(rng, prefix)
    paths: list[Path] = []
    left = clone_lines
    while left:
        unit = len(paths)
        directory = folder / FOLDERS[unit % len(FOLDERS)]
        directory.mkdir(parents=True, exist_ok=True)
        source = f"{FOLDERS[unit % len(FOLDERS)]}/{rng.choice(WORDS)}_{unit}.c"
        path = folder / f"{source}.000i.ipa-clones"
        drawn = int(CLONE_LINES_MEDIAN * rng.lognormvariate(0, CLONE_LINES_SPREAD))
        wanted = min(max(drawn, 1), CLONE_LINES_MAX, left)
        path.write_text("".join(_dump(rng, headers, prefix + source, wanted, removals)))
        paths.append(path)
        left -= wanted
    return paths


def _dump(
    rng: random.Random, headers: list[list[tuple[str, str]]], source: str, clone_lines: int, removals: float
) -> list[str]:
    """The lines of one unit's dump: clone lines user by user, removal lines among them."""
    nodes = _nodes(rng, headers, source, clone_lines)
    lines: list[str] = []
    for body, user in _inlined(rng, len(nodes), clone_lines):
        lines.append(_clone_line(rng, nodes[body], nodes[user]))
    while len(lines) < clone_lines:
        at = rng.randrange(len(lines))
        lines.insert(at, lines[at if rng.random() < 0.6 else rng.randrange(len(lines))])
    count = int(clone_lines * removals)
    gone = rng.sample(nodes, min(len(nodes), int(count * 0.75)))
    orders = rng.sample(REMOVED_COPIES, count - len(gone))
    gone += [
        _Node(node.name, order, node.place)
        for node, order in zip(rng.choices(nodes, k=len(orders)), orders, strict=True)
    ]
    for node in gone:
        lines.insert(rng.randrange(len(lines) + 1), f"Callgraph removal;{node}\n")
    return lines


def _nodes(rng: random.Random, headers: list[list[tuple[str, str]]], source: str, clone_lines: int) -> list[_Node]:
    """The functions of a unit, those of headers first: two in five, from some 15 of them."""
    count = max(2, int(clone_lines * 0.52))
    chosen = rng.sample(headers, min(len(headers), 4 + int(count**0.5 * 2.4)))
    shared = [function for header in chosen for function in header]
    used = rng.sample(shared, min(len(shared), count * 2 // 5))
    own = [(_name(rng, i), f"{source};{20 * i + 20};13") for i in range(count - len(used))]
    return [_Node(name, 1000 + 7 * i, place) for i, (name, place) in enumerate(used + own)]


def _inlined(rng: random.Random, count: int, clone_lines: int) -> list[tuple[int, int]]:
    """Bodies and users: most functions have one user, few have many, and users come one after another."""
    one = [(body, rng.randrange(body + 1, count)) for body in range(int(count * 0.82)) if body + 1 < count]
    many = int(clone_lines * 0.85) - len(one)
    popular = max(1, int(count * 0.2))
    bodies = [min(int(rng.betavariate(1, 2) * popular), count - 2) for _ in range(many)]
    return sorted([*one, *((body, rng.randrange(body + 1, count)) for body in bodies)], key=lambda pair: pair[1])


def _clone_line(rng: random.Random, body: _Node, user: _Node) -> str:
    chance = rng.random()
    if chance < 0.037:
        kind, suffix, further = rng.choice(SUFFIXES)
        return f"Callgraph clone;{body};{body.copied(f'{body.name}.{suffix}', further)};{kind}\n"
    if chance < 0.05:
        body = body.copied(body.name, INLINED_COPY)
    return f"Callgraph clone;{body};{user};inlining to\n"
