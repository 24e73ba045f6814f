"""The impact answer as a tree: seeds at the root, each function under the one whose effect reaches it.

Laid out here rather than by rich's `Tree`, which leaves a deep chain no columns at all; this one keeps the
innermost levels and says how deep they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from klpkit.impact.result import How, ImpactAnswer, ImpactedFunction
from klpkit.records.model import Function
from klpkit.report.fold import columns, fold
from klpkit.report.terminal import Sheet
from klpkit.report.wording import HOW_SENTENCES, Names, names_of, obstacles, place, shown, summary


@dataclass(frozen=True, slots=True)
class _Guides:
    """The strokes of a tree, each of one width: to a child, to the last child, past it, and past the last."""

    child: str
    last: str
    past: str
    gap: str
    cut: str


_BOX = _Guides("├─ ", "└─ ", "│  ", "   ", "⋯")
_ASCII = _Guides("|- ", "`- ", "|  ", "   ", "..")
_HOW_STYLES = {How.SYMBOL: "good", How.CALLERS: "warn", How.GONE: "warn", How.UNKNOWN: "faint"}


def write_tree(answer: ImpactAnswer, sheet: Sheet) -> None:
    """Write `answer` to `sheet` as a tree with its evidence, its warnings and a closing summary."""
    lines = _Tree(answer, sheet).lines()
    for line in lines:
        sheet.write(line + "\n")
    write_closing(answer, sheet)


def write_closing(answer: ImpactAnswer, sheet: Sheet) -> None:
    """The lines below a tree or table: warnings, what was read, and the summary."""
    sheet.write("\n")
    _write_said(answer.warnings, answer.evidence, sheet)
    _paragraph(sheet, summary(answer), "strong")


def write_trees(
    answers: Mapping[Function, ImpactAnswer],
    sheet: Sheet,
    *,
    warnings: Iterable[str] = (),
    evidence: Sequence[str] = (),
) -> None:
    """Write the tree of every function of `answers`, sorted by unit and symbol; a mapping may compute lazily.

    `warnings` and `evidence` are what holds for all of them, said once at the end.
    """
    count = 0
    for function in sorted(answers, key=sort_key):
        answer = answers[function]
        for line in _Tree(answer, sheet, unknown=False).lines():
            sheet.write(line + "\n")
        _write_said(answer.warnings, (), sheet)
        sheet.write("\n")
        count += 1
    _write_said(warnings, evidence, sheet)
    _paragraph(sheet, f"{count:,} function{'s' * (count != 1)} listed.", "strong")


def _write_said(warnings: Iterable[str], evidence: Sequence[str], sheet: Sheet) -> None:
    for warning in warnings:
        _paragraph(sheet, f"warning: {shown(warning)}", "warn")
    if evidence:
        _paragraph(sheet, f"evidence: {', '.join(map(shown, evidence))}", "faint")


def sort_key(function: Function) -> tuple[str, str, int, str]:
    """The order of functions in lists for `--all`."""
    return (function.unit, function.symbol, function.order, str(function.location or ""))


def _paragraph(sheet: Sheet, text: str, style: str) -> None:
    for line in fold(text, sheet.width, break_words=sheet.fold_names, hanging=2):
        sheet.write(sheet.paint(line, style) + "\n")


class _Tree:
    """The lines of one answer; `unknown` says of each function that no object was at hand, where none was."""

    def __init__(self, answer: ImpactAnswer, sheet: Sheet, *, unknown: bool = True) -> None:
        self.sheet = sheet
        self.unknown = unknown
        self.names: Names = names_of(answer)
        self.guides = _BOX if sheet.unicode else _ASCII
        # Beyond this depth only the innermost guides are drawn, so that half of the width stays for words.
        self.levels = max(2, sheet.width // 2 // len(_BOX.child))
        self.roots: list[ImpactedFunction] = []
        self.children: dict[Function, list[ImpactedFunction]] = {}
        present = {item.function for item in answer.impacted}
        for item in answer.impacted:
            parent = item.chain[-1].body if item.chain else None
            if parent is None or parent not in present or parent == item.function:
                self.roots.append(item)
            else:
                self.children.setdefault(parent, []).append(item)

    def lines(self) -> Iterator[str]:
        """Every line, depth first; without recursion, for chains can be very long."""
        for root in self.roots:
            stack: list[tuple[ImpactedFunction, int, tuple[str, ...], str]] = [(root, 0, (), "")]
            while stack:
                item, depth, above, branch = stack.pop()
                children = self.children.get(item.function, [])
                yield from self.node(item, depth, above, branch, bool(children))
                below = above
                if branch:
                    past = self.guides.gap if branch == self.guides.last else self.guides.past
                    below = (*above, past)[-self.levels :]
                for child in reversed(children):
                    stroke = self.guides.last if child is children[-1] else self.guides.child
                    stack.append((child, depth + 1, below, stroke))

    def node(
        self, item: ImpactedFunction, depth: int, above: tuple[str, ...], branch: str, has_children: bool
    ) -> Iterator[str]:
        """The lines of one function: its name and place, then why it is here and how it can be patched."""
        paint, guides = self.sheet.paint, self.guides
        before = "".join(above)
        after = before + (guides.gap if branch == guides.last else guides.past) if branch else before
        if depth > self.levels + 1:
            branch = branch + f"{guides.cut}{depth} "
        after += guides.past if has_children else guides.gap
        room = self.sheet.width - columns(before + branch)
        inner = self.sheet.width - columns(after)
        name = self.names[item.function]
        fits = columns(name) <= room
        first, *more = [name] if fits else fold(name, min(room, inner), break_words=self.sheet.fold_names)
        where = place(item.function)
        beside = not more and columns(first) + 2 + columns(where) <= room
        style = "strong" if depth else "accent"
        yield (
            paint(before + branch, "faint")
            + paint(first, style)
            + ("  " + paint(where, "faint") if beside else "")
        )
        for line in more:
            yield paint(after, "faint") + paint(line, style)
        for text, text_style in self.details(item, "" if beside else where):
            for line in fold(text, inner, break_words=self.sheet.fold_names, hanging=2):
                yield (paint(after, "faint") + paint(line, text_style)).rstrip()

    def details(self, item: ImpactedFunction, where: str) -> Iterator[tuple[str, str]]:
        patchability = item.patchability
        if where:
            yield where, "faint"
        if item.chain:
            yield self.names.sentence(item.chain[-1]), "faint"
        bullet = "•" if self.sheet.unicode else "*"
        if self.unknown or patchability.how is not How.UNKNOWN:
            owner = f" (in {shown(patchability.owner)})" if patchability.owner else ""
            yield f"{bullet} {HOW_SENTENCES[patchability.how]}{owner}", _HOW_STYLES[patchability.how]
        for mark in obstacles(patchability):
            yield f"{bullet} {mark}", "bad"
        for note in patchability.notes:
            yield f"{bullet} {shown(note)}", "warn"
        if len(item.chains) > 1:
            yield f"{bullet} reached by {len(item.chains):,} chains", "faint"
