"""From functions that a person names to drafts: closed over their impacted functions, grouped by unit.

A function without code of its own is in the draft to be edited, and its users replace the kernel's; one that
exists only as a clone brings in the functions that call the clone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.command import TranslationUnit
from klpkit.build.tree import BuildTree
from klpkit.errors import RefusedError
from klpkit.extract.ahead import Begun
from klpkit.extract.checking import Checked, Checker, alone, differs
from klpkit.extract.kernel import ShippedKernel
from klpkit.extract.making import UnitDraft, UnitReader
from klpkit.extract.package import Wanted
from klpkit.extract.unitsource import UnitSource
from klpkit.impact.evidence import CodeFile, Evidence
from klpkit.impact.result import How, ImpactAnswer, ImpactedFunction
from klpkit.programs import ProgramFailedError
from klpkit.records.causes import cause
from klpkit.target import VMLINUX, Target
from klpkit.target.module import module_name

ASKED = "asked for"
_OVER = ("init-code", "exit-code")
_LEFT_OUT = (
    "{} is impacted too and left out: it runs when its object is loaded or removed, where no live patch reaches it"
)


@dataclass(frozen=True, slots=True)
class Extraction:
    """The drafts, each with its functions; `warnings` say what the lists may miss."""

    drafts: tuple[tuple[UnitDraft, tuple[Wanted, ...]], ...]
    warnings: tuple[str, ...]
    checked: tuple[tuple[Checked, ...], ...]
    """For each draft its functions held against the kernel's code."""


def extract(begun: Begun, target: Target, *, closed: bool = True, thorough: bool = False) -> Extraction:
    """Draft the functions that were asked for, for the kernel `target`.

    `closed` takes in every impacted function as well; `thorough` is that of `Extractor`.  Raises `RefusedError`
    where a function can't be patched, and the errors of what was begun.
    """
    evidence = begun.evidence.result()
    extractor = Extractor(begun.tree, evidence, target, begun.work, source=begun.source, thorough=thorough)
    return extractor.extract(begun.specs, begun.work, closed=closed)


class Extractor:
    """Drafts from evidence that is at hand; each unit is preprocessed and read once."""

    def __init__(
        self,
        tree: BuildTree,
        evidence: Evidence,
        target: Target,
        work: Path,
        *,
        source: Callable[[TranslationUnit], UnitSource] = UnitSource,
        thorough: bool = False,
    ) -> None:
        """`work` is a folder for what serves several drafts; `source` reads a unit.

        Where a function's code differs from the kernel's, draft and source are compared function by function;
        `thorough` does so also where a reason for the difference is known.
        """
        self.thorough, self._source = thorough, source
        self.tree, self.evidence, self.target, self.work = tree, evidence, target, work
        self._readers: dict[str, UnitReader] = {}
        self._alone: dict[tuple[str, bool], Path] = {}
        self._kernels: dict[str, ShippedKernel] = {}
        self._checker = Checker(target)

    def extract(self, specs: Sequence[str], work: Path, *, closed: bool = True) -> Extraction:
        """As `extract`."""
        answer, clones = _closed(self.evidence, specs)
        wanted = [item for item in answer.impacted if closed or not item.chain]
        passed = [item for item in wanted if item.chain and item.patchability.forbidden in _OVER]
        wanted = [item for item in wanted if item not in passed]
        drafts, checked = [], []
        for number, (unit, items) in enumerate(_by_unit(wanted).items()):
            draft, functions = self._draft(unit, items, clones, work / str(number))
            drafts.append((draft, functions))
            checked.append(self._checked(unit, draft))
        warnings = (*answer.warnings, *(_LEFT_OUT.format(item.function.symbol) for item in passed))
        return Extraction(tuple(drafts), warnings, tuple(checked))

    def _checked(self, unit: str, draft: UnitDraft) -> tuple[Checked, ...]:
        """`draft` held against the kernel's code; where it differs, against the source's, function by function."""
        code, reader = self._code(unit), self.reader(unit)
        found = self._checker.check(draft, code.path, code.narrowed)
        if not differs(found, explained=self.thorough):
            return found
        try:
            key = (unit, draft.keys_as_data)
            if key not in self._alone:
                folder = self.work / f"alone-{len(self._alone)}"
                self._alone[key] = reader.original_alone(folder, keys_as_data=draft.keys_as_data)
            return alone(found, draft, reader.alone(draft), self._alone[key])
        except ProgramFailedError:
            return found  # not every source compiles so

    def _code(self, unit: str) -> CodeFile:
        code = self.evidence.code(unit)
        assert code is not None, "evidence from a build tree has every unit's object"
        return code

    def reader(self, name: str) -> UnitReader:
        """The unit called `name` in the evidence."""
        if name not in self._readers:
            code = self._code(name)
            home = module_name(code.owner) if code.owner else VMLINUX
            kernel = ShippedKernel(self.target, code.path, home)
            unit = self.tree.ensure_unit(name)
            self._kernels[name] = kernel
            self._readers[name] = UnitReader(
                self._source(unit), code.path, kernel, home=home, uncallable=code.narrowed
            )
        return self._readers[name]

    def _draft(
        self, name: str, items: Sequence[ImpactedFunction], clones: dict[str, str], work: Path
    ) -> tuple[UnitDraft, tuple[Wanted, ...]]:
        _refuse(items)
        work.mkdir(parents=True, exist_ok=True)
        reader = self.reader(name)
        # One body, one replacement: the name that the source defines stands for its aliases.
        names = [_source_name(item) for item in items]
        items = [item for item in items if not reader.is_alias(_source_name(item), names)]
        draft = reader.draft(list(dict.fromkeys(_source_name(item) for item in items)), work)
        kernel = self._kernels[name]
        return draft, tuple(_wanted(item, clones, kernel) for item in items if not _is_clone(item))


def _closed(evidence: Evidence, specs: Sequence[str]) -> tuple[ImpactAnswer, dict[str, str]]:
    """The answer for `specs` and the callers of clones among what they impact; caller → clone."""
    asked, clones = list(specs), dict[str, str]()
    while True:
        answer = evidence.ask(asked)
        more = [
            (f"{item.function.unit}:{caller}", item.function.symbol)
            for item in answer.impacted
            if item.patchability.how is How.CALLERS or _untraced(item)
            for caller in _callers(evidence.code(item.function.unit), item)
        ]
        new = {spec: clone for spec, clone in more if spec not in asked}
        if not new:
            return answer, clones
        asked += new
        clones |= {spec.rpartition(":")[2]: clone for spec, clone in new.items()}


def _callers(code: CodeFile | None, item: ImpactedFunction) -> list[str]:
    """The functions of an object whose code refers to a function that can't be replaced itself.

    Raises `RefusedError` where they are not all that use it.
    """
    symbol = item.function.symbol
    users = dict(_users(code, symbol)) if code else {}
    if _untraced(item) and (not users or not all(users.values())):
        raise RefusedError(
            "no-ftrace-location",
            f"{symbol} has no ftrace location, and not only functions of its source use it",
            hint="patch what uses it",
        )
    return [name for name, is_code in users.items() if is_code]


def _users(code: CodeFile, symbol: str) -> Iterator[tuple[str, bool]]:
    """What refers to `symbol` in an object, and whether it is a function; itself and special sections left out."""
    from klpkit.diff.load import load
    from klpkit.diff.pool import Pool
    from klpkit.elf import ElfFile
    from klpkit.elf.special import Role

    graph = load(ElfFile.open(code.path), Pool(), Pool())
    rows, first = graph.users
    for entity in range(len(graph.entities.role)):
        if graph.names[entity] != symbol:
            continue
        for row in rows[int(first[entity]) : int(first[entity + 1])].tolist():
            owner = int(graph.references.owner[row])
            role, name = graph.entities.role[owner], graph.names[owner].partition(".cold")[0]
            if name != symbol and role in (Role.TEXT, Role.DATA, Role.RODATA):
                yield name, bool(role == Role.TEXT and name)


def _by_unit(items: Sequence[ImpactedFunction]) -> dict[str, list[ImpactedFunction]]:
    groups: dict[str, list[ImpactedFunction]] = {}
    for item in items:
        groups.setdefault(item.function.unit, []).append(item)
    return groups


def _source_name(item: ImpactedFunction) -> str:
    """The function as its source calls it, without the suffix of a clone."""
    return item.function.symbol.partition(".")[0]


def _is_clone(item: ImpactedFunction) -> bool:
    return item.patchability.how is How.CALLERS and "." in item.function.symbol


def _untraced(item: ImpactedFunction) -> bool:
    """Whether the function has code that live patching can't redirect: `inline` implies notrace in the kernel."""
    return item.patchability.how is How.SYMBOL and item.patchability.ftrace is False


def _refuse(items: Sequence[ImpactedFunction]) -> None:
    for item in items:
        if item.patchability.forbidden:
            raise RefusedError(
                item.patchability.forbidden,
                f"{item.function.symbol} can't be patched, and {_why(item, {})}",
                hint="docs/reasons.md says what this word means and what can be done",
            )


def _wanted(item: ImpactedFunction, clones: dict[str, str], kernel: ShippedKernel) -> Wanted:
    name = item.function.symbol
    replaced = item.patchability.how is How.SYMBOL and not _untraced(item)
    return Wanted(name, _why(item, clones), kernel.replaced(name) if replaced else 0, replaced)


def _why(item: ImpactedFunction, clones: dict[str, str]) -> str:
    """Why the function is in, as the header comment says it."""
    if item.chain:
        effect = item.chain[-1]
        return cause(effect.cause).sentence.format(user=effect.user.symbol, body=effect.body.symbol)
    clone = clones.get(item.function.symbol)
    return f"it calls {clone}, which can't be replaced itself" if clone else ASKED
