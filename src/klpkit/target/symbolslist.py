"""Lists of a kernel's symbols as klp-convert uses them (`symbols.klp`, earlier `Symbols.list`).

A line with the format's name, then for each object a line with `*` and its name, and below it a line for each of
its symbols.  Only the order of symbols of one name matters; `__ksymtab_<name>` says that a symbol is exported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from klpkit.errors import FormatError, RefusedError, UserError
from klpkit.target.model import VMLINUX, Export, TargetObject, TargetSymbol
from klpkit.target.module import Module
from klpkit.target.opening import Target

FORMAT = "klp-convert-symbol-data.0.1"
EXPORT_PREFIX = "__ksymtab_"


class ListedObject(TargetObject):
    """One object of a list: names and how often each occurs; addresses, sizes and sources are not known."""

    def __init__(self, name: str, counts: Mapping[str, int]) -> None:
        self.name = name
        self.counts = counts

    def positions(self, name: str) -> tuple[TargetSymbol, ...]:
        return tuple(TargetSymbol(name, 0, None, "?", index=index) for index in range(self.counts.get(name, 0)))

    def exports(self) -> Mapping[str, Export]:
        return self._exports

    @cached_property
    def _exports(self) -> Mapping[str, Export]:
        names = (name.removeprefix(EXPORT_PREFIX) for name in self.counts if name.startswith(EXPORT_PREFIX))
        return {name: Export(name, None, "", False, self.name) for name in names}

    def code(self, symbol: TargetSymbol, size: int | None = None) -> bytes:
        raise RefusedError(
            "no-shipped-code",
            f"a list of symbols holds no code of {symbol.name}",
            hint="name the image with --image",
        )

    def at(self, address: int, section: str = "") -> tuple[TargetSymbol, ...]:
        return ()

    def near(self, address: int, section: str = "") -> TargetSymbol | None:
        return None


class SymbolsList:
    """The contents of a list, to be asked like a `Target`: names of modules have underscores."""

    def __init__(self, objects: Mapping[str, ListedObject]) -> None:
        self.objects = objects

    @property
    def vmlinux(self) -> ListedObject:
        return self.objects[VMLINUX]

    def object(self, name: str) -> ListedObject:
        """`vmlinux` or the module `name`; `RefusedError` (`no-such-module`) for one that is not listed."""
        found = self.objects.get(name.replace("-", "_"))
        if found is None:
            raise RefusedError(
                "no-such-module",
                f"the list of symbols has no object {name}",
                hint="check its name, or list it too",
            )
        return found

    def modules(self) -> tuple[str, ...]:
        """The names of all objects but vmlinux."""
        return tuple(sorted(self.objects.keys() - {VMLINUX}))

    def exports(self) -> Mapping[str, Export]:
        """What all objects export."""
        return self._exports

    @cached_property
    def _exports(self) -> Mapping[str, Export]:
        return {name: export for each in self.objects.values() for name, export in each.exports().items()}


def read_symbols_list(path: Path) -> SymbolsList:
    """The list at `path`; `FormatError` names the first line that is wrong."""
    try:
        lines = path.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="name a list that `klpkit symbols` wrote") from error
    if lines[0] != FORMAT:
        raise FormatError(path, "line 1", f"is not {FORMAT}", hint="`klpkit symbols -o FILE` writes such a list")
    if lines.pop():
        raise FormatError(path, f"line {len(lines) + 1}", "ends without a line feed: the list is cut")
    counts: dict[str, Counter[str]] = {}
    current: Counter[str] | None = None
    for number, line in enumerate(lines[1:], 2):
        if line.startswith("*"):
            name = line[1:].replace("-", "_")
            if not name or name in counts:
                raise FormatError(path, f"line {number}", f"the object {name!r} is listed twice or has no name")
            current = counts[name] = Counter()
        elif current is None or not line:
            raise FormatError(path, f"line {number}", "a symbol without a name or before the first object")
        else:
            current[line] += 1
    if VMLINUX not in counts:
        raise FormatError(path, "", f"has no object {VMLINUX}", hint="write the list of a whole kernel")
    return SymbolsList({name: ListedObject(name, found) for name, found in counts.items()})


def symbols_list(target: Target, modules: Iterable[str] | None = None) -> Iterator[str]:
    """The lines of the list of `target`, of `modules` or all that there are, as the kernel will count them."""
    yield FORMAT
    yield f"*{VMLINUX}"
    names = target.vmlinux.columns.names
    yield from names
    yield from _unlisted_exports(target.vmlinux, names)
    for name in target.modules() if modules is None else modules:
        module = target.object(name)
        assert isinstance(module, Module)
        yield f"*{module.name}"
        names = [name for name in dict.fromkeys(module.elf.symbols.names) if name]
        yield from (symbol.name for name in names for symbol in module.positions(name))
        yield from _unlisted_exports(module, names)


def _unlisted_exports(owner: TargetObject, names: Iterable[str]) -> list[str]:
    """The entries that say what `owner` exports and that are not among its symbols."""
    known = set(names)
    return [entry for name in owner.exports() if (entry := EXPORT_PREFIX + name) not in known]
