"""A program of `-flto` units as one unit: a body is hidden in its unit, the link is done again, all code compared.

Functions go by their names; one whose name several units have goes by `unit:name`, in the objects as well, so that
nothing takes one for the other.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.cachedir import cache_dir
from klpkit.errors import RefusedError, UserError
from klpkit.programs import parallel
from klpkit.proof.builds import Build
from klpkit.proof.decisions import joined
from klpkit.proof.hiding import HidingError, Pins
from klpkit.proof.linkcommand import LinkCommand
from klpkit.proof.linkers import LINKED, Linker, linker_of
from klpkit.proof.text import SourceFunction, source_functions
from klpkit.proof.unit import ProofUnit, digest, open_member, settle, stored_functions


def open_program(units: Mapping[str, TranslationUnit], command: LinkCommand) -> LinkedUnit:
    """The program that `command` links, of the `units` (by the names to show) whose objects it names.

    Raises `UserError` where it names none of them, `RefusedError` for units that are not C, and what `open_unit`
    raises.
    """
    inputs = set(command.inputs)
    named = {name: unit for name, unit in units.items() if unit.object.resolve() in inputs}
    if not named:
        raise UserError(
            "the link command names no object that the build tree knows how to compile",
            hint="give paths as they are from the build folder; members of archives are not looked for",
        )
    if others := [name for name, unit in named.items() if unit.language != "c"]:
        raise RefusedError(
            "proof-lto", f"{others[0]} is not C", hint="link-time proofs know C; prove C++ units without -flto"
        )
    linker = linker_of(command.kind)
    members = parallel(lambda name: open_member(named[name], name, linker.hider), named)
    parts = [*command.compiler, *command.arguments, *(member.folder.name for member in members)]
    own = {unit.object.resolve() for unit in named.values()}
    parts += [_content(path) for path in command.inputs if path not in own and path.is_file()]
    folder = cache_dir("proof", "linked-" + digest("\0".join(parts)))
    return LinkedUnit(members, command, linker, folder)


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class LinkedUnit(ProofUnit):
    """All units of a program, linked; as a unit its functions are those of all."""

    linked = True

    def __init__(self, members: Sequence[ProofUnit], command: LinkCommand, linker: Linker, folder: Path) -> None:
        name = next((word for word in reversed(command.arguments) if not word.startswith("-")), "program")
        output = command.arguments[command.arguments.index("-o") + 1] if "-o" in command.arguments else name
        super().__init__(members[0].unit, output, "", linker.hider, folder)
        self.members = tuple(members)
        self.command = command
        self.linker = linker
        self._records: dict[ProofUnit, dict[str, str]] = {}
        for member in members:
            member.compilations = self.compilations
            member.renamed = self._renamed_in(member)
        for member in members:
            if member.renamed and not linker.hider.by_symbol:
                self._records[member], member.renamed = member.renamed, {}
            elif member.renamed:
                member.folder = cache_dir("proof", digest(f"{member.folder.name} {member.renamed}"))

    @property
    def has_causes(self) -> bool:
        """Whether passes can be left out of a link: LLD's have no switches."""
        return self.command.kind == "gcc"

    # -- names ---------------------------------------------------------------------------------------------------

    @cached_property
    def _homes(self) -> dict[str, list[ProofUnit]]:
        """The units that define each name."""
        found: dict[str, list[ProofUnit]] = defaultdict(list)
        for member in self.members:
            for name in member.functions:
                found[name].append(member)
        return found

    def key(self, member: ProofUnit, name: str) -> str:
        """What the function `name` of a unit is called in the program."""
        return f"{member.name}:{name}" if len(self._homes.get(name, ())) > 1 else name

    def _renamed_in(self, member: ProofUnit) -> dict[str, str]:
        names = [name for name in member.functions if len(self._homes[name]) > 1]
        return {member.functions[name].symbol: self.key(member, name) for name in names}

    def _owner(self, name: str, file: str) -> str:
        """The program's name for a function of a link's record; as it is where the file does not tell the unit."""
        homes = [member for member in self._homes.get(name, ()) if member.functions[name].file == file]
        return self.key(homes[0], name) if len(homes) == 1 else name

    @cached_property
    def functions(self) -> dict[str, SourceFunction]:
        with self.lock:
            return stored_functions(self.folder / "functions.json", self._functions)

    def _functions(self) -> dict[str, SourceFunction]:
        found = {}
        local = self.linker.local(self.baseline.object.parent, self._owner)
        for member in self.members:
            for name, row in source_functions(member.text, self._homes).items():
                key = self.key(member, name)
                symbol = key if key != name else row.symbol
                found[key] = replace(
                    row,
                    name=key,
                    symbol=symbol,
                    static=row.static or symbol in local,
                    mentions=tuple(sorted(self._mentioned(member, row))),
                )
        return found

    def _mentioned(self, member: ProofUnit, row: SourceFunction) -> set[str]:
        """Functions that the body names: the unit's own, else the one that others can call."""
        found: set[str] = set()
        for name in row.mentions:
            homes = [member] if name in member.functions else self._homes[name]
            found.update(
                self.key(home, name) for home in homes if home is member or not home.functions[name].static
            )
        return found

    # -- builds --------------------------------------------------------------------------------------------------

    def _stored(self, flags: tuple[str, ...]) -> Build:
        folder = self.folder / ("plain" + (digest(" ".join(flags)) if flags else ""))
        builds = dict(zip(self.members, parallel(lambda one: one.plain(flags), self.members), strict=True))
        if not (folder / LINKED).exists():
            work = Path(tempfile.mkdtemp(prefix=".plain-", dir=self.folder))
            try:
                self._link({member: build.object for member, build in builds.items()}, work, flags)
                settle(work, folder)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        return self._build(folder, builds)

    def hiding(self, name: str, workdir: Path, *, pins: Pins | None = None, flags: Sequence[str] = ()) -> Build:
        """The program linked with the body of one function hidden; `pins` may be on functions of other units."""
        wanted: dict[ProofUnit, dict[str, str]] = {member: {} for member in self.members}
        for pinned, word in (pins or {}).items():
            home, plain = self._home(pinned)
            wanted[home][plain] = word
        builds = {member: member.plain(flags) for member in self.members}
        where, plain = self._home(name)
        for index, (member, words) in enumerate(wanted.items()):
            if member is where or words:
                folder = workdir / str(index)
                folder.mkdir(parents=True)
                names = member.spelled(plain) if member is where else ()
                builds[member] = member.variant(names, folder, words, flags)
        self._link({member: build.object for member, build in builds.items()}, workdir, flags)
        made = self._build(workdir, builds)
        if self.linker.keeps_hidden and self.functions[name].symbol not in _functions(made):
            raise HidingError("the link took another function of that name")
        return made

    def _home(self, key: str) -> tuple[ProofUnit, str]:
        for member in self.members:
            plain = key.removeprefix(f"{member.name}:")
            if plain in member.functions and self.key(member, plain) == key:
                return member, plain
        raise UserError(f"{self.name} has no function {key}", hint="name it as unit.c:function")

    def _link(self, objects: Mapping[ProofUnit, Path], folder: Path, flags: Sequence[str]) -> None:
        replaced = {member.unit.object.resolve(): path for member, path in objects.items()}
        self.linker.link(self.command, replaced, folder, flags)
        self.linker.rename(folder, self._owner)

    def _build(self, folder: Path, builds: Mapping[ProofUnit, Build]) -> Build:
        parts = [self.linker.decisions(folder, self._owner)]
        for member, build in builds.items():
            parts.append(build.decisions.renamed(self._records.get(member, {})))
        return Build(folder / LINKED, (), joined(parts, parts[0].partitions))

    def own_build(self, folder: Path) -> Path:
        """The program of the units as they are, not of their preprocessed text."""
        objects = {}
        for index, member in enumerate(self.members):
            objects[member] = self.linker.own_object(member.unit, member.renamed, folder / str(index))
            self.compilations.add()
        self._link(objects, folder, ())
        return folder / LINKED

    # -- questions -----------------------------------------------------------------------------------------------

    @cached_property
    def _alive(self) -> frozenset[str]:
        traces = self.symbols | self.coded | self.baseline.decisions.names
        todo = [key for key, row in self.functions.items() if {row.symbol, self._home(key)[1]} & traces]
        found = set(todo)
        while todo:
            fresh = [name for name in self.functions[todo.pop()].mentions if name not in found]
            found.update(fresh)
            todo += fresh
        return frozenset(found)

    def own_functions(self) -> list[str]:
        names = (self.key(member, name) for member in self.members for name in member.in_source())
        return [name for name in names if self.alive(name)]

    def _titled(self, name: str) -> SourceFunction | None:
        """`unit:function` where the name is no other unit's, and a name alone that only one function can mean."""
        file, _, plain = name.rpartition(":")
        homes = [home for home in self._homes.get(plain, ()) if not file or _ends(home.name, file)]
        if len(homes) > 1:
            keys = ", ".join(self.key(home, plain) for home in homes)
            raise UserError(f"{name} is {len(homes)} functions: {keys}", hint="name one of them")
        return self.functions[self.key(homes[0], plain)] if homes else None


def _functions(build: Build) -> set[str]:
    table = build.elf.symbols
    return {table.names[row] for row in table.defined_functions.tolist()}


def _ends(name: str, file: str) -> bool:
    return name == file or name.endswith(f"/{file}")
