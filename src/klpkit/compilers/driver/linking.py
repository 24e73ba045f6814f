# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH110, PTH113, PTH118, PTH119, PTH120, PTH122, PTH208
"""A link: the compiler's own affair, unless link-time optimisation compiles there.

Then the link takes the level's flags too (at the link alone, or at the compilation alone, they do nothing), its
dumps of the whole-program stage (`wpa`) and of each partition (`ltrans`) go to a private folder, and the list is
made of those, of the records kept when each source was compiled, and of the partitions' code.
"""

from __future__ import annotations

import os

from klpkit.compilers.driver import ltostore, run
from klpkit.compilers.driver.compiling import warn_unknown
from klpkit.compilers.driver.effects import LTO_PRIVATE, Effects
from klpkit.compilers.driver.folders import program
from klpkit.compilers.driver.response import fitting
from klpkit.compilers.driver.talk import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from klpkit.compilers.driver.arguments import Call
    from klpkit.compilers.driver.features import Features
    from klpkit.compilers.driver.options import Wanted
    from klpkit.compilers.driver.words import Command
    from klpkit.records.clonelines import CloneDump

_DUMPS = "-fdump-ipa-clones"
_ENDING = ".ipa-clones"
_PREFIX = "klpkit"
_COMPILER = "KLPKIT_CC_COMPILER"


def link(command: Command, call: Call, wanted: Wanted, features: Features) -> int:
    """Do the link `call`, which compiles no source; the exit status."""
    objects = lto_inputs(call)
    if (not objects and not call.lto) or features.kind != "gcc":
        return run.replace([*command.wrapper, command.compiler, *command.arguments])
    return run.end(link_lto(command, call, wanted, features, objects))


def link_lto(
    command: Command, call: Call, wanted: Wanted, features: Features, objects: list[tuple[str, bytes]]
) -> int:
    """Link with LTO, check the promise, write the list; the wait status."""
    from tempfile import TemporaryDirectory

    assert wanted.level is not None
    flags = features.flags_for(wanted.level, "link", True)
    with TemporaryDirectory(prefix="klpkit-cc-") as folder:
        private = not (call.saves or call.dumpdir or call.has("-fdump-") or call.has("-wrapper"))
        aside = _aside(folder) if private else []
        words = fitting([*call.words, *flags, _DUMPS, *aside])
        environment = {**os.environ, _COMPILER: command.path}
        status = run.run([*command.wrapper, command.compiler, *words], env=environment)
        place = folder if private else _own_place(call)
        dumps = list(_dumps(place, _PREFIX if private else _own_stem(call)))
        if status == 0 and not run.interrupted():
            _deliver(call, wanted, dumps, objects, _partitions(command, folder))
        if not private and not call.has(_DUMPS) and not call.has("-fdump-ipa-all"):
            for dump in dumps:
                os.unlink(dump.path)
    return status


def _aside(folder: str) -> list[str]:
    """The words that make the link leave its dumps and its partitions' assembler code in `folder`.

    `-save-temps` for the whole link would do, but then lto-wrapper makes a file beside each input with debug
    information (`INPUT.debug.temp.o`), which a second link of that input makes and removes too.  So only the
    compilations that lto-wrapper starts get it: those of the program that COLLECT_GCC names.
    """
    inner = program("lto-inner", f'exec "${_COMPILER}" "$@" -save-temps=obj')
    return ["-wrapper", f"env,COLLECT_GCC={inner}", "-dumpdir", os.path.join(folder, f"{_PREFIX}.")]


def lto_inputs(call: Call) -> list[tuple[str, bytes]]:
    """(name, bytes) of every object with LTO code among the files that the link names."""
    return [found for path in _files(call) for found in ltostore.lto_objects(path)]


def _files(call: Call) -> Iterator[str]:
    folders = [value for option, value in _library_folders(call.words)]
    for name in call.inputs:
        if not name.startswith("-l"):
            if os.path.isfile(name):
                yield name
            continue
        stem = name[2:]
        for folder in folders:
            shared = os.path.join(folder, f"lib{stem}.so")
            static = os.path.join(folder, f"lib{stem}.a")
            if os.path.exists(shared) and "-static" not in call.words:
                break
            if os.path.isfile(static):
                yield static
                break


def _library_folders(words: list[str]) -> Iterator[tuple[str, str]]:
    for at, word in enumerate(words):
        if word == "-L" and at + 1 < len(words):
            yield word, words[at + 1]
        elif word.startswith("-L"):
            yield "-L", word[2:]


def _own_place(call: Call) -> str:
    return os.path.dirname(call.dumpdir or call.output) or "."


def _own_stem(call: Call) -> str:
    """How the names of the link's dumps begin where the user's options decide it."""
    if call.dumpdir:
        return os.path.basename(call.dumpdir).rstrip(".")
    return os.path.splitext(os.path.basename(call.output))[0] if call.output else "a"


def _dumps(folder: str, stem: str) -> Iterator[CloneDump]:
    from klpkit.records.clonelines import read_dump

    # The whole-program stage first: it says why a clone was made, a partition only that it was.
    for name in sorted(os.listdir(folder), key=lambda name: (".wpa." not in name, name)):
        if name.startswith(stem) and name.endswith(_ENDING) and (".wpa." in name or ".ltrans." in name):
            yield read_dump(os.path.join(folder, name))


def _partitions(command: Command, folder: str) -> list[str]:
    """The objects of the LTO partitions, assembled again from what `-save-temps` left in `folder`."""
    sources = sorted(name for name in os.listdir(folder) if name.endswith(".ltrans.s"))
    objects = []
    for name in sources:
        path = os.path.join(folder, name)
        if run.run([command.compiler, "-c", path, "-o", f"{path}.o"]) == 0:
            objects.append(f"{path}.o")
    return objects


def _deliver(
    call: Call, wanted: Wanted, dumps: list[CloneDump], objects: list[tuple[str, bytes]], partitions: list[str]
) -> None:
    assert wanted.level is not None
    unit = call.output or "a.out"
    records = {name: ltostore.find(data) for name, data in objects}
    missing = sorted(name for name, record in records.items() if record is None)
    for name in missing:
        warn(
            f"{name}: no records of its compilation are known here: what it inlined is missing from the list",
            unit,
        )
    if not dumps:
        warn("the link left no clone dumps: nobody knows what it inlined", unit)
    kept = [record for record in records.values() if record is not None]
    effects = _checked(wanted, dumps, kept, bool(missing))
    if wanted.listing:
        sources = [record.source for record in kept]
        _write_list(unit, wanted, effects, partitions, sources)


def _checked(wanted: Wanted, dumps: list[CloneDump], kept: list[ltostore.Record], unsure: bool) -> Effects:
    """The effects of all dumps; what of the link's own ones breaks the level is told, as at each compilation."""
    from klpkit.compilers.driver import promise
    from klpkit.compilers.driver.attributes import Attributes
    from klpkit.records.clonelines import parse_dump

    level = wanted.level
    assert level is not None
    public = frozenset[str]().union(*(record.public_names for record in kept))
    attributes = Attributes(lambda: ("", ""))
    effects = Effects()
    compiled = [parse_dump(record.dump, f"kept records of {record.source}") for record in kept]
    for dump in (*compiled, *dumps):
        effects.add_dump(dump)
        if level == "inline-clone":
            continue
        broken, excused = promise.check(
            level, dump, lambda symbol: symbol in public or (None if unsure else False), attributes
        )
        effects.excused.update(excused)
        if dump in dumps:
            promise.tell(level, broken)
    return effects


def _write_list(unit: str, wanted: Wanted, effects: Effects, partitions: list[str], sources: list[str]) -> None:
    from klpkit.compilers.driver import listing
    from klpkit.compilers.driver.compiling import object_code

    functions: set[str] = set()
    for path in partitions:
        light = object_code(path)
        if light:
            effects.add_object(light)
            functions.update(symbol.partition(LTO_PRIVATE)[0] for symbol, _ in light.functions)
    if not partitions:
        warn("the partitions' code was not kept: callers of clones may be missing from the list", unit)
    warn_unknown(effects, unit)
    found = functions if partitions else None
    name = listing.unit_name(unit, wanted.file)
    block = listing.text(name, str(wanted.level), effects, found, wanted.function, sources)
    listing.write(block, wanted.file)
