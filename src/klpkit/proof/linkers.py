"""What a link with `-flto` leaves behind, and how it is asked for it: one row a compiler.

GCC (`-save-temps`, "Developer Options"): `X.ltransN.ltrans.o` is the code of one partition before the linker sees
it, `X.wpa.…` and `X.ltransN.…` are the dumps; the call graph of each partition tells where in the sources a symbol
comes from.  LLD (`--plugin-opt=obj-path`): the native object of full LTO, one a module with ThinLTO.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from klpkit import programs
from klpkit.build.command import Family, TranslationUnit
from klpkit.build.replays import TIME_LIMIT, Replayed, replay
from klpkit.elf import ElfFile
from klpkit.elf.constants import STT_FUNC, STV_HIDDEN
from klpkit.elf.model import ElfObject
from klpkit.elf.symbols import SymbolTable
from klpkit.errors import RefusedError
from klpkit.proof.decisions import Decisions, joined, read_decisions, read_inlining, source_name
from klpkit.proof.hiders import Redeclaring
from klpkit.proof.hiding import Hider, Pins, written
from klpkit.proof.interposing import Interposing, without_order
from klpkit.proof.linkcommand import LinkCommand

LINKED = "text.o"
"""The whole program's code that the link made, as one relocatable object."""

Owner = Callable[[str, str], str]
"""`(name, file) -> name`: how a function of that source name and file is called in the program."""


class Linker(Protocol):
    """How a program is linked and its code found."""

    @property
    def hider(self) -> Hider:
        """How bodies are hidden in the units."""
        ...

    @property
    def keeps_hidden(self) -> bool:
        """Whether a hidden function has code after the link even where nothing calls it."""
        ...

    def own_object(self, unit: TranslationUnit, names: Mapping[str, str], folder: Path) -> Path:
        """The object that the unit's own source makes, with functions called by other `names` where it must be."""
        ...

    def link(
        self, command: LinkCommand, replaced: Mapping[Path, Path], folder: Path, flags: Sequence[str]
    ) -> None:
        """Link in `folder`; its code is then in `LINKED` there, the records beside it."""
        ...

    def local(self, folder: Path, owner: Owner) -> frozenset[str]:
        """The functions that nothing outside of the program can call, as `rename` calls them."""
        ...

    def rename(self, folder: Path, owner: Owner) -> None:
        """Give functions in `LINKED` whose names repeat in the program the names that `owner` knows."""
        ...

    def decisions(self, folder: Path, owner: Owner) -> Decisions:
        """What the link decided between functions."""
        ...


@dataclass(frozen=True, slots=True)
class GccLinker:
    """`lto1` for the whole program, then one for each partition."""

    hider: Hider
    keeps_hidden: bool = False
    flags: tuple[str, ...] = ("-w", "-save-temps", "-fdump-ipa-clones", "-fcallgraph-info")

    def own_object(self, unit: TranslationUnit, names: Mapping[str, str], folder: Path) -> Path:
        return replay(unit, workdir=folder, extra=("-w", "-g0")).object

    def link(
        self, command: LinkCommand, replaced: Mapping[Path, Path], folder: Path, flags: Sequence[str]
    ) -> None:
        command.run(folder / "linked", replaced, (*self.flags, *flags))
        _merge(command, _reassembled(command, sorted(folder.glob("linked.ltrans*.ltrans.s"))), folder)

    def local(self, folder: Path, owner: Owner) -> frozenset[str]:
        called = _called(folder, owner)
        tables = (ElfFile.open(path).symbols for path in folder.glob("linked.ltrans*.ltrans.o"))
        return frozenset(called(name) for table in tables for name in _local(table))

    def rename(self, folder: Path, owner: Owner) -> None:
        _rename(folder / LINKED, _called(folder, owner))

    def decisions(self, folder: Path, owner: Owner) -> Decisions:
        dumps = sorted(folder.glob("linked.*.ipa-clones"))
        groups = [_functions(path) for path in sorted(folder.glob("linked.ltrans*.ltrans.o"))]
        partitions = {name: frozenset(group) for group in groups for name in group} if len(groups) > 1 else {}
        return joined([read_decisions(path, owner) for path in dumps], partitions)


_FUNCTION = re.compile(r"^\t\.type\t(\S+), [@%]function$", re.MULTILINE)


def _reassembled(command: LinkCommand, sources: Sequence[Path]) -> list[Path]:
    """Objects made of the partitions' assembly in which other files could call every function.

    A hidden function becomes one of those.  The assembler resolves calls of others itself and shortens jumps to
    them, which is no difference that a compiler makes.
    """
    texts = [path.read_text(errors="surrogateescape") for path in sources]
    count = Counter(name for text in texts for name in _FUNCTION.findall(text))
    found = []
    for path, text in zip(sources, texts, strict=True):
        open_to_all = _FUNCTION.sub(lambda m: f"\t.globl\t{m[1]}\n{m[0]}" if count[m[1]] == 1 else m[0], text)
        source = written(open_to_all, path.with_suffix(".all.s"))
        found.append(path.with_suffix(".all.o"))
        programs.run([*command.compiler, "-c", "-o", str(found[-1]), str(source)], timeout=TIME_LIMIT)
        source.unlink()
    return found


def _called(folder: Path, owner: Owner) -> Callable[[str], str]:
    """How functions of a link are called in the program."""
    places = _places(folder)

    def called(symbol: str) -> str:
        plain = _PRIVATE.sub("", symbol)
        base = source_name(plain)
        return owner(base, places.get(symbol, "")) + plain[len(base) :]

    return called


def _local(table: SymbolTable) -> Iterator[str]:
    """Functions that only this program can call: GCC makes those hidden that several partitions use."""
    rows = table.defined_functions.tolist()
    return (table.names[row] for row in rows if not table.bind[row] or table.visibility[row] == STV_HIDDEN)


_PRIVATE = re.compile(r"\.lto_priv\.\d+")
_NODE = re.compile(r'^node: \{ title: "(?:.*:)?([^":]*)" label: "[^"]*\\n([^"\\]*):\d+:\d+[^"]*" \}', re.MULTILINE)


_PROMOTED = re.compile(r"\.llvm\.\d+")


def _rename(path: Path, called: Callable[[str], str]) -> None:
    """Give the functions in an object other names; one that is taken is given to nobody else."""
    made = ElfObject.read(path)
    taken = Counter(symbol.name for symbol in made.symbols)
    rows = [symbol for symbol in made.symbols if symbol.type == STT_FUNC]
    wanted = Counter(called(symbol.name) for symbol in rows)
    for symbol in rows:
        name = called(symbol.name)
        if name != symbol.name and not taken[name] and wanted[name] == 1:
            symbol.name = name
    made.write(path)


def _places(folder: Path) -> dict[str, str]:
    """Symbol → the source file that it comes from; a symbol of several files is left out."""
    found: dict[str, set[str]] = {}
    for path in folder.glob("linked.*.ci"):
        for symbol, file in _NODE.findall(path.read_text(errors="surrogateescape")):
            found.setdefault(symbol, set()).add(file)
    return {symbol: next(iter(files)) for symbol, files in found.items() if len(files) == 1}


def _functions(path: Path) -> set[str]:
    symbols = ElfFile.open(path).symbols
    return {source_name(symbols.names[row]) for row in symbols.defined_functions.tolist()}


@dataclass(frozen=True, slots=True)
class PreLink(Interposing):
    """Clang's part of the work on one unit: the weak function stays weak, and is kept, until after the link."""

    def compiled(self, unit: TranslationUnit, text: str, workdir: Path, flags: Sequence[str]) -> Replayed:
        source = written(text, workdir / "hidden.ll")
        made = replay(
            unit, workdir=workdir, source=source, extra=("-w", "-g0", *self.dumps, *flags), output="text.o"
        )
        source.unlink()
        return made

    def hidden(self, text: str, names: Iterable[str], pins: Pins) -> str:
        names = list(names)
        return _kept(without_order(Interposing.hidden(self, text, names, pins), names), names)


def _kept(text: str, names: Sequence[str]) -> str:
    """IR in which something that nobody sees uses functions (`llvm.used` of the Language Reference)."""
    spelled = (re.search(rf'@({re.escape(name)}|"(?:\\01)?{re.escape(name)}")\(', text) for name in names)
    names = [match[1] for match in spelled if match]
    if not names:
        return text
    found = re.search(r"^@llvm\.used = appending global \[(\d+) x ptr\] \[(.*?)\]", text, re.MULTILINE)
    used = [f"ptr @{name}" for name in names] + ([found[2]] if found else [])
    count = len(names) + (int(found[1]) if found else 0)
    line = f"@llvm.used = appending global [{count} x ptr] [{', '.join(used)}]"
    if found:
        return text[: found.start()] + line + text[found.end() :]
    return f'{text}\n{line}, section "llvm.metadata"\n'


@dataclass(frozen=True, slots=True)
class LldLinker:
    """LLVM inside of LLD: `-flto` makes one module of all, `-flto=thin` one of each unit."""

    hider: Hider
    keeps_hidden: bool = True

    def own_object(self, unit: TranslationUnit, names: Mapping[str, str], folder: Path) -> Path:
        if not names:
            return replay(unit, workdir=folder, extra=("-w", "-g0")).object
        made = replay(unit, workdir=folder, extra=Interposing().lowering, output="own.ll").object
        text = self.hider.with_names(made.read_text(errors="surrogateescape"), names)
        return self.hider.compiled(unit, text, folder, ()).object

    def link(
        self, command: LinkCommand, replaced: Mapping[Path, Path], folder: Path, flags: Sequence[str]
    ) -> None:
        options = {"obj-path": folder / "lto.o", "opt-remarks-filename": folder / "remarks"}
        words = [f"-Wl,-plugin-opt={name}={value}" for name, value in options.items()]
        words += ["-w", "-Wl,-plugin-opt=opt-remarks-passes=inline", *flags]
        command.run(folder / "linked", replaced, words)
        _merge(command, sorted(folder.glob("lto.o*")), folder)

    def local(self, folder: Path, owner: Owner) -> frozenset[str]:
        return frozenset(_local(ElfFile.open(folder / LINKED).symbols))

    def rename(self, folder: Path, owner: Owner) -> None:
        _rename(folder / LINKED, lambda symbol: _PROMOTED.sub("", symbol))

    def decisions(self, folder: Path, owner: Owner) -> Decisions:
        records = [path for path in sorted(folder.glob("remarks*")) if path.stat().st_size]
        return joined([read_inlining(path) for path in records])


def _merge(command: LinkCommand, objects: Sequence[Path], folder: Path) -> None:
    objects = [path for path in objects if _functions(path)]
    if not objects:
        raise RefusedError(
            "proof-lto",
            "the link made no code: nothing in it was compiled with -flto, or it leaves the work to another",
            hint="give the command of the last link; with Clang one that uses LLD (-fuse-ld=lld)",
        )
    words = [*command.compiler, "-r", "-nostdlib", "-fno-lto", "-w", *map(str, objects)]
    programs.run([*words, "-o", str(folder / LINKED)], cwd=command.directory, timeout=TIME_LIMIT)


def linker_of(kind: Family) -> Linker:
    """The row for a compiler; `RefusedError` where a proof does not know its links."""
    from klpkit.proof.hiders import HIDERS

    if kind == "gcc":
        hider = HIDERS["gcc", "c"]
        assert isinstance(hider, Redeclaring)
        return GccLinker(hider)
    if kind == "clang":
        return LldLinker(PreLink())
    raise RefusedError("proof-lto", "this compiler's link-time optimisation is unknown", hint="use GCC or Clang")
