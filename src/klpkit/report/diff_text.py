"""A diff as text: the verdict first, then functions with reasons, obstacles with a way out, data, moved lines."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from klpkit.diff.model import Data, Function, ObjectDiff, Status, Verdict

if TYPE_CHECKING:
    from klpkit.diff.instructions import Row
    from klpkit.diff.tree import Compared, TreeDiff
    from klpkit.report.terminal import Sheet

_STYLES = {Verdict.NO_CHANGE: "good", Verdict.PATCHABLE: "good", Verdict.UNPATCHABLE: "bad"}
_MARKS = {Status.CHANGED: "warn", Status.NEW: "good", Status.GONE: "faint", Status.MOVED: "faint"}


def headline(diff: ObjectDiff) -> str:
    """One line: the verdict and the counts behind it."""
    counts = [
        f"{len(names)} {word}"
        for names, word in ((diff.changed, "changed"), (diff.new, "new"), (diff.gone, "gone"))
        if names
    ]
    data = Counter(item.status for item in diff.data)
    counts += [f"{number} data {status}" for status, number in sorted(data.items())]
    if diff.moved:
        counts.append(f"{len(diff.moved)} line numbers moved")
    if diff.obstacles:
        counts.append("; ".join(sorted({obstacle.slug for obstacle in diff.obstacles})))
    return f"{diff.verdict}: {', '.join(counts)}" if counts else str(diff.verdict)


def write_diff(diff: ObjectDiff, sheet: Sheet, views: dict[str, list[Row | None]] | None = None) -> None:
    """Write one diff; `views` are side-by-side instructions by function name."""
    arrow = "→" if sheet.unicode else "->"
    sheet.write(sheet.paint(headline(diff), _STYLES[diff.verdict]) + "\n")
    for function in diff.functions:
        _write_function(function, sheet, arrow)
        if views and function.name in views:
            write_rows(views[function.name], sheet)
    for item in diff.data:
        sheet.write(f"{_status(item.status, sheet)} {item.name}  {_data_words(item, arrow)}\n")
    for obstacle in diff.obstacles:
        sheet.write(f"{sheet.paint('obstacle', 'bad')} {obstacle.symbol}: {obstacle.evidence} [{obstacle.slug}]\n")
        sheet.write(f"         {obstacle.advice}\n")
    for line in diff.moved:
        where = f"line {line.before} {arrow} {line.after}"
        sheet.write(f"{_status(Status.MOVED, sheet)} {line.where}  {where} ({line.evidence})\n")
    for note in diff.notes:
        sheet.write(f"note     {note}\n")


def _status(status: Status, sheet: Sheet) -> str:
    return sheet.paint(f"{status:<8}", _MARKS[status])


def _write_function(function: Function, sheet: Sheet, arrow: str) -> None:
    name = function.name
    if function.patched_name not in ("", name):
        name += f" (now {function.patched_name})"
    size = f"{function.sizes[0]} {arrow} {function.sizes[1]} bytes"
    if function.status is not Status.CHANGED:
        size = f"{max(function.sizes)} bytes"
    sheet.write(f"{_status(function.status, sheet)} {name}  {function.section}, {size}\n")
    for reason in function.reasons:
        sheet.write(f"         {reason.detail}\n")


def _data_words(item: Data, arrow: str) -> str:
    kind = "read-only data" if item.read_only else "data"
    size = f"{item.sizes[0]} {arrow} {item.sizes[1]} bytes" if item.sizes[0] != item.sizes[1] else ""
    parts = [kind, f"its {item.what} differs" if item.what else "", item.section, size]
    return ", ".join(part for part in parts if part)


def write_rows(rows: list[Row | None], sheet: Sheet) -> None:
    """Side-by-side instructions, each side half of the width."""
    half = max(20, (sheet.width - 15) // 2)
    for row in rows:
        if row is None:
            sheet.write(sheet.paint("         ...", "faint") + "\n")
            continue
        left = f"{row.left.offset:>6x} {row.left.text}" if row.left else ""
        right = f"{row.right.offset:>6x} {row.right.text}" if row.right else ""
        mark = " " if row.same else "|" if row.left and row.right else "<" if row.left else ">"
        line = f"    {_cut(left, half):<{half}} {mark} {_cut(right, half)}".rstrip()
        sheet.write((line if row.same else sheet.paint(line, "warn")) + "\n")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."


def write_line(compared: Compared, sheet: Sheet) -> None:
    """One object of a tree in one line."""
    if compared.diff is None:
        sheet.write(f"{compared.path}: {sheet.paint('unpatchable', 'bad')}: {_first(compared.problem)}")
        sheet.write(f" [{compared.slug}]\n" if f"[{compared.slug}]" not in compared.problem else "\n")
        return
    words = headline(compared.diff)
    names = ", ".join(compared.diff.changed + compared.diff.new)
    sheet.write(f"{compared.path}: {sheet.paint(words, _STYLES[compared.verdict])}")
    sheet.write(f" ({names})\n" if names else "\n")


def _first(problem: str) -> str:
    return problem.splitlines()[0]


def write_tree_summary(tree: TreeDiff, sheet: Sheet) -> None:
    """The last line of a tree's diff."""
    parts = [f"{tree.count(verdict)} {verdict}" for verdict in Verdict if tree.count(verdict)]
    sheet.write(f"{len(tree.objects)} objects: {', '.join(parts)}\n")
