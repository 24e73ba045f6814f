"""What a proof costs, against plain compilations of the same unit in the same run.

    python benchmarks/bench_proof.py [--count 20] [--seed 1] [--build DIR --source DIR] [TU]

Functions chosen by the seed from those of one unit (default: kernel/signal.c of Debian's stock kernel) are asked
for as `klpkit impact --prove --no-causes` asks, from an empty cache: their callees, everything that they reach and
all rounds for knock-ons count, and so do the unit's own builds.  The baseline is the unit's own command, as often
as a proof compiles it at most.  Ends with 1 where a proof takes more compilations than that.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.replays import replay
from klpkit.build.tree import BuildTree, open_tree
from klpkit.proof import Answer, open_unit, prove_all, together
from klpkit.proof.study import chosen

LIMIT = 3
"""Compilations that a proof may take on average."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds that something took: of processors, children included, and by the clock."""

    cpu: float
    wall: float


def measured(work: Callable[[], None]) -> Spent:
    """What `work` takes."""
    before, started = os.times(), time.perf_counter()
    work()
    after, ended = os.times(), time.perf_counter()
    return Spent(sum(after[:4]) - sum(before[:4]), ended - started)


def stock() -> BuildTree:
    """The build tree of Debian's stock kernel."""
    tool = Path(__file__).parents[1] / "tools" / "debian_kernel.py"
    said = subprocess.run([sys.executable, tool, "stock"], stdout=subprocess.PIPE, check=True).stdout
    kernel = json.loads(said)
    return open_tree(Path(kernel["build"]), source=Path(kernel["source"]))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("unit", nargs="?", default="kernel/signal.c", metavar="TU")
    parser.add_argument("--build", type=Path)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tree = open_tree(options.build, source=options.source) if options.build else stock()
    with tempfile.TemporaryDirectory(prefix="klpkit-bench-") as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        return compared(tree, options.unit, options.count, options.seed, Path(folder))


def compared(tree: BuildTree, source: str, count: int, seed: int, folder: Path) -> int:
    """Prove a sample, compile the unit plainly, and print both; 1 where the limit is passed."""
    command = tree.ensure_unit(source)
    answers: list[Answer] = []

    def prove() -> None:
        unit = open_unit(command, name=source)
        names = chosen(unit.own_functions(), count, seed)
        prove_all(unit, names)
        answers.extend(together(unit, [name], causes=False) for name in names)
        compilations.append(unit.compilations.value)

    def compile_plainly() -> None:
        for number in range(LIMIT):
            replay(command, workdir=folder / "plain" / str(number))

    compilations: list[int] = []
    proving, plain = measured(prove), measured(compile_plainly)
    proofs = {proof.function for answer in answers for proof in answer.proofs}
    impacted = sum(bool(item.via) for answer in answers for item in answer.impacted)
    ratio = compilations[0] / len(proofs)
    print(
        f"{source}: {len(answers)} functions, {impacted} impacted; proofs of {len(proofs)} functions, callees and"
    )
    print(f"  all that is reached included; {compilations[0]} compilations, the unit's own included")
    print(f"  compilations a proof      {ratio:6.2f}   limit {LIMIT}")
    cost = proving.cpu / len(proofs) / (plain.cpu / LIMIT)
    print(f"  CPU a proof               {proving.cpu / len(proofs):6.2f} s, the comparing included")
    print(f"  CPU a plain compilation   {plain.cpu / LIMIT:6.2f} s, of {LIMIT}; ratio {cost:.2f}")
    print(f"  {proving.wall:.0f} s by the clock; processors kept busy: {proving.cpu / proving.wall:.1f}")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
