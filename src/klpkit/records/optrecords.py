"""Clang's optimisation records (`-fsave-optimization-record`): which remarks tell of effects, and of which.

A record file is a sequence of YAML documents, one a remark (`remarks.py` reads one); a translation unit that
gave no remark leaves an empty file.  Only `Passed` remarks tell of changed code.  What is known of each pass is
data here, found by experiment with LLVM 16 and 19:

- inliners name both functions; so does hot-cold splitting;
- outliners name the new function, but not those that it was cut from: a warning;
- argument promotion, dead-argument elimination, IPSCCP, function attributes, function specialisation and function
  merging write no remark at all (`SILENT_PASSES`): records alone under-report.

A pass that is in no table gives a warning, so that a newer LLVM's remark is never dropped in silence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from klpkit.errors import FormatError, UserError
from klpkit.records.model import Effect, EffectBuilder, EffectTable, Function, Location
from klpkit.records.remarks import KINDS, Remark, RemarkSyntaxError, parse_remark


@dataclass(frozen=True, slots=True)
class _Meaning:
    """How a remark becomes an effect: its cause and which arguments name the body and the user.

    An empty key stands for the remark's own function.
    """

    cause: str
    body: str
    user: str = ""


_INLINED = _Meaning("inline", "Callee", "Caller")

# (pass, remark name) → effect.
MEANINGS: dict[tuple[str, str], _Meaning] = {
    **{
        (inliner, name): _INLINED
        for inliner in ("inline", "always-inline", "module-inline", "sample-profile", "sample-profile-inline")
        for name in ("Inlined", "AlwaysInline", "InlineSuccess")
    },
    ("inline-ml", "InliningSuccess"): _Meaning("inline", "Callee"),
    ("inline-ml", "InliningSuccessWithCalleeDeleted"): _Meaning("inline", "Callee"),
    ("partial-inlining", "PartiallyInlined"): _INLINED,
    ("hotcoldsplit", "HotColdSplit"): _Meaning("cold", "Original", "Split"),
    **{
        ("wholeprogramdevirt", name): _Meaning("devirtualisation", "FunctionName")
        for name in ("single-impl", "branch-funnel", "uniform-ret-val", "unique-ret-val", "virtual-const-prop")
    },
}

# Remarks of interprocedural passes that tell of no dependence on a body, and why.
HARMLESS: dict[tuple[str, str], str] = {
    ("lto", "deadfunction"): "an unused function was removed",
    ("pgo-icall-prom", "Promoted"): "a call through a pointer is compared with a function first, then calls it",
    ("wholeprogramdevirt", "Devirtualized"): "the function's name alone; its calls have remarks of their own",
}

# Passes that look at one function at a time: whatever they did, it stays within it.
LOCAL_PASSES = frozenset(
    {
        "TTI",
        "annotation-remarks",
        "asm-printer",
        "bounds-checking",
        "codegenprepare",
        "coro-frame",
        "dse",
        "early-ifcvt",
        "gisel",
        "gvn",
        "hardware-loops",
        "hwasan",
        "instcombine",
        "irce",
        "isel",
        "jump-threading",
        "licm",
        "loop-data-prefetch",
        "loop-delete",
        "loop-distribute",
        "loop-flatten",
        "loop-fusion",
        "loop-idiom",
        "loop-interchange",
        "loop-load-elim",
        "loop-peel",
        "loop-predication",
        "loop-reduce",
        "loop-rotate",
        "loop-simplifycfg",
        "loop-sink",
        "loop-unroll",
        "loop-unroll-and-jam",
        "loop-unswitch",
        "loop-vectorize",
        "loop-versioning",
        "loop-versioning-licm",
        "lower-matrix-intrinsics",
        "memcpyopt",
        "memops",
        "newgvn",
        "pgo-memop-opt",
        "prologepilog",
        "regalloc",
        "sccp",
        "sdagisel",
        "shrink-wrap",
        "simplifycfg",
        "size-info",
        "slp-vectorizer",
        "stack-frame-layout",
        "stack-protector",
        "tailcallelim",
        "transform-warning",
        "vector-combine",
    }
)

SILENT_PASSES = (
    "argpromotion",
    "called-value-propagation",
    "deadargelim",
    "function-attrs",
    "function-specialization",
    "globalopt",
    "ipsccp",
    "mergefunc",
)
"""Interprocedural passes of LLVM 16 and 19 that change code and leave no remark: what records can't show."""

_HEADER = re.compile(rb"--- !(\w+)\nPass: +(\S[^\n]*)\nName: +(\S[^\n]*)\n")
_LOCAL = frozenset(name.encode() for name in LOCAL_PASSES)
_KINDS = frozenset(kind.encode() for kind in KINDS)
# First bytes of what is not YAML text → what it is.
_MAGICS = {
    b"RMRK": "in LLVM's bitstream form",
    b"REMARKS\0": "in LLVM's string-table form",
    b"\x1f\x8b": "compressed with gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\xfd7zXZ": "compressed with xz",
}


def read_opt_records(path: Path | str, *, unit: str | None = None, lenient: bool = False) -> EffectTable:
    """The effects in the record file `path`.

    `unit` is what the functions are local to (the object, say); by default the path.  The place of an inlined call
    is the effect's `where`.  A malformed document raises `FormatError` with file and line; with `lenient` it is a
    counted warning.  Raises `UserError` for a file that can't be read, or is a record in another form than YAML.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}", hint="name a file made by Clang") from error
    _check_form(path, data)
    collector = _Collector(str(path), data, lenient)
    for offset, document in _documents(collector):
        collector.take(offset, document)
    return collector.table(unit or str(path))


def _check_form(path: Path | str, data: bytes) -> None:
    for magic, form in _MAGICS.items():
        if data.startswith(magic):
            raise UserError(
                f"{path}: this optimisation record is {form}",
                hint="unpack it, or compile with -fsave-optimization-record=yaml",
            )


def _documents(collector: _Collector) -> Iterator[tuple[int, bytes]]:
    """Each document with its offset, from its `---` line up to its `...` line; the framing is checked."""
    data, at = collector.data, 0
    while at < len(data):
        end = data.find(b"\n...\n", at)
        following = data.find(b"\n--- ", at)
        if not data.startswith(b"--- !", at):
            collector.malformed(at, "expected '--- !' and the kind of a remark")
            at = following + 1 if following >= 0 else len(data)
        elif end < 0 or 0 <= following < end:
            collector.malformed(at, "the document has no end ('...'); the file may be truncated")
            at = following + 1 if following >= 0 else len(data)
        else:
            yield at, data[at : end + 1]
            at = end + len(b"\n...\n")


@dataclass(slots=True)
class _Collector:
    """What was found so far in one file."""

    path: str
    data: bytes
    lenient: bool
    effects: list[tuple[str, str, str, Location | None]] = field(default_factory=list)
    places: dict[str, Location] = field(default_factory=dict)
    unlisted: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def take(self, offset: int, document: bytes) -> None:
        """Look at one document; only those of interest are parsed in full."""
        header = _HEADER.match(document)
        if not header or header[1] not in _KINDS:
            self.malformed(offset, "expected the kind of a remark, then its Pass and its Name")
        elif header[1] == b"Passed" and header[2] not in _LOCAL:
            try:
                self.remark(parse_remark(document.decode()))
            except RemarkSyntaxError as error:
                before = document.decode(errors="replace")[: error.offset]
                self.malformed(offset + len(before.encode()), error.problem)
            except UnicodeDecodeError as error:
                self.malformed(offset + error.start, "this is not UTF-8 text")

    def remark(self, remark: Remark) -> None:
        key = (remark.pass_name, remark.name)
        if key in HARMLESS or remark.pass_name in LOCAL_PASSES:
            return
        for argument in remark.args:
            if argument.where and argument.where.line and argument.key in ("Callee", "Caller", "Original"):
                self.places.setdefault(argument.value, argument.where)
        meaning = MEANINGS.get(key)
        names = meaning and (_named(remark, meaning.body), _named(remark, meaning.user))
        if meaning and names and all(names):
            self.effects.append((names[0], names[1], meaning.cause, remark.where))
        elif not (meaning and self.is_summary(remark)):
            self.unlisted[key] += 1
            self.examples.setdefault(key, remark.function)

    @staticmethod
    def is_summary(remark: Remark) -> bool:
        """Whether the remark only repeats others: partial inlining ends with one that names no callee at all."""
        return remark.pass_name == "partial-inlining" and all(a.key == "String" for a in remark.args)

    def malformed(self, offset: int, problem: str) -> None:
        line = self.data.count(b"\n", 0, offset) + 1
        if not self.lenient:
            hint = "compile the file again, or use --lenient to skip what is malformed"
            raise FormatError(self.path, f"line {line}", problem, hint=hint)
        self.skipped.append(f"line {line}: {problem}")

    def table(self, unit: str) -> EffectTable:
        builder = EffectBuilder()
        for body, user, cause, where in [*self.effects, *self.specialisations()]:
            builder.add(Effect(self.function(unit, body), self.function(unit, user), cause, where))
        for (pass_name, name), count in sorted(self.unlisted.items()):
            example = self.examples[pass_name, name]
            builder.warn(
                f"{self.path}: {count} remark(s) {name} of the pass {pass_name}, the first in {example}: "
                "they don't say, or klpkit doesn't know, which functions depend on which"
            )
        if self.skipped:
            builder.warn(
                f"{self.path}: {len(self.skipped)} malformed document(s) skipped, first {self.skipped[0]}"
            )
        return builder.table()

    def specialisations(self) -> Iterator[tuple[str, str, str, Location | None]]:
        """The originals of specialised copies, told only by a copy's name: `F.specialized.3` is made from F."""
        for symbol in sorted({name for body, user, *_ in self.effects for name in (body, user)}):
            original, mark, _ = symbol.rpartition(".specialized.")
            if mark:
                yield original, symbol, "constprop", None

    def function(self, unit: str, symbol: str) -> Function:
        """A symbol is unique within one module, so its first known place is its place."""
        return Function(unit, symbol, self.places.get(symbol))


def _named(remark: Remark, key: str) -> str:
    """The function that the argument `key` names, without LLVM's mark for "leave this name alone"."""
    argument = remark.argument(key) if key else None
    name = argument.value if argument else "" if key else remark.function
    return name.removeprefix("\x01")
