"""A corpus of real fixes: every C file that changed between two versions of Debian's kernel, as a live patch.

    corpus.py run OLD NEW [--limit N]     build what is not built yet; may be interrupted and repeated
    corpus.py list OLD NEW                the fixes, one a line, with the headers that belong to them
    corpus.py table OLD NEW               what came of them, as a table for docs/
    corpus.py boot OLD NEW [--count N]    load, revert and unload N of the live patches on OLD's kernel, in a guest

One fix is a changed `.c` file that the cloud configuration of OLD builds, together with the changed headers that
it includes; none is left out.  The live patch is for OLD's shipped kernel and replaces functions of that one file.
Results are kept as one JSON line a fix in the cache.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import debian_kernel
from klpkit import programs
from klpkit.build import BuildTree, TranslationUnit, open_tree
from klpkit.cachedir import atomic_write, cache_dir
from klpkit.errors import KlpkitError, RefusedError
from klpkit.pipeline import Request, build_livepatch
from klpkit.pipeline.building import open_shipped

# What is no kernel code, and architectures that the cloud configuration is not for.
_SKIPPED = ("Documentation", "tools", "scripts", "samples", "usr", "rust")


@dataclass(frozen=True, slots=True)
class Fix:
    """One changed source, its changed headers, and what was there before, relative to the source tree."""

    source: str
    headers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Two versions of the kernel, and where the results of fixes between them are kept."""

    old: debian_kernel.Release
    new: debian_kernel.Release

    @property
    def home(self) -> Path:
        return cache_dir("corpus", f"{self.old.version}..{self.new.version}")

    @property
    def results(self) -> Path:
        return self.home / "results.jsonl"

    def tree(self) -> BuildTree:
        return open_tree(self.old.root / "build", source=self.old.source)


def open_corpus(old: str, new: str, jobs: int) -> Corpus:
    """Both versions, fetched and prepared where they are not yet."""
    corpus = Corpus(debian_kernel.pick_release(old), debian_kernel.pick_release(new))
    with debian_kernel.locked(corpus.old.root):
        debian_kernel.fetch_image(corpus.old)
        debian_kernel.prepare_stock(corpus.old, jobs)
    with debian_kernel.locked(corpus.new.root):
        debian_kernel.fetch_source(corpus.new)
    return corpus


# --- which fixes -------------------------------------------------------------------------------------------


def fixes(corpus: Corpus) -> list[Fix]:
    """Every fix between the two versions, in the order of their names; found once and kept."""
    known = corpus.home / "fixes.json"
    if known.exists():
        return [Fix(source, tuple(headers)) for source, headers in json.loads(known.read_text())]
    debian_kernel.say("comparing the two sources")
    changed = set(changed_files(corpus.old.source, corpus.new.source))
    sources = sorted(name for name in changed if name.endswith(".c") and (corpus.old.source / name).is_file())
    debian_kernel.say(f"asking Kbuild which of {len(sources)} changed sources are built")
    units = corpus.tree().built_units(sources)
    found = sorted((fix_of(unit, changed, corpus) for unit in units), key=lambda fix: fix.source)
    with atomic_write(known) as stream:
        json.dump([[fix.source, fix.headers] for fix in found], stream, indent=0)
    return found


def changed_files(old: Path, new: Path) -> Iterator[str]:
    """C files and headers that differ or are new, relative to the tree."""
    for folder, folders, names in os.walk(new):
        inside = os.path.relpath(folder, new)
        if inside == ".":
            folders[:] = [name for name in folders if name not in _SKIPPED]
        if inside == "arch":
            folders[:] = ["x86"]
        for name in names:
            path = Path(folder, name)
            if name.endswith((".c", ".h")) and not path.is_symlink() and not same(old / inside / name, path):
                yield os.path.normpath(f"{inside}/{name}")


def same(old: Path, new: Path) -> bool:
    try:
        return old.stat().st_size == new.stat().st_size and old.read_bytes() == new.read_bytes()
    except FileNotFoundError:
        return False


def fix_of(unit: TranslationUnit, changed: set[str], corpus: Corpus) -> Fix:
    """The fix of one source: changed headers that it included, and new ones that its new text names."""
    top = corpus.old.source
    source = os.path.relpath(unit.source, top)
    included = {os.path.relpath(path, top) for path in unit.headers if path.is_relative_to(top)}
    headers = included & changed
    fresh = {name for name in changed if name.endswith(".h") and not (top / name).exists()}
    texts = [(corpus.new.source / name).read_text(errors="replace") for name in (source, *headers)]
    headers |= {
        name for name in fresh if any(f"/{Path(name).name}" in t or f'"{Path(name).name}"' in t for t in texts)
    }
    return Fix(source, tuple(sorted(headers)))


def patch_of(fix: Fix, corpus: Corpus) -> str:
    """The fix as a git patch."""
    text = []
    for name in (fix.source, *fix.headers):
        old, new = corpus.old.source / name, corpus.new.source / name
        before = f"a/{name}" if old.exists() else "/dev/null"
        after = f"b/{name}" if new.exists() else "/dev/null"
        lines = difflib.unified_diff(read_lines(old), read_lines(new), before, after)
        text += [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines]
    return "".join(text)


def read_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    return re.findall(r"[^\n]*\n|[^\n]+$", path.read_bytes().decode(errors="surrogateescape"))


# --- building ----------------------------------------------------------------------------------------------


def run(corpus: Corpus, limit: int | None, jobs: int, part: tuple[int, int] = (1, 1)) -> None:
    """Build a live patch for each fix that has no result yet, or for one of several equal parts of them."""
    todo = [fix for fix in fixes(corpus) if mixed(fix)[0] % part[1] == part[0] - 1]
    done = {result["source"] for result in read_results(corpus)}
    left = sorted((fix for fix in todo if fix.source not in done), key=mixed)[:limit]
    debian_kernel.say(f"{len(todo)} fixes, {len(done)} have a result, {len(left)} to do now")
    target = open_shipped(request_for(corpus, Path("x.patch"), Path("x.ko"), (), jobs))
    for number, fix in enumerate(left, 1):
        start = time.monotonic()
        result = attempt(fix, corpus, target, jobs)
        result["seconds"] = round(time.monotonic() - start, 1)
        with open(corpus.results, "a") as stream:
            stream.write(json.dumps(result) + "\n")
        debian_kernel.say(f"{number}/{len(left)} {fix.source}: {result['result']} {result['why']}")


def mixed(fix: Fix) -> bytes:
    """An order without order: what is finished stands for the whole at any time."""
    return hashlib.sha256(fix.source.encode()).digest()


def request_for(corpus: Corpus, patch: Path, out: Path, units: tuple[str, ...], jobs: int) -> Request:
    paths = debian_kernel.image_paths(corpus.old, debug=False)
    return Request(
        patches=(patch,),
        build=corpus.old.root / "build",
        out=out,
        source=corpus.old.source,
        image=Path(paths["image"]),
        modules=Path(paths["modules"]),
        headers=corpus.old.headers,
        units=units,
        jobs=jobs,
    )


def attempt(fix: Fix, corpus: Corpus, target: Any, jobs: int) -> dict[str, Any]:
    """One fix: `built`, `refused` with the slug, or `failed` with what was said."""
    name = f"livepatch_{re.sub(r'[^A-Za-z0-9]', '_', fix.source.removesuffix('.c'))}"[-55:].lstrip("_")
    out = cache_dir("corpus", corpus.home.name, "modules") / f"{name}.ko"
    result: dict[str, Any] = {"source": fix.source, "headers": list(fix.headers), "why": "", "message": ""}
    with tempfile.TemporaryDirectory(prefix="klpkit-corpus-") as folder:
        patch = Path(folder, "fix.patch")
        patch.write_bytes(patch_of(fix, corpus).encode(errors="surrogateescape"))
        try:
            built = build_livepatch(request_for(corpus, patch, out, (fix.source,), jobs), target=target)
        except RefusedError as error:
            return result | {"result": "refused", "why": error.slug, "message": str(error)}
        except KlpkitError as error:
            return result | {"result": "failed", "why": type(error).__name__, "message": str(error)}
        except Exception as error:  # noqa: BLE001 - a bug is a result too
            return result | {"result": "failed", "why": type(error).__name__, "message": traceback.format_exc()}
    made = built.livepatch
    return result | {
        "result": "built",
        "module": str(out),
        "objects": {each.name: [function.name for function in each.functions] for each in made.objects},
        "warnings": [warning.slug for warning in built.warnings],
        "steps": dict(built.seconds),
    }


# --- results -----------------------------------------------------------------------------------------------


def read_results(corpus: Corpus) -> list[dict[str, Any]]:
    """The last result of each fix."""
    if not corpus.results.exists():
        return []
    rows = [json.loads(line) for line in corpus.results.read_text().splitlines() if line.endswith("}")]
    return list({row["source"]: row for row in rows}.values())


def table(corpus: Corpus) -> str:
    """What came of the fixes, as Markdown."""
    results = read_results(corpus)
    counts = Counter((row["result"], row["why"]) for row in results)
    total = len(results)
    lines = ["| result | reason | fixes | share |", "|---|---|---|---|"]
    order = {"built": 0, "refused": 1, "failed": 2}
    for (result, why), count in sorted(counts.items(), key=lambda item: (order[item[0][0]], -item[1])):
        reason = f"`{why}`" if why else ""
        lines.append(f"| {result} | {reason} | {count} | {100 * count / total:.1f} % |")
    head = f"{total} of {len(fixes(corpus))} fixes from {corpus.old.version} to {corpus.new.version}\n"
    return "\n".join([head, *lines])


def boot(corpus: Corpus, count: int, seed: str) -> str:
    """Boot live patches that have not passed yet, until `count` were booted; a table of all that were."""
    from corpus_boots import Kernel, boot_all, boots_table, chosen, read_boots

    paths = debian_kernel.image_paths(corpus.old, debug=False)
    built = [row for row in read_results(corpus) if row["result"] == "built" and Path(row["module"]).exists()]
    known = corpus.home / "boots.jsonl"
    passed = [row["source"] for row in read_boots(known) if row["passed"]]
    left = [row for row in chosen(built, passed, count, seed) if row["source"] not in passed]
    debian_kernel.say(f"{len(built)} are built, {len(passed)} have passed, {len(left)} to boot now")
    for result in boot_all(left, Kernel(Path(paths["image"]), Path(paths["modules"])), debian_kernel.say):
        with open(known, "a") as stream:
            stream.write(json.dumps(result) + "\n")
        debian_kernel.say(f"{result['source']}: {'passed' if result['passed'] else result['why']}")
    return boots_table(read_boots(known), built)


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "list", "table", "boot"))
    parser.add_argument("old", help="Debian's version whose kernel is patched")
    parser.add_argument("new", help="Debian's version that has the fixes")
    parser.add_argument("--limit", type=int, help="run: at most so many fixes")
    parser.add_argument("--count", type=int, default=25, help="boot: so many live patches")
    parser.add_argument("--seed", default="1", help="boot: another seed chooses others")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="run: the K-th of N parts, each by itself")
    parser.add_argument("--jobs", type=int, default=programs.default_jobs(), help="compilations at once")
    parser.add_argument(
        "--again", metavar="REASON", help="run: forget results with this reason, `failed` for all such"
    )
    return parser.parse_args(words)


def forget(corpus: Corpus, reason: str) -> None:
    kept = [row for row in read_results(corpus) if reason not in (row["why"], row["result"])]
    with atomic_write(corpus.results) as stream:
        stream.writelines(json.dumps(row) + "\n" for row in kept)


def main() -> int:
    options = parse_arguments()
    # Whoever ends this ends its compilers as well, and leaves no folders behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        corpus = open_corpus(options.old, options.new, options.jobs)
        if options.again:
            forget(corpus, options.again)
        if options.what == "run":
            number, _, count = options.part.partition("/")
            run(corpus, options.limit, options.jobs, (int(number), int(count)))
        elif options.what == "list":
            for fix in fixes(corpus):
                print(" ".join([fix.source, *fix.headers]))
        if options.what == "boot":
            print(boot(corpus, options.count, options.seed))
        elif options.what != "list":
            print(table(corpus))
    except KlpkitError as error:
        print(f"corpus: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("corpus: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
