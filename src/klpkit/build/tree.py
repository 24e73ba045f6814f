"""A build tree: its translation units, and which of them concern a source, a header or a function."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from klpkit.build import compdb, mentions
from klpkit.build.cmdfile import CmdHead, command_directory, read_head, unit_of
from klpkit.build.command import TranslationUnit
from klpkit.build.dependencies import headers_of, read_bytes
from klpkit.build.index import Entry, Index, load_index
from klpkit.build.owners import Owners, is_other_program
from klpkit.errors import FormatError, UserError

_COMPILED = (".c", ".cc", ".cpp", ".cxx", ".C")
# What tells the top of a kernel's source tree.
_KERNEL_SOURCE = ("Makefile", "Kbuild", "scripts/Kbuild.include")


def open_tree(build: Path, *, source: Path | None = None, kernel: Path | None = None) -> BuildTree:
    """The build tree in the folder `build`, or the compilation database `build`.

    `source` is the top of the source tree where it is not in the build tree or behind its `source` link.  `kernel`
    is the kernel's own build tree where `build` is an external module's folder.  Raises `UserError` where there
    is nothing that tells of a build.
    """
    build = build.absolute()
    if build.is_file():
        return BuildTree(build.parent, source=source, database=build)
    if not build.is_dir():
        raise UserError(f"{build}: no such build tree", hint="name the folder that the kernel was built in")
    return BuildTree(build, source=source, kernel=kernel)


class BuildTree:
    """The translation units of one build; reading is lazy and nothing is ever written into the tree."""

    def __init__(
        self, root: Path, *, source: Path | None = None, kernel: Path | None = None, database: Path | None = None
    ) -> None:
        self.root = root
        self.source = _source_of(root) if source is None else source.absolute()
        self._kernel = kernel.absolute() if kernel else None
        self._database = database
        self._units: dict[str, TranslationUnit] = {}

    # -- all units ---------------------------------------------------------------------------------------------

    def units(self, *, everything: bool = False) -> Iterator[TranslationUnit]:
        """The C and C++ units of the kernel and its modules, or of the project.

        The boot loader, the vDSO and other programs beside the kernel are left out.

        `everything` adds those, assembler sources and, in a kernel tree, the programs that run during the build
        (without its tools folder, whose records do not tell where they were compiled).  Raises `FormatError` for a
        unit whose command is broken or needs a shell.
        """
        for entry in self._entries:
            if self._counts(entry) or (everything and (entry.kernel or not entry.target.startswith("/"))):
                yield self._unit(entry)

    @property
    def broken(self) -> dict[str, str]:
        """`.cmd` files of this tree that could not be read, and why: their units are missing from `units()`."""
        return dict(self._index.broken)

    def __len__(self) -> int:
        """The number of units in `units()`."""
        return sum(map(self._counts, self._entries))

    # -- one unit ----------------------------------------------------------------------------------------------

    def unit_for_source(self, source: str | Path) -> TranslationUnit:
        """The unit that compiles `source`, a path in the source tree or an absolute one.

        Where several do, the one that becomes part of the kernel or a module.  Raises `UserError` with the
        closest names where there is none, and where more than one is left.
        """
        found = self.units_for_source(source)
        if not found:
            raise self._no_unit(str(source))
        owned = [unit for unit in found if unit.owner]
        if len(owned or found) > 1:
            objects = ", ".join(str(unit.object) for unit in owned or found)
            raise UserError(f"{source} is compiled more than once: {objects}", hint="name the object instead")
        return (owned or found)[0]

    def units_for_source(self, source: str | Path) -> list[TranslationUnit]:
        """Every unit that compiles `source`, programs that run during the build included."""
        entries = self._by_source.get(self._source_path(source), ())
        return [self._unit(entry) for entry in entries]

    def unit_for_object(self, target: str | Path) -> TranslationUnit:
        """The unit that makes the object `target`, a path in the build tree or an absolute one."""
        entry = self._by_object.get(_normal(self.root, str(target)))
        if entry is None:
            raise UserError(
                f"{target}: no unit of {self.root} makes it", hint="name an object built from one source"
            )
        return self._unit(entry)

    def ensure_unit(self, source: str | Path) -> TranslationUnit:
        """As `unit_for_source`; where the tree has no command for it, Kbuild is asked for it.

        Kbuild works in a copy of what was prepared; this tree stays as it is.
        """
        return self.ensure_units([source])[0]

    def ensure_units(self, sources: Sequence[str | Path]) -> list[TranslationUnit]:
        """As `ensure_unit` for many sources with one call of Make."""
        missing = [source for source in sources if not self.units_for_source(source)]
        if missing:
            from klpkit.build.kbuild import commands_from_kbuild

            relative = [self._relative_source(source) for source in missing]
            self._add(commands_from_kbuild(self.root, self.source, relative))
        return [self.unit_for_source(source) for source in sources]

    def built_units(self, sources: Sequence[str | Path]) -> list[TranslationUnit]:
        """As `ensure_units`, leaving out sources that the configuration does not build."""
        missing = [source for source in sources if not self.units_for_source(source)]
        if missing:
            from klpkit.build.kbuild import commands_from_kbuild

            relative = [self._relative_source(source) for source in missing]
            self._add(commands_from_kbuild(self.root, self.source, relative, skip_unbuilt=True))
        return [self.unit_for_source(source) for source in sources if self.units_for_source(source)]

    @cached_property
    def is_complete(self) -> bool:
        """Whether all that the configuration builds has been built: what is unknown then is no part of it."""
        if self._database is not None or not (self.root / "include" / "config" / "auto.conf").is_file():
            return bool(self._entries)  # no kernel's own tree
        finished = any((self.root / name).is_file() for name in ("vmlinux", "vmlinux.o", "vmlinux.a"))
        return finished and (self.root / "modules.order").is_file()

    def owner(self, target: str | Path) -> str:
        """`vmlinux` or the module (`fs/ext4/ext4`) that the object `target` is linked into; "" where unknown."""
        return self._owners.owner(os.path.relpath(_normal(self.root, str(target)), self.root))

    # -- which units concern something -------------------------------------------------------------------------

    def units_with_header(self, header: str | Path, *, everything: bool = False) -> list[TranslationUnit]:
        """The units that include `header`; one whose list of headers is unknown counts as including it.

        `everything` adds the kernel's assembler sources and other programs (see `units`) that are known to.
        """
        wanted = self._source_path(header)
        name = os.fsencode(wanted.name)
        found = []
        for entry in self._entries:
            counts = self._counts(entry)
            content = self._dependency_text(entry) if counts or (everything and entry.kernel) else b""
            if content is None:
                found += [self._unit(entry)] * counts
            elif name in content:
                unit = self._unit(entry)
                if any(_same(path, wanted) for path in (*headers_of(unit), unit.source)):
                    found.append(unit)
        return found

    def units_mentioning(self, symbol: str) -> list[TranslationUnit]:
        """The units that may define or use the function `symbol`: too many rather than too few.

        A unit counts where its source or a header of it names the function, or where its object does; names that
        the kernel's macros put together are looked for by their parts.
        """
        names = mentions.spellings(symbol)
        concerned = self._files_mentioning(names)
        base = os.fsencode(symbol.split(".", 1)[0])
        return [
            self._unit(entry)
            for entry in self._entries
            if self._counts(entry) and self._mentions(entry, concerned, base)
        ]

    def sources_mentioning(self, symbol: str) -> list[Path]:
        """The C files of the source tree that name `symbol`, built or not; for a tree that was only prepared."""
        return sorted(mentions.files_mentioning(self.source_files((".c",)), mentions.spellings(symbol)))

    def source_files(self, suffixes: tuple[str, ...]) -> Iterator[Path]:
        """The files of the source tree with these suffixes that can become part of this build."""
        if self.source is None:
            raise UserError(f"no source tree for {self.root}", hint="name it with --source")
        from klpkit.build.kbuild import architecture_folder

        return _source_files(self.source, architecture_folder(self.root), suffixes)

    # -- inside ------------------------------------------------------------------------------------------------

    @cached_property
    def _index(self) -> Index:
        return load_index(self.root)

    @cached_property
    def _entries(self) -> list[Entry]:
        if self._database is None:
            entries = list(self._index.entries)
            default = self.root / compdb.NAME
            if entries or not default.is_file():
                return entries
            self._database = default
        entries = []
        self._add(compdb.read_compdb(self._database), into=entries)
        return entries

    def _add(self, units: Iterable[TranslationUnit], into: list[Entry] | None = None) -> None:
        """Take in units that no `.cmd` file of this tree describes."""
        entries = self._entries if into is None else into
        for unit in units:
            key = f"@{unit.record}:{unit.object}"
            self._units[key] = unit
            entries.append(Entry(key, str(unit.object), str(unit.source), True, ""))
        for name in ("_by_source", "_by_object"):
            self.__dict__.pop(name, None)

    @cached_property
    def _owners(self) -> Owners:
        return Owners(self.root, self._index.lists, self._index.entries)

    @cached_property
    def _by_source(self) -> dict[Path, list[Entry]]:
        table: dict[Path, list[Entry]] = {}
        for entry in self._entries:
            table.setdefault(self._place(entry, entry.source), []).append(entry)
        return table

    @cached_property
    def _by_object(self) -> dict[Path, Entry]:
        return {self._place(entry, entry.target): entry for entry in self._entries}

    def _place(self, entry: Entry, name: str) -> Path:
        """`name` as spelled in `entry`, absolute."""
        if name.startswith("/"):
            return Path(os.path.normpath(name))
        where = command_directory(entry.target, self.root / entry.cmd) or self._kernel or self.root
        return _normal(where, name)

    def _unit(self, entry: Entry) -> TranslationUnit:
        unit = self._units.get(entry.cmd)
        if unit is None:
            path = self.root / entry.cmd
            head: CmdHead | None = read_head(path)
            if head is None or not head.source:
                raise FormatError(path, "", "changed while it was read", hint="wait for the build to end")
            unit = unit_of(head, path, owner=self._owners.owner(self._relative(entry)), directory=self._kernel)
            self._units[entry.cmd] = unit
        return unit

    def _relative(self, entry: Entry) -> str:
        return os.path.relpath(self._place(entry, entry.target), self.root)

    @staticmethod
    def _counts(entry: Entry) -> bool:
        return entry.kernel and entry.source.endswith(_COMPILED) and not is_other_program(entry.target)

    def _source_path(self, source: str | Path) -> Path:
        """`source` as an absolute path: given so, or in the source tree, or in the build tree."""
        if Path(source).is_absolute():
            return Path(os.path.normpath(source))
        for base in (self.source, self.root):
            if base is not None and (base / source).exists():
                return _normal(base, str(source))
        return _normal(self.source or self.root, str(source))

    def _relative_source(self, source: str | Path) -> str:
        path = self._source_path(source)
        if not path.exists():
            raise self._no_unit(str(source))
        return os.path.relpath(path, self.source or self.root)

    def _no_unit(self, source: str) -> UserError:
        base = self.source or self.root
        place = self._source_path(source)
        beside = [path.name for path in place.parent.glob(f"*{place.suffix}") if place.parent.is_relative_to(base)]
        near = [
            os.path.relpath(place.with_name(name), base)
            for name in difflib.get_close_matches(place.name, beside, n=3)
            if name != place.name
        ]
        names = [str(path) for path in self._by_source]
        close = difflib.get_close_matches(place.name, {Path(name).name for name in names}, n=3)
        elsewhere = sorted(os.path.relpath(n, base) for n in names if Path(n).name in close)
        # Programs that run during the build lie outside the source tree, or in the build tree.
        near = list(dict.fromkeys([*near, *(name for name in elsewhere if not name.startswith(".."))]))[:5]
        hint = f"did you mean {', '.join(near)}?" if near else "check the path and the build tree"
        return UserError(f"{source}: no unit of {self.root} compiles it", hint=hint)

    def _dependency_text(self, entry: Entry) -> bytes | None:
        """The raw dependency list of `entry`, None where there is none."""
        if not entry.cmd.startswith("@"):
            content = read_bytes(self.root / entry.cmd)
            start = content.find(b"\ndeps_")
            return content[start : content.find(b" \\\n\n", start)] if start >= 0 else None
        names = self._units[entry.cmd].headers
        return os.fsencode(" \\\n  ".join(["", *map(str, names)])) if names else None

    def _files_mentioning(self, names: tuple[str, ...]) -> set[bytes]:
        """The raw spellings, in dependency lists and `source_` lines, of files that mention one of `names`."""
        spelled: set[bytes] = set()
        for entry in filter(self._counts, self._entries):
            spelled.add(os.fsencode(entry.source))
            spelled.update(_raw_words(self._dependency_text(entry) or b""))
        where = self._kernel or self.root
        paths = {
            raw: _normal(where, os.fsdecode(raw)) for raw in spelled if not raw.startswith((b"  $(", b"\ndeps_"))
        }
        hits = mentions.files_mentioning(set(paths.values()), names)
        return {raw for raw, path in paths.items() if path in hits}

    def _mentions(self, entry: Entry, concerned: set[bytes], symbol: bytes) -> bool:
        if os.fsencode(entry.source) in concerned:
            return True
        text = self._dependency_text(entry)
        if text is None or not concerned.isdisjoint(_raw_words(text)):
            return True
        return mentions.object_names(self._place(entry, entry.target), symbol)


def _raw_words(text: bytes) -> list[bytes]:
    """The entries of a dependency list as they are spelled; configuration entries keep their leading blanks."""
    return text.split(b" \\\n  ")


def _same(path: Path, wanted: Path) -> bool:
    return path == wanted or (path.name == wanted.name and os.path.realpath(path) == os.path.realpath(wanted))


def _normal(directory: Path, name: str) -> Path:
    return Path(os.path.normpath(directory / name))


def _source_of(root: Path) -> Path | None:
    """The top of the source tree that `root` was built from, as far as the tree itself tells."""
    for candidate in (root / "source", root):
        if all((candidate / name).exists() for name in _KERNEL_SOURCE):
            return candidate.resolve()
    return root


def _source_files(source: Path, architecture: str, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """The files of a kernel source tree that can become part of a kernel of `architecture`."""
    skipped = {"Documentation", "tools", "scripts", ".git"}
    for folder, folders, names in os.walk(source):
        if folder == str(source):
            folders[:] = [name for name in folders if name not in skipped]
        elif architecture and folder == str(source / "arch"):
            folders[:] = [name for name in folders if name in (architecture, "x86")]
        yield from (Path(folder, name) for name in names if name.endswith(suffixes))
