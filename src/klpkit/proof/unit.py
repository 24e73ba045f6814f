"""One unit as a proof sees it: its preprocessed text, its functions, and the build that others are compared to.

What was found is kept below klpkit's cache under all that it depends on: text, flags, compiler, and klpkit itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from klpkit import __version__
from klpkit.build.command import TranslationUnit
from klpkit.build.outputs import redirected
from klpkit.build.replays import replay
from klpkit.cachedir import atomic_write, cache_dir
from klpkit.compilers.probe import identify
from klpkit.errors import RefusedError, UserError
from klpkit.proof.builds import Build, compile_text, preprocess, read_build
from klpkit.proof.cxxnames import matching
from klpkit.proof.decisions import source_name
from klpkit.proof.hiders import hider_of, without_checks
from klpkit.proof.hiding import Hider, Pins
from klpkit.proof.model import Proof
from klpkit.proof.text import SourceFunction, callers_of

LONGEST_NAME = 200
"""Longer symbols, as C++ has, make no file name."""
FORMAT = 3
"""Counts up with every change of klpkit that may let a proof, a record or a kept build say something else.

Between two releases nothing else makes klpkit ask again; a release does so itself, by its version.
"""


def open_unit(unit: TranslationUnit, *, name: str = "") -> ProofUnit:
    """`unit`, preprocessed and compiled once without hiding; `name` is how its functions are shown.

    Raises `ProgramFailedError` where the unit does not compile, `UserError` for a language or compiler that proofs
    don't know and `RefusedError` where the link decides what goes into which function.
    """
    _refuse_lto(unit)
    return open_member(unit, name or str(unit.source), hider_of(unit.kind, unit.language))


def open_member(unit: TranslationUnit, name: str, hider: Hider) -> ProofUnit:
    """`open_unit` for a unit of a program whose link is done again."""
    with tempfile.TemporaryDirectory(prefix="klpkit-proof-") as folder:
        text = preprocess(unit, Path(folder))
    folder_name = _key(unit, text)
    return ProofUnit(unit, name, text, hider, cache_dir("proof", folder_name))


def _refuse_lto(unit: TranslationUnit) -> None:
    """Refuse `-flto`: the unit's own object then holds no code, or code that is not the one that is linked."""
    asked = [word for word in unit.arguments if word.startswith(("-flto", "-fno-lto"))]
    if asked and asked[-1].startswith("-flto"):
        raise RefusedError(
            "proof-lto",
            f"{unit.source} is compiled with {asked[-1]}: the link decides what relies on what",
            hint="give the command that links it with --link, or prove a build without -flto",
        )


def _key(unit: TranslationUnit, text: str) -> str:
    words = redirected(unit.arguments, lambda _: "OUT")
    content = hashlib.sha256(text.encode(errors="surrogateescape"))
    parts = [str(FORMAT), __version__, identify(unit.compiler).key, *words, content.hexdigest()]
    return digest("\0".join(parts))


def digest(text: str) -> str:
    """A short name for content."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


@dataclass(slots=True)
class Counter:
    """How many compilations were run; threads share it."""

    value: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self) -> None:
        with self._lock:
            self.value += 1


class ProofUnit:
    """A unit whose functions can be proven; safe to use from several threads.

    `linked` says that it is a whole program; `renamed` are symbols that the lowered text has under other names.
    """

    linked = False

    def __init__(self, unit: TranslationUnit, name: str, text: str, hider: Hider, folder: Path) -> None:
        self.unit = unit
        self.name = name
        self.text = text
        self.hider = hider
        self.folder = folder
        self.compilations = Counter()
        self.lock = threading.RLock()
        self.renamed: dict[str, str] = {}
        self._others: dict[tuple[str, ...], Build] = {}

    @cached_property
    def functions(self) -> dict[str, SourceFunction]:
        """The functions that the text defines, headers' included."""
        with self.lock:
            return stored_functions(self.folder / "functions.json", self._functions)

    def _functions(self) -> dict[str, SourceFunction]:
        with tempfile.TemporaryDirectory(prefix="klpkit-proof-") as folder:
            return self.hider.functions(self.unit, self.text, Path(folder))

    @cached_property
    def baseline(self) -> Build:
        """The build without anything hidden."""
        return self.plain(())

    def plain(self, flags: Sequence[str]) -> Build:
        """The build without anything hidden, with `flags` behind the unit's own; made once."""
        key = tuple(flags)
        with self.lock:
            if key not in self._others:
                self._others[key] = self._stored(key)
            return self._others[key]

    def _stored(self, flags: tuple[str, ...]) -> Build:
        name = "plain" + (digest(" ".join(flags)) if flags else "")
        folder = self.folder / name
        if not (folder / "text.o").exists():
            work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=self.folder))
            try:
                self._compile(self.subject, work, flags)
                settle(work, folder)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        return read_build(folder / "text.o", sorted(folder.glob(f"*{self.hider.record}")), self.hider)

    def hiding(self, name: str, workdir: Path, *, pins: Pins | None = None, flags: Sequence[str] = ()) -> Build:
        """A build with the body of the function `name` hidden, in `workdir`."""
        return self.variant(self.spelled(name), workdir, pins or {}, flags)

    def spelled(self, name: str) -> tuple[str, ...]:
        """All names under which the lowered text has the function `name`."""
        function = self.functions[name]
        names = (function.symbol if self.hider.by_symbol else name, *function.aliases, *function.siblings)
        return tuple(self.renamed.get(each, each) for each in names)

    def variant(self, names: Sequence[str], workdir: Path, pins: Pins, flags: Sequence[str]) -> Build:
        """A build with the bodies of functions hidden, as `spelled` has them, and with `pins`."""
        return self._compile(self.hider.hidden(self.subject, names, pins), workdir, flags)

    def hiding_variable(self, name: str, workdir: Path) -> Build:
        """A build in which code elsewhere may read and write the static variable `name`, in `workdir`."""
        return self._compile(self.hider.hidden_variable(self.subject, name), workdir, ())

    @cached_property
    def subject(self) -> str:
        """The text in which bodies are hidden: preprocessed, and lowered where the compiler's hider wants it."""
        with self.lock, tempfile.TemporaryDirectory(prefix="klpkit-proof-") as folder:
            text = self.hider.lowered(self.unit, without_checks(self.text), Path(folder))
            return self.hider.with_names(text, self.renamed) if self.renamed else text

    def _compile(self, text: str, workdir: Path, flags: Sequence[str]) -> Build:
        self.compilations.add()
        return compile_text(self.unit, text, workdir, self.hider, flags)

    def own_build(self, folder: Path) -> Path:
        """The object that the unit's own source, not its preprocessed text, makes in `folder`."""
        self.compilations.add()
        return replay(self.unit, workdir=folder, extra=("-w", "-g0")).object

    @cached_property
    def symbols(self) -> frozenset[str]:
        """The functions with code in the baseline."""
        symbols = self.baseline.elf.symbols
        return frozenset(symbols.names[row] for row in symbols.defined_functions.tolist())

    @cached_property
    def coded(self) -> frozenset[str]:
        """The functions, by their source's symbol, that have code in the baseline, be it only as a clone."""
        return frozenset(map(source_name, self.symbols))

    @cached_property
    def aliases(self) -> dict[str, str]:
        """The other names that the text gives to its functions → the function's own symbol."""
        return {alias: function.symbol for function in self.functions.values() for alias in function.aliases}

    def callers(self, name: str) -> tuple[str, ...]:
        """The functions whose source names `name` and that the unit needs."""
        return tuple(caller for caller in callers_of(self.functions, name) if self.alive(caller))

    def alive(self, name: str) -> bool:
        """Whether the function has code, went into others' code, or is named by a function that is alive.

        A function whose calls were all found useless is named and leaves no other trace.
        """
        return name in self._alive

    @cached_property
    def _alive(self) -> frozenset[str]:
        traces = self.symbols | self.coded | self.baseline.decisions.names
        todo = [name for name, function in self.functions.items() if function.symbol in traces]
        found = set(todo)
        while todo:
            fresh = [name for name in self.functions[todo.pop()].mentions if name not in found]
            found.update(fresh)
            todo += fresh
        return frozenset(found)

    def function(self, name: str) -> SourceFunction:
        """The function `name`; `UserError` with what is close where the unit lacks it."""
        found = self.functions.get(name) or self._titled(name)
        if found is None:
            import difflib

            names = [row.title or row.name for row in self.functions.values()]
            close = difflib.get_close_matches(name, names, 3)
            hint = f"did you mean {', '.join(close)}?" if close else "name a function that the unit defines"
            if self.unit.language == "c++" and not close:
                hint = "name one that is called: C++ compiles no template or inline function that is not"
            raise UserError(f"{self.name} defines no function {name}", hint=hint)
        return found

    def defines(self, name: str) -> bool:
        """Whether `function` finds `name`; `UserError` where it means several."""
        return name in self.functions or self._titled(name) is not None

    def _titled(self, name: str) -> SourceFunction | None:
        """The C++ function that people call `name`."""
        titles = {symbol: row.title for symbol, row in self.functions.items() if row.title}
        found = [self.functions[symbol] for symbol in matching(name, titles)] if titles else []
        if any(row.name not in (found[0].name, *found[0].siblings) for row in found):
            several = ", ".join(row.title for row in found[:5])
            raise UserError(f"{name} is {len(found)} functions: {several}", hint="name one of them, or its symbol")
        return found[0] if found else None

    def own_functions(self) -> list[str]:
        """The functions that the unit's source itself defines and that are alive, in its order."""
        return [name for name in self.in_source() if self.alive(name)]

    def in_source(self) -> list[str]:
        """The functions with text that the unit's source itself defines, in its order, headers' left aside."""
        source = os.path.realpath(self.unit.source)
        directory = self.unit.directory
        rows = [f for f in self.functions.values() if os.path.realpath(directory / f.file) == source]
        return [row.name for row in sorted(rows, key=lambda row: row.first) if not row.made]

    def load(self, name: str) -> Proof | None:
        """The proof of `name` from the cache."""
        try:
            return Proof.from_document(json.loads(self._path(name).read_text()))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def store(self, proof: Proof) -> None:
        path = self._path(proof.function)
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as stream:
            stream.write(json.dumps(proof.document()))

    def _path(self, name: str) -> Path:
        name = name.replace("/", "%2F")
        short = name if len(name) < LONGEST_NAME else f"{name[:100]}-{digest(name)}"
        return self.folder / "proofs" / f"{short}.json"


def settle(work: Path, folder: Path) -> None:
    """Give `work` its name, unless another process was faster."""
    try:
        work.rename(folder)
    except OSError:
        if not (folder / "text.o").exists():
            raise


def stored_functions(path: Path, make: Callable[[], dict[str, SourceFunction]]) -> dict[str, SourceFunction]:
    """The functions kept in the file at `path`, else those that `make` finds."""
    if not path.exists():
        found = make()
        with atomic_write(path) as stream:
            stream.write(json.dumps([asdict(function) for function in found.values()]))
        return found
    lists = ("mentions", "aliases", "siblings")
    rows = json.loads(path.read_text())
    rows = [{**row, **{word: tuple(row.get(word, ())) for word in lists}} for row in rows]
    return {row["name"]: SourceFunction(**row) for row in rows}
