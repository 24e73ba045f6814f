"""`klpkit extract` on many functions of Debian's stock kernel: does each draft compile, and to the kernel's code?

    extract_corpus.py run [--count 200] [--seed 1]     do what is not done yet; may be interrupted and repeated
    extract_corpus.py table                            what came of it, as a table for docs/

A seed chooses the functions: sources from the folders below and a few named ones that have what is rare, and from
each source functions of every sort that it has in turn.  Each function is closed over what it impacts.  Functions
of init memory are left out: they are always refused.  Results are kept as one JSON line a function in the cache.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import debian_kernel
from klpkit.build import BuildTree, TranslationUnit, open_tree
from klpkit.cachedir import cache_dir
from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.errors import KlpkitError, RefusedError
from klpkit.extract.chunks import Source
from klpkit.extract.request import Extractor
from klpkit.impact.treesource import units_evidence
from klpkit.programs import ProgramFailedError
from klpkit.target import Target, open_target

FOLDERS = ("kernel", "mm", "fs", "net", "security", "block", "drivers/net", "drivers/block", "drivers/md", "lib")
NAMED = (
    "kernel/signal.c", "drivers/net/tun.c", "kernel/sched/build_policy.c", "fs/proc/meminfo.c", "mm/page_alloc.c",
    "fs/ext4/inode.c", "net/core/dev.c", "fs/open.c", "kernel/fork.c", "net/ipv4/tcp_input.c", "mm/vmscan.c",
)  # fmt: skip
PER_SOURCE = 5
SORTS = ("syscall", "static local", "tracepoint", "jump label", "inlined", "exported", "static", "global")
# The columns on patched functions: what they are called here, and in the results.
CODE = {
    "code equal": "equal",
    "equal, function by function": "equal-alone",
    "differs, bodies known": "known",
    "differs": "differs",
    "not compared": "unknown",
}


def results_file(version: str, seed: int) -> Path:
    return cache_dir("corpus", "extract") / f"{version}-{seed}.jsonl"


def results(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def sources(tree: BuildTree, seed: int, count: int) -> list[TranslationUnit]:
    """The units of the corpus: the named ones, then others that the configuration builds, as the seed says.

    Enough for `count` functions, though small sources have less than `PER_SOURCE`.
    """
    assert tree.source is not None
    known = [
        str(path.relative_to(tree.source))
        for folder in FOLDERS
        for path in sorted((tree.source / folder).rglob("*.c"))
    ]
    others = [name for name in known if name not in NAMED and not re.search(r"test|/tools/|kunit", name)]
    random.Random(seed).shuffle(others)
    units = tree.built_units([*NAMED, *others[: 5 * count // PER_SOURCE]])
    return [unit for unit in units if unit.owner and "," not in unit.owner]


def sorts(source: Source, original: Path) -> dict[str, list[str]]:
    """Sort → the functions of the unit's own files that are of it; each is in the rarest one."""
    elf = ElfFile.open(original)
    names = elf.sections.names
    code = {symbol.name: symbol for symbol in elf.symbols if symbol.type == c.STT_FUNC and symbol.section > 0}
    exported = {
        symbol.name.removeprefix("__export_symbol_") for symbol in elf.symbols if "__export_" in symbol.name
    }
    found: dict[str, list[str]] = {sort: [] for sort in SORTS}
    for chunk in source.chunks:
        for item in chunk.items:
            for name in [each.text for each in item.declares if each.kind == "function"]:
                symbol = code.get(name)
                if symbol is not None and names[symbol.section].startswith((".init", ".exit", ".noinstr")):
                    continue
                if symbol is None and re.search(r"\.(init|exit|noinstr)\.text", " ".join(item.tokens[:40])):
                    continue
                found[_sort(name, chunk.text, item.tokens, symbol is not None, exported, item.tokens[0])].append(
                    name
                )
    return found


def _sort(name: str, text: str, tokens: list[str], code: bool, exported: set[str], first: str) -> str:
    if "SYSCALL_DEFINE" in text:
        return "syscall"
    if re.search(r"\{.*\bstatic\b", text, re.DOTALL):
        return "static local"
    if re.search(r"\btrace_\w+\(", text):
        return "tracepoint"
    if re.search(r"\bstatic_(key|branch)_\w+|\bstatic_branch", text):
        return "jump label"
    if not code:
        return "inlined"
    return "exported" if name in exported else "static" if first == "static" else "global"


def chosen(found: dict[str, list[str]], seed: int, unit: str) -> list[tuple[str, str]]:
    """(function, sort) for one source: of each sort in turn."""
    dice = random.Random(f"{seed} {unit}")
    left = {sort: dice.sample(names, len(names)) for sort, names in found.items() if names}
    # A system call is several functions: the one that a patch replaces is the wrapper's body.
    picked: list[tuple[str, str]] = []
    while left and len(picked) < PER_SOURCE:
        for sort in [sort for sort in SORTS if sort in left]:
            picked.append((left[sort].pop(), sort))
            if not left[sort]:
                del left[sort]
    return picked[:PER_SOURCE]


def run(args: argparse.Namespace) -> None:
    release = debian_kernel.pick_release("")
    tree, target = _opened(release)
    path = results_file(release.version, args.seed)
    done = {(row["source"], row["function"]) for row in results(path)}
    reached = 0
    for unit in sources(tree, args.seed, args.count):
        if reached >= args.count:
            return
        source = str(unit.source.relative_to(tree.source or tree.root))
        if (known := sum(each == source for each, _ in done)) >= PER_SOURCE:
            reached += known
            continue
        with path.open("a") as stream:
            reached += known
            for row in _unit_rows(tree, target, unit, source, args.seed, done):
                reached += 1
                print(json.dumps(row), file=stream, flush=True)
                print(
                    f"{source}:{row['function']}  {row['outcome']}  {row.get('detail', '')[:90]}", file=sys.stderr
                )


def _opened(release: debian_kernel.Release) -> tuple[BuildTree, Target]:
    modules = release.root / "image" / "lib" / "modules" / release.name
    image = release.root / "image" / "boot" / f"vmlinuz-{release.name}"
    target = open_target(
        image=image, modules=modules, symvers=release.headers / "Module.symvers", vmlinux=None, system_map=None
    )
    return open_tree(release.root / "build", source=release.source), target


def _unit_rows(
    tree: BuildTree, target: Target, unit: TranslationUnit, source: str, seed: int, done: set[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    start = time.monotonic()
    with units_evidence(tree, [unit], []) as evidence, tempfile.TemporaryDirectory() as work:
        compiling = time.monotonic() - start
        extractor = Extractor(tree, evidence, target, Path(work), thorough=True)
        reader = extractor.reader(source)
        code = evidence.code(source)
        assert code is not None
        found = sorts(reader.source, code.path)
        # What the compiler dropped before it wrote any record is in nobody's code.
        known = {
            sort: [name for name in names if len(evidence.table.rows_of(name))] for sort, names in found.items()
        }
        for function, sort in chosen(known, seed, source):
            if (source, function) not in done:
                row = {"source": source, "owner": unit.owner, "function": function, "sort": sort}
                yield {**row, "unit_seconds": round(compiling, 2), **_outcome(extractor, f"{source}:{function}")}


def _outcome(extractor: Extractor, spec: str) -> dict[str, Any]:
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="klpkit-corpus-") as work:
        try:
            found = extractor.extract([spec], Path(work))
        except RefusedError as error:
            return {"outcome": "refused", "slug": error.slug, "detail": error.message}
        except ProgramFailedError as error:
            return {"outcome": "failed", "detail": str(error)[:4000]}
        except KlpkitError as error:
            return {"outcome": "failed", "detail": f"{type(error).__name__}: {error}"[:4000]}
        except Exception:  # noqa: BLE001 - a crash is a result of the corpus too
            return {"outcome": "failed", "detail": traceback.format_exc()[-4000:]}
    seconds = time.monotonic() - start
    draft = found.drafts[0][0]
    checked = [each for row in found.checked for each in row]
    return {
        "outcome": "compiled",
        "seconds": round(seconds, 2),
        "lines": draft.text.count("\n"),
        "functions": len(draft.functions),
        "all_includes": draft.all_includes,
        "code": {each.function: [str(each.sameness), each.sentence, bool(each.reasons)] for each in checked},
    }


def table(args: argparse.Namespace) -> None:
    """Print the table: a line a sort of function."""
    rows = results(results_file(debian_kernel.pick_release("").version, args.seed))
    columns = ("drafts", "compiled", "refused", "failed", *CODE)
    print(f"| functions | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")
    for sort in (*SORTS, "all"):
        mine = [row for row in rows if sort in (row["sort"], "all")]
        outcome = Counter(row["outcome"] for row in mine)
        code = Counter(
            ("known" if known and same == "differs" else same)
            for row in mine
            for same, _, known in row.get("code", {}).values()
        )
        numbers = [len(mine), outcome["compiled"], outcome["refused"], outcome["failed"]]
        numbers += [code[name] for name in CODE.values()]
        print(f"| {sort} | {' | '.join(map(str, numbers))} |")
    for slug, count in Counter(row["slug"] for row in rows if row["outcome"] == "refused").most_common():
        print(f"{count} refused: {slug}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function in (("run", run), ("table", table)):
        command = commands.add_parser(name)
        command.add_argument("--seed", type=int, default=1)
        command.add_argument("--count", type=int, default=200)
        command.set_defaults(function=function)
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
