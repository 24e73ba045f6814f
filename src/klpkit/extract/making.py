"""One unit's draft from start to end: read, close, write, compile, annotate, compile again as it will be built.

The draft that is handed over has been compiled with the unit's own flags, and every symbol that it leaves
undefined is accounted for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.build.replays import replay
from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.errors import RefusedError, UserError
from klpkit.extract.chunks import Source
from klpkit.extract.closure import Mode, Plan
from klpkit.extract.composing import Composition, compose
from klpkit.extract.draft import Draft
from klpkit.extract.modulekeys import AS_DATA
from klpkit.extract.references import Kernel, Reference, annotation_lines, references
from klpkit.extract.running import CompiledOriginal, own_state
from klpkit.extract.statics import lock_keys
from klpkit.extract.unitsource import UnitSource
from klpkit.programs import NoSpaceError, ProgramFailedError

# So that no function's code depends on what another one's body says.
GCC_ALONE = (
    *("-fno-ipa-cp", "-fno-ipa-bit-cp", "-fno-ipa-vrp", "-fno-ipa-sra", "-fno-ipa-modref", "-fno-ipa-pure-const"),
    *("-fno-ipa-icf", "-fno-ipa-ra", "-fno-partial-inlining", "-fno-ipa-stack-alignment", "-fno-ipa-reference"),
    *("-fno-inline-functions-called-once", "-fno-reorder-functions"),
)
_MODULE_NAME = "KBUILD_MODNAME"
# Compilations before a draft gets every include: each of them tells what more it needs.
TRIES = 4


@dataclass(frozen=True, slots=True)
class UnitDraft:
    """A finished draft.

    `functions` maps names of the source to those of the draft; `text` is the C file without its header comment.
    `object` is the draft compiled with the unit's flags before annotation, for comparison with the kernel's code.
    """

    unit: TranslationUnit
    home: str
    functions: Mapping[str, str]
    text: str
    references: tuple[Reference, ...]
    copied: tuple[str, ...]
    object: Path
    all_includes: bool
    module_name: str = ""
    """What the source's messages call its module (`KBUILD_MODNAME`), "" where the draft does not say it."""
    keys_as_data: bool = False
    """Whether static keys are asked as data, since a module's can't be asked otherwise."""
    anew: tuple[str, ...] = ()
    """Functions with state of macros' (messages said once, rate limits) that starts anew in the draft."""


def draft_unit(
    unit: TranslationUnit,
    functions: Sequence[str],
    original: Path,
    kernel: Kernel,
    work: Path,
    *,
    home: str,
    uncallable: Collection[str] = (),
) -> UnitDraft:
    """Extract `functions` of `unit` as `UnitReader` does, for callers that want one draft of it."""
    return UnitReader(UnitSource(unit), original, kernel, home=home, uncallable=uncallable).draft(functions, work)


class UnitReader:
    """A unit that any number of drafts are made of."""

    def __init__(
        self,
        source: UnitSource,
        original: Path,
        kernel: Kernel,
        *,
        home: str,
        uncallable: Collection[str] = (),
    ) -> None:
        """`original` is the unit's compiled object, part of `home`.

        `uncallable` are functions of the unit that new code must not call under their plain names.
        """
        self._read, self.unit, self.kernel, self.home = source, source.unit, kernel, home
        self._running = CompiledOriginal(original, uncallable)

    @property
    def source(self) -> Source:
        """The unit's source, cut into chunks."""
        return self._read.source

    def is_alias(self, name: str, others: Collection[str]) -> bool:
        """Whether the source does not define `name`, and it is the code of another one of `others`."""
        if self.source.declared(name, ("function",)):
            return False
        place = self._running.place(name)
        return place is not None and any(self._running.place(other) == place for other in others if other != name)

    def draft(self, functions: Sequence[str], work: Path) -> UnitDraft:
        """Extract `functions` in the folder `work`.

        Raises `RefusedError` where something can't be taken in or is nowhere in the kernel, and
        `ProgramFailedError` where even the draft with all includes does not compile.
        """
        try:
            return self._draft(functions, work, keys_as_data=False)
        except (ProgramFailedError, UserError) as error:
            if isinstance(error, NoSpaceError) or not self._read.found.templates:
                raise
            headers = ", ".join(Path(file).name for file in self._read.found.templates)
            raise RefusedError(
                "template-header",
                f"{self.unit.source.name} includes {headers} several times, for other macros each time, and "
                f"{', '.join(functions)} can't be taken out of that",
                hint="write the function by hand",
            ) from error
        except RefusedError as error:
            if error.slug != "module-key":
                raise
            try:
                return self._draft(functions, work, keys_as_data=True)
            except NoSpaceError:
                raise
            except ProgramFailedError:
                raise error from None  # no headers of a kernel's

    def _draft(self, functions: Sequence[str], work: Path, *, keys_as_data: bool) -> UnitDraft:
        made = compose(self._read, functions, self._running, keys_as_data=keys_as_data)
        closed = made.plan
        draft, compiled, all_includes = self._compiled(made, work)
        elf = ElfFile.open(compiled)
        self._check_visible(draft, elf)
        self._check_state(closed, elf)
        undefined = references(elf, self.kernel, draft.symbols)
        return UnitDraft(
            self.unit,
            self.home,
            draft.functions,
            _annotated(draft, undefined, self.home),
            tuple(undefined),
            tuple(_copied(closed)),
            compiled,
            all_includes,
            self._module_name if _MODULE_NAME in closed.names else "",
            keys_as_data,
            tuple(dict.fromkeys(draft.anew)),
        )

    @cached_property
    def _module_name(self) -> str:
        given = [word for word in self.unit.arguments if word.startswith(f"-D{_MODULE_NAME}=")]
        return given[-1].partition("=")[2] if given else ""

    def _check_visible(self, draft: Draft, compiled: ElfFile) -> None:
        """Raise `RefusedError` where the glue could not name the copy of a function that is to be replaced."""
        visible = {each.name for each in compiled.symbols if each.section > 0 and each.bind != c.STB_LOCAL}
        for function, copy in draft.functions.items():
            if self._running.has_code(function) and copy not in visible:
                raise RefusedError(
                    "copy-not-visible",
                    f"the copy {copy} stays static: a macro of the source makes it so",
                    hint="write the function without the macro in the source, or extract its callers",
                )

    def _check_state(self, closed: Plan, compiled: ElfFile) -> None:
        """Raise `RefusedError` where the draft has a state of its own beside the kernel's of the same name."""
        doubled = {name for name in own_state(compiled) if name in self._running.state}
        doubled -= lock_keys(kept.chunk for kept in closed.kept.values())
        if doubled:
            raise RefusedError(
                "doubled-state",
                f"the draft would have a state of its own beside the kernel's {', '.join(sorted(doubled))}",
                hint="extract the functions that use it too, or write a declaration of it by hand",
            )

    def alone(self, draft: UnitDraft) -> Path:
        """The object of `draft` with each function compiled as if there were no other, beside its other object."""
        work, name = draft.object.parent, f"{draft.object.stem}-alone.o"
        text, flags = self._read.text_file(work), (*self._read.draft_flags, *self._alone_flags)
        return replay(self.unit, workdir=work, source=text, extra=flags, output=name).object

    def original_alone(self, work: Path, *, keys_as_data: bool) -> Path:
        """The unit itself compiled so, in `work`, and with static keys as in a draft."""
        flags = (*self._read.apart_flags, *self._alone_flags)
        if keys_as_data:
            work.mkdir(parents=True, exist_ok=True)
            header = work / "keys.h"
            header.write_text(AS_DATA)
            flags = (*flags, "-w", "-include", str(header))
        return replay(self.unit, workdir=work, extra=flags, output=f"{self.unit.source.stem}-alone.o").object

    @cached_property
    def _alone_flags(self) -> tuple[str, ...]:
        return ("-fno-inline", *(GCC_ALONE if self.unit.kind == "gcc" else ()))

    def _compiled(self, made: Composition, work: Path) -> tuple[Draft, Path, bool]:
        """The first draft that compiles, with its object, and whether it needed every include."""
        includes = made.few
        for _ in range(TRIES):
            draft = made.draft(includes)
            try:
                return draft, self._read.compiled(draft.numbered, work), False
            except NoSpaceError:
                raise
            except ProgramFailedError as error:
                more = made.more(includes, error.completed.stderr.decode(errors="replace"))
                if len(more) == len(includes):
                    break
                includes = more
        draft = made.draft(made.every)
        return draft, self._read.compiled(draft.numbered, work), True


def _annotated(draft: Draft, found: Sequence[Reference], home: str) -> str:
    """The draft's text with its annotations after the includes that declare what they name."""
    lines = annotation_lines(found, home)
    if not lines:
        return draft.text
    return "\n".join([draft.text.rstrip("\n"), "", "#include <klpkit.h>", *lines, ""])


def _copied(closed: Plan) -> Iterator[str]:
    """The functions that came along because the running kernel has no code to call for them."""
    for _, kept in sorted(closed.kept.items()):
        if Mode.PATCHED in kept.modes.values():
            continue
        for item in kept.chunk.items:
            for name in item.declares:
                if name.kind == "function" and kept.modes.get(name.text) is Mode.COPIED:
                    yield name.text
