"""Change bodies and see that every other function whose code changes was in the proven list.

    python benchmarks/proof_mutations.py [--count 8] [--fresh N] [--seed 1] [--build DIR --source DIR] [TU...]

Functions are chosen by the seed from those of the TUs (default: kernel/signal.c of Debian's stock kernel).  Each
gets one change of its body: another constant, a branch the other way round, one more store, another argument in a
call.  Every *other* function whose code is then different must be in the list, or be shown to be right as it was:

- new-use: its code is the same in the original, in the original with the body hidden, and in the mutant with the
  body hidden: only the mutant's body let the compiler do something new;
- new-fact: it takes for granted in the mutant what its callers pass, and did not in the original;
- inlining: told to inline and clone others as before, the compiler makes the same code for it in the mutant.

Prints recall (of the functions that changed and relied on the body, those that are in the list) and precision (of
the list, those that one change changed).  Results are kept below the cache; a run goes on where it stopped, and
`--fresh` says how many new ones it makes at most.  Ends with 1 if a change is left unexplained.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from klpkit.build.tree import BuildTree, open_tree
from klpkit.cachedir import atomic_write
from klpkit.programs import ProgramFailedError, parallel
from klpkit.proof import ProofUnit, open_unit, prove, together
from klpkit.proof.builds import Build, compile_text
from klpkit.proof.changes import changes
from klpkit.proof.decisions import difference, source_name
from klpkit.proof.hiders import without_checks
from klpkit.proof.hiding import Pins
from klpkit.proof.text import SourceFunction

TRIES = 12
"""Changes of one function that are tried until one compiles to other code."""

STORE = "klpkit_mutant"
_NUMBER = re.compile(r"(?<![\w.\"'])(0[xX][0-9a-fA-F]+|\d+)(?=[uUlL]*\b(?![.\w]))")
_QUOTED = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'")
_UNSAFE = re.compile(r"\b(case|asm|__asm__|__asm|sizeof|_Static_assert|__builtin_\w+|__attribute__)\b")


@dataclass(frozen=True)
class Mutant:
    """One changed text: `kind` of change and the line of the body that it is in."""

    kind: str
    line: str
    text: str


@dataclass
class Result:
    """What one mutant showed; `others` maps functions that changed to how that is explained."""

    function: str
    kind: str = ""
    line: str = ""
    listed: list[str] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)

    def count(self, how: str) -> int:
        return sum(value == how for value in self.others.values())


# --- changes of a body ---------------------------------------------------------------------------------------


def mutants(unit: ProofUnit, function: SourceFunction, chance: random.Random) -> Iterator[Mutant]:
    """Changes of the function's body, kinds in turn."""
    lines = unit.text.splitlines(keepends=True)
    head, tail = "".join(lines[: function.first - 1]), "".join(lines[function.last :])
    source = "".join(lines[function.first - 1 : function.last])
    place = _body(source, function.name)
    if place is None:
        return
    start, end = place
    head, source, tail = head + source[:start], source[start:end], source[end:] + tail
    kinds = list(MAKERS)
    chance.shuffle(kinds)
    for _ in range(TRIES):
        kind = kinds[0]
        kinds = [*kinds[1:], kind]
        made = MAKERS[kind](source, unit, chance)
        if made is not None:
            at, changed = made
            line = source[source.rfind("\n", 0, at) + 1 : at + 60].strip().partition("\n")[0]
            extra = f"extern int {STORE};\n" if kind == "store" else ""
            yield Mutant(kind, line[:100], extra + head + changed + tail)


def _body(source: str, name: str) -> tuple[int, int] | None:
    """Where the body of `name` begins, behind its opening brace, and ends: a line may define several functions."""
    source = _blanked(source)
    for found in re.finditer(rf"\b{re.escape(name)}\s*\(", source):
        close = _closing(source, found.end() - 1)
        if close is not None and (opening := re.match(r"[^;{}=]*\{", source[close + 1 :])):
            start = close + 1 + opening.end()
            end = _closing(source, start - 1, "{}")
            return None if end is None else (start, end)
    return None


def _blanked(source: str) -> str:
    """`source` with what is quoted in it made blank."""
    return _QUOTED.sub(lambda found: " " * len(found[0]), source)


Made = tuple[int, str] | None


def _constant(source: str, _: ProofUnit, chance: random.Random) -> Made:
    places = [m for m in _NUMBER.finditer(source) if not _UNSAFE.search(_statement(source, m.start()))]
    if not places:
        return None
    found = chance.choice(places)
    return found.start(), f"{source[: found.start()]}({found[0]} + 1){source[found.end() :]}"


def _statement(source: str, at: int) -> str:
    """What stands before `at` in its statement."""
    return source[max(source.rfind(mark, 0, at) for mark in ";{}") + 1 : at]


def _branch(source: str, _: ProofUnit, chance: random.Random) -> Made:
    places = list(re.finditer(r"\b(?:if|while)\s*\(", source))
    if not places:
        return None
    found = chance.choice(places)
    end = _closing(source, found.end() - 1)
    if end is None or source[found.end() : end].strip() in ("0", "1"):  # what macros are made of
        return None
    return found.start(), f"{source[: found.end()]}!({source[found.end() : end]}){source[end:]}"


def _closing(source: str, at: int, pair: str = "()") -> int | None:
    """The parenthesis that closes the one at `at`."""
    source = _blanked(source)
    depth = 0
    for place in range(at, len(source)):
        depth += (source[place] == pair[0]) - (source[place] == pair[1])
        if depth == 0:
            return place
    return None


def _store(source: str, _: ProofUnit, chance: random.Random) -> Made:
    return 0, f" {STORE} = {chance.randrange(1, 100)}; {source}"


def _argument(source: str, unit: ProofUnit, chance: random.Random) -> Made:
    calls = [m for m in re.finditer(r"\b(\w+)\s*\(", source) if m[1] in unit.functions]
    if not calls:
        return None
    found = chance.choice(calls)
    end = _closing(source, found.end() - 1)
    if end is None or not source[found.end() : end].strip():
        return None
    depth, starts, plain = 0, [found.end()], _blanked(source)
    for place in range(found.end(), end):
        depth += (plain[place] in "([{") - (plain[place] in ")]}")
        if plain[place] == "," and depth == 0:
            starts.append(place + 1)
    ends = [*(at - 1 for at in starts[1:]), end]
    first, last = chance.choice(list(zip(starts, ends, strict=True)))
    return first, f"{source[:first]} ({source[first:last]}) + 1{source[last:]}"


MAKERS: dict[str, Callable[[str, ProofUnit, random.Random], Made]] = {
    "constant": _constant, "branch": _branch, "store": _store, "argument": _argument,
}  # fmt: skip


# --- one function --------------------------------------------------------------------------------------------


def result_of(unit: ProofUnit, name: str, seed: int) -> Result:
    """What one mutant of the function `name` shows; kept in the cache of the unit."""
    path = _kept(unit, name, seed)
    if path.exists():
        return Result(**json.loads(path.read_text()))
    with tempfile.TemporaryDirectory(prefix="klpkit-mutations-") as folder:
        found = _tried(unit, unit.functions[name], random.Random(f"{seed} {name}"), Path(folder))
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as stream:
        stream.write(json.dumps(asdict(found)))
    return found


def _kept(unit: ProofUnit, name: str, seed: int) -> Path:
    return unit.folder / "mutations" / f"{name}-{seed}.json"


def _tried(unit: ProofUnit, function: SourceFunction, chance: random.Random, folder: Path) -> Result:
    for number, mutant in enumerate(mutants(unit, function, chance)):
        try:
            build = _compiled(unit, mutant.text, folder / str(number))
        except ProgramFailedError:
            continue
        found = changes(unit.baseline.object, build.object, function.symbol).by_symbol
        if found:
            return _judged(unit, function, mutant, build, set(found), folder)
    return Result(function.name)


def _compiled(unit: ProofUnit, text: str, folder: Path, hidden: str = "", pins: Pins | None = None) -> Build:
    folder.mkdir()
    subject = unit.hider.lowered(unit.unit, without_checks(text), folder)
    names: tuple[str, ...] = ()
    if hidden:
        function = unit.functions[hidden]
        names = (function.symbol if unit.hider.by_symbol else hidden, *function.aliases)
    if names or pins:
        subject = unit.hider.hidden(subject, names, pins or {})
    return compile_text(unit.unit, subject, folder, unit.hider)


def _judged(
    unit: ProofUnit, function: SourceFunction, mutant: Mutant, build: Build, changed: set[str], folder: Path
) -> Result:
    answer = together(unit, [function.name], causes=False, jobs=1)
    listed = {item.symbol for item in answer.impacted if item.via and item.has_code}
    result = Result(function.name, mutant.kind, mutant.line, sorted(listed))
    # An alias of a function is no other function: its code is told of under the function's own name.
    others = {symbol for symbol in changed - unit.aliases.keys() if source_name(symbol) != function.symbol}
    result.others = dict.fromkeys(others & listed, "listed")
    if rest := others - listed:
        result.others |= _explained(unit, function, mutant, build, rest, folder)
    return result


def _explained(
    unit: ProofUnit, function: SourceFunction, mutant: Mutant, build: Build, rest: set[str], folder: Path
) -> dict[str, str]:
    """Why each of `rest` changed without being in the list."""
    try:
        first = unit.hiding(function.name, folder / "first")
        second = _compiled(unit, mutant.text, folder / "second", hidden=function.name)
    except ProgramFailedError:
        return dict.fromkeys(rest, "unexplained")
    by_hiding = changes(unit.baseline.object, first.object, function.symbol).by_symbol
    still = changes(first.object, second.object, function.symbol).by_symbol
    called = _called(unit, function.name)
    found = {}
    for symbol in rest:
        name = source_name(symbol)
        if symbol not in by_hiding and symbol not in still:
            found[symbol] = "new-use"
        elif name in called and symbol in unit.symbols and not prove(unit, name).assumes:
            found[symbol] = "new-fact"
    left = rest - found.keys()
    equal = _inlined_back(unit, function, mutant, build, left, folder) if left else set()
    found.update(dict.fromkeys(equal, "inlining"))
    if left := rest - found.keys():
        equal = _inlined_back(unit, function, mutant, second, left, folder, hidden=function.name)
        found.update(dict.fromkeys(equal, "new-use"))
    return {**dict.fromkeys(rest, "unexplained"), **found}


def _inlined_back(
    unit: ProofUnit,
    function: SourceFunction,
    mutant: Mutant,
    build: Build,
    rest: set[str],
    folder: Path,
    hidden: str = "",
) -> set[str]:
    """Those of `rest` whose code is the original's in a build of the mutant that is told to inline as before.

    `build` is the mutant without that, its body hidden or not, as in the builds that are tried.
    """
    found = difference(unit.baseline.decisions, build.decisions, function.symbol)
    own = function.name
    fewer = {body: "always_inline" for body, _ in found.fewer if body in unit.functions and body != own}
    more = {body: "noinline" for body, _ in found.more if body in unit.functions and body != own}
    clones = {name: "noclone" for name in found.cloned if name in unit.functions and name != own}
    equal: set[str] = set()
    for number, pins in enumerate((fewer, more, {**clones, **more}, {**clones, **more, **fewer})):
        if not pins or not rest - equal:
            continue
        try:
            again = _compiled(unit, mutant.text, folder / f"pinned-{hidden}-{number}", hidden=hidden, pins=pins)
        except ProgramFailedError:
            continue
        equal |= rest - changes(unit.baseline.object, again.object, function.symbol).by_symbol.keys()
    return equal


def _called(unit: ProofUnit, name: str) -> set[str]:
    """The functions that `name` calls, directly or from inside of what has no code of its own."""
    seen, todo = {name}, [name]
    while todo:
        for callee in unit.functions[todo.pop()].mentions:
            if callee not in seen:
                seen.add(callee)
                if unit.functions[callee].symbol not in unit.symbols:
                    todo.append(callee)
    return seen - {name}


# --- the whole run -------------------------------------------------------------------------------------------


def report(results: list[Result], seconds: float) -> int:
    """Print the figures; the number of unexplained changes."""
    done = [result for result in results if result.kind]
    kinds = Counter(result.kind for result in done)
    hows = Counter(how for result in done for how in result.others.values())
    for result in results:
        names = ", ".join(f"{name} ({how})" for name, how in sorted(result.others.items()) if how != "listed")
        if names:
            print(f"  {result.function}, {result.kind} at «{result.line}»: {names}")
    relied = hows["listed"] + hows["unexplained"]
    entries = sum(len(result.listed) for result in done)
    print(f"{len(done)} of {len(results)} functions changed: {', '.join(f'{n} {k}' for k, n in kinds.items())}")
    print(f"other functions whose code changed: {sum(hows.values())}, {dict(hows)}")
    for word, count in (("recall", relied), ("precision", entries)):
        print(f"{word:<10}{hows['listed']}/{count} = {hows['listed'] / count if count else 1:.4f}")
    print(f"{seconds:.0f} s")
    return hows["unexplained"]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("units", nargs="*", default=["kernel/signal.c"], metavar="TU")
    parser.add_argument("--build", type=Path)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--fresh", type=int, metavar="N", help="of those not kept make N at most (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=None)
    options = parser.parse_args()
    started = time.monotonic()
    tree = _tree(options.build, options.source)
    subjects: list[tuple[ProofUnit, str]] = []
    for source in options.units:
        unit = open_unit(tree.ensure_unit(source), name=str(source))
        _ = unit.baseline, unit.functions
        subjects += [(unit, name) for name in unit.own_functions() if not unit.functions[name].always_inline]
    chance = random.Random(options.seed)
    chosen = chance.sample(subjects, min(options.count, len(subjects)))
    if options.fresh is not None:
        fresh = [(unit, name) for unit, name in chosen if not _kept(unit, name, options.seed).exists()]
        left = fresh[options.fresh :]
        chosen = [subject for subject in chosen if subject not in left]
        print(f"{len(left)} of {options.count} functions left to another run")

    def done(subject: tuple[ProofUnit, str], result: Result) -> None:
        print(f"{subject[0].name}:{subject[1]}: {result.kind or 'unchanged'} {result.others}", file=sys.stderr)

    results = parallel(lambda s: result_of(s[0], s[1], options.seed), chosen, jobs=options.jobs, done=done)
    return 1 if report(results, time.monotonic() - started) else 0


def _tree(build: Path | None, source: Path | None) -> BuildTree:
    if build is not None:
        return open_tree(build, source=source)
    tool = Path(__file__).parents[1] / "tools" / "debian_kernel.py"
    kernel = json.loads(subprocess.run([sys.executable, tool, "stock"], stdout=subprocess.PIPE, check=True).stdout)
    return open_tree(Path(kernel["build"]), source=Path(kernel["source"]))


if __name__ == "__main__":
    sys.exit(main())
