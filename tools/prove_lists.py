"""Proves lists of `klpkit-cc`: marks a function's body, compiles again, and looks where the marks went.

    python tools/prove_lists.py build-logs/projects/json-c-inline-clone                # every function
    python tools/prove_lists.py build-logs/projects/json-c-inline-clone --show json_object_put

Takes a build of `real_projects.py` (C, without LTO).  Each source is preprocessed; then, for one function at a
time, an instruction that no compiler emits goes into every block of its body (or at its entry alone, where so
many change what is inlined), and the unit is compiled with the build's own flags.  From the two objects:

* *marked*: the functions whose machine code holds the mark.  One that is not listed is an error.
* *differs*: the functions whose machine code is another.  One that is not listed is an error.
* A listed function without the mark must use a listed clone by name, or be a cold piece, or have no code.

Ends with a count and status 1 where a list was wrong.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from klpkit import programs
from klpkit.errors import KlpkitError, UserError

MARK = "nopl 0x12345678(%%rax)"
MARK_STATEMENT = f' __asm__ volatile("{MARK}"::); '
SHOWN_MARK = MARK.replace("%%", "%")

# What of a compilation says where things go; words with a value of their own, and words alone.
OUTPUTS = frozenset(("-o", "-MT", "-MF", "-MQ"))
SWITCHES = frozenset(("-c", "-MD", "-MMD", "-MP"))

LINE_MARKER = re.compile(r'# (\d+) "(.*?)"')
TOKEN = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|^#.*$|[(){};]|\w+""", re.MULTILINE)
# Where a string constant or a jump table ends up depends on the ones before it, which is no difference in code.
ANONYMOUS_DATA = re.compile(r"(\.LC\d+|\.rodata[.\w]*)([+-]0x[0-9a-f]+)*")

Place = tuple[str, str]
"""Symbol and `file:line`."""

Code = dict[str, list[str]]
"""The instructions and relocations of each function."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A source of the build, the folder of its compilation and the command without source and outputs."""

    source: str
    folder: Path
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compiled:
    """One compilation: its code, and its list as {function: {impacted symbol: how}}."""

    code: Code
    lists: dict[Place, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What marking one function showed; each set holds symbols."""

    source: str
    function: Place
    listed: dict[str, str]
    marked: frozenset[str]
    by_clone: frozenset[str]
    unlisted: frozenset[str]
    unexplained: frozenset[str]
    inlined_otherwise: bool

    @property
    def verdict(self) -> str:
        if self.unlisted:
            return "WRONG: unlisted"
        if self.unexplained:
            return "listed in vain?"
        return "inlined otherwise" if self.inlined_otherwise else "agrees"


def units(build: Path) -> Iterator[Unit]:
    """The compilations of C sources below `build`'s source folder, from the log of the build."""
    log = build / "build.log"
    if not log.is_file():
        raise UserError(f"{log}: no such log", hint="make the build with tools/real_projects.py first")
    seen = set()
    for line in log.read_text(errors="replace").splitlines():
        folder, _, command = line.removeprefix("libtool: compile:").strip().rpartition(" && ")
        if "klpkit-cc" not in command.partition(" ")[0] or " -c " not in command or "/dev/null" in command:
            continue
        words = shlex.split(command)
        if "-flto" in words:
            raise UserError(f"{build}: a build with LTO", hint="the marks are looked for in single units")
        (source,) = (word for word in words if word.endswith(".c"))
        if source not in seen:
            seen.add(source)
            # Automake compiles in the folder of the build that mirrors the source's.
            place = folder.removeprefix("cd ") or build / Path(source).parent.relative_to(build / "source")
            yield Unit(source, Path(place), tuple(_without_outputs(words)))


def _without_outputs(words: list[str]) -> Iterator[str]:
    following = iter(words)
    for word in following:
        if word in OUTPUTS:
            next(following)
        elif word not in SWITCHES and not word.endswith(".c") and not word.startswith("-flive-patching-list"):
            yield word


def preprocessed(unit: Unit) -> str:
    command = [word for word in unit.command[1:] if not word.startswith("-fease-")]
    return programs.run([*command, "-E", unit.source], cwd=unit.folder).stdout.decode(errors="surrogateescape")


def compiled(unit: Unit, text: str) -> Compiled:
    """Compile `text`, the preprocessed source of `unit`, each function into a section of its own."""
    with tempfile.TemporaryDirectory(prefix="klpkit-prove-") as scratch:
        source, target, listing = (Path(scratch, f"unit.{ending}") for ending in ("i", "o", "list"))
        source.write_text(text, errors="surrogateescape")
        more = ("-w", "-ffunction-sections", f"-flive-patching-list=all,{listing}", "-c", str(source))
        programs.run([*unit.command, *more, "-o", str(target)], cwd=unit.folder)
        shown = programs.run(["objdump", "-dr", "--no-show-raw-insn", "--no-addresses", str(target)])
        return Compiled(_code(shown.stdout.decode()), _lists(listing.read_text()))


def _code(disassembly: str) -> Code:
    code: Code = {}
    lines: list[str] = []
    for line in disassembly.splitlines():
        if line.startswith("<") and line.endswith(">:"):
            lines = code.setdefault(line[1:-2], [])
        elif line.startswith("Disassembly"):
            lines = []
        elif line.strip():
            lines.append(ANONYMOUS_DATA.sub("DATA", line.strip()))
    return code


def _lists(text: str) -> dict[Place, dict[str, str]]:
    lists: dict[Place, dict[str, str]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            _, function, place, impacted, _, _, how, _ = line.split("\t")
            lists.setdefault((function, place), {})[impacted] = how
    return lists


def offsets(text: str) -> dict[str, list[int]]:
    """Where each `file:line` of the source begins in its preprocessed `text`."""
    found: dict[str, list[int]] = {}
    file, line, offset = "", 0, 0
    for row in text.splitlines(keepends=True):
        if marker := LINE_MARKER.match(row):
            file, line = marker[2], int(marker[1])
        else:
            found.setdefault(f"{file}:{line}", []).append(offset)
            line += 1
        offset += len(row)
    return found


def marked(text: str, starts: list[int] | None, function: str, *, entry_only: bool) -> str:
    """`text` with marks in the body of `function`, whose name is on a line that begins at one of `starts`.

    Without `starts` its name is looked for everywhere.  Returns the empty string where no body is found.
    """
    called = re.compile(rf"\b{re.escape(function)}\b\s*(?=\()")
    spans = [(0, len(text))] if starts is None else [(start, text.find("\n", start)) for start in starts]
    for name in (name for span in spans for name in called.finditer(text, *span)):
        if places := _blocks(text, name.end(), entry_only):
            for place in reversed(places):
                text = text[:place] + MARK_STATEMENT + text[place:]
            return text
    return ""


def _blocks(text: str, start: int, entry_only: bool) -> list[int]:
    """Where the blocks of a body begin whose parameter list begins at `start`."""
    places: list[int] = []
    before: list[str] = []
    word, parentheses, braces = "", 0, 0
    for token in TOKEN.finditer(text, start):
        token_text = token[0]
        if token_text in ");}" and not braces and not (parentheses and token_text == ")"):
            return []  # a call or a declaration
        if token_text == "(":
            parentheses += 1
            before.append(word)
        elif token_text == ")":
            parentheses -= 1
            # `switch (x) {` begins no block that is ever entered at its top; `= {` and `struct s {` begin none.
            token_text = "switch" if before.pop() == "switch" else ")"
        elif token_text == "{" and not parentheses:
            if not braces or (not entry_only and word in (")", "else", "do")):
                places.append(token.end())
            braces += 1
        elif token_text == "}" and not parentheses:
            braces -= 1
            if not braces:
                return places
        if not token_text.startswith("#"):
            word = token_text
    return []


def finding(unit: Unit, before: Compiled, after: Compiled, function: Place) -> Finding:
    """What the compilation `after`, with `function` marked, shows about its list."""
    listed, now = before.lists[function], after.lists.get(function, {})
    code = after.code
    with_mark = frozenset(symbol for symbol, lines in code.items() if SHOWN_MARK in lines)
    differs = {symbol for symbol in {*code, *before.code} if code.get(symbol) != before.code.get(symbol)}
    otherwise = set(listed) != set(now)
    clones = [symbol for symbol in now if "." in symbol]
    rest = [symbol for symbol in now if symbol in code and symbol not in with_mark]
    by_clone = frozenset(symbol for symbol in rest if _uses(code[symbol], clones))
    # Other inlining changes other functions too: then only the marks count.
    unlisted = (with_mark - set(now)) | (set() if otherwise else differs - set(now))
    unexplained = {symbol for symbol in rest if with_mark and not symbol.endswith(".cold")} - by_clone
    return Finding(
        *(unit.source, function, listed, with_mark, by_clone, frozenset(unlisted), frozenset(unexplained)),
        inlined_otherwise=otherwise,
    )


def _uses(lines: list[str], symbols: list[str]) -> bool:
    """Whether a relocation among `lines` names one of `symbols`, or the section that holds it."""
    words = {word for line in lines if line.startswith("R_") for word in line.split()[-1:]}
    named = {re.sub(r"[+-]0x[0-9a-f]+$", "", word) for word in words}
    return any({symbol, f".text.{symbol}", f".text.unlikely.{symbol}"} & named for symbol in symbols)


def prove(unit: Unit, wanted: set[str]) -> list[Finding | Place]:
    """A finding for each function of `unit`; the function itself where no body was found."""
    text = preprocessed(unit)
    before = compiled(unit, text)
    starts = offsets(text)
    results: list[Finding | Place] = []
    for function in before.lists:
        name, place = function
        if (wanted and name not in wanted) or "." in name:
            continue
        one: Finding | None = None
        for entry_only in (False, True):
            # A function that no record mentions is listed without its place.
            here = None if place == "-" else starts.get(place, [])
            changed = marked(text, here, name, entry_only=entry_only)
            if changed and (one is None or one.inlined_otherwise):
                one = finding(unit, before, compiled(unit, changed), function)
        results.append(one or function)
    return results


def report(found: Finding, show: bool) -> Iterator[str]:
    if not show and found.verdict in ("agrees", "inlined otherwise"):
        return
    yield f"{Path(found.source).name}: {found.function[0]}: {found.verdict}"
    rows = {
        "listed, with code": {name for name, how in found.listed.items() if how != "gone"},
        "listed, gone": {name for name, how in found.listed.items() if how == "gone"},
        "marked": found.marked,
        "uses a listed clone": found.by_clone,
        "unlisted": found.unlisted,
        "no mark, no clone": found.unexplained,
    }
    for title, names in rows.items():
        if names:
            yield f"  {title:<20} {', '.join(sorted(names))}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("build", type=Path, help="a folder below build-logs/projects")
    parser.add_argument("--show", nargs="+", default=[], metavar="FUNCTION", help="these, in full")
    parser.add_argument("--jobs", type=int, default=programs.default_jobs(), help="parallel compilers")
    given = parser.parse_args()
    try:
        chosen = list(units(given.build.resolve()))
        results = programs.parallel(partial(prove, wanted=set(given.show)), chosen, jobs=given.jobs)
    except KlpkitError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    flat = [one for unit_results in results for one in unit_results]
    findings = [one for one in flat if isinstance(one, Finding)]
    for line in (line for one in findings for line in report(one, bool(given.show))):
        print(line)
    counts = Counter(one.verdict for one in findings)
    counts["not found in the source"] = len(flat) - len(findings)
    print(f"{len(chosen)} units, {len(flat)} functions:", ", ".join(f"{n} {what}" for what, n in counts.items()))
    otherwise = [one.function[0] for one in findings if one.verdict == "inlined otherwise"]
    if otherwise:
        print("inlined otherwise once marked:", ", ".join(otherwise))
    return 1 if any(one.unlisted for one in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
