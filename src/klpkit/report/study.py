"""The study of levels for a terminal, as JSON, as a plot and as a page."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from klpkit.proof.study import STOCK, Figures, Study
from klpkit.report.terminal import Sheet
from klpkit.report.wording import shown

SCHEMA = "klpkit.study/1"
_TITLES = ("functions", "median", "p95", "longest", "missed", "false", "code", "time")
_WIDTHS = (10, 7, 5, 8, 7, 6, 8, 8)


def write_study(study: Study, sheet: Sheet) -> None:
    """Write a table for each unit, and one for all where there are several; 80 columns suffice."""
    lines: list[str] = []
    for unit in study.units:
        lines += [*_table(unit, study.figures(unit), sheet), ""]
    if len(study.units) > 1:
        lines += [*_table("all units", study.figures(), sheet), ""]
    for note in _notes(study):
        lines += textwrap.wrap(note, sheet.width, initial_indent="  ", subsequent_indent="    ")
    sheet.write("\n".join(lines) + "\n")


def _table(title: str, rows: tuple[Figures, ...], sheet: Sheet) -> Iterator[str]:
    yield sheet.paint(shown(title), "strong")
    head = "".join(f"{text:>{width}}" for text, width in zip(_TITLES, _WIDTHS, strict=True))
    yield sheet.paint(f"  {'':18}{head}", "faint")
    for row in rows:
        cells = "".join(f"{text:>{width}}" for text, width in zip(_cells(row, rows[0]), _WIDTHS, strict=True))
        yield f"  {row.level:<18}{cells}"


def _cells(row: Figures, stock: Figures) -> list[str]:
    counts = [row.functions, f"{row.median:g}", row.p95, row.longest, row.missed, row.false]
    return [*map(str, counts), against(row.text, stock.text), against(row.seconds, stock.seconds)]


def against(value: float, stock: float) -> str:
    """`value` as a difference from `stock` in percent."""
    return f"{100 * (value / stock - 1):+.1f}%" if stock else "?"


def _notes(study: Study) -> Iterator[str]:
    chosen = (
        f"{study.sample} functions a unit, chosen with seed {study.seed}" if study.sample else "every function"
    )
    yield f"{chosen}; lengths are other functions with code to patch; code and time against {STOCK}"
    if undecided := sum(row.undecided for row in study.figures()):
        yield f"{undecided} of the impacted are undecided and count as impacted"
    parts = {(side.level, text) for side in study.sides for text in side.unhonoured}
    for level, text in sorted(parts):
        yield f"{level} lacks here: {text}"
    for warning in study.warnings:
        yield f"warning: {shown(warning)}"


def document(study: Study) -> dict[str, Any]:
    """`study` as what `json.dump` takes."""
    tables = {unit or "all": [asdict(row) for row in study.figures(unit)] for unit in ("", *study.units)}
    return {"schema": SCHEMA, "figures": tables, **asdict(study)}


def write_study_json(study: Study, stream: TextIO) -> None:
    stream.write(json.dumps(document(study), indent=2) + "\n")


# --- the plot ------------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 760, 300
_TOP, _BOTTOM, _GAP = 44, 64, 28
_PANELS = 3


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of the plot, in pixels, with the text above it."""

    x: float
    y: float
    height: float
    width: float
    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One third of the plot: a title, bars by level, and where its labels stand."""

    title: str
    left: float
    right: float
    base: float
    bars: tuple[Bar, ...]
    labels: tuple[tuple[float, str], ...]


def panels(rows: tuple[Figures, ...]) -> tuple[Panel, ...]:
    """The plot's three parts: list length (95th percentile and longest), code size and time against stock."""
    stock = rows[0]
    return (
        _panel(0, "list length: p95 and longest", rows, [
            [(row.p95, str(row.p95), "typical"), (row.longest, str(row.longest), "longest")] for row in rows
        ]),
        _panel(1, "code size against stock", rows, [
            [(_ratio(row.text, stock.text), against(row.text, stock.text), "code")] for row in rows
        ]),
        _panel(2, "compile time against stock", rows, [
            [(_ratio(row.seconds, stock.seconds), against(row.seconds, stock.seconds), "time")] for row in rows
        ]),
    )  # fmt: skip


def _ratio(value: float, stock: float) -> float:
    return value / stock if stock else 0.0


def _panel(
    number: int, title: str, rows: tuple[Figures, ...], values: list[list[tuple[float, str, str]]]
) -> Panel:
    width = (WIDTH - _GAP * (_PANELS + 1)) / _PANELS
    left = _GAP + number * (width + _GAP)
    base = HEIGHT - _BOTTOM
    most = max((value for group in values for value, _, _ in group), default=0) or 1
    slot = width / max(1, len(rows))
    bars: list[Bar] = []
    for place, group in enumerate(values):
        each = slot * 0.8 / len(group)
        for index, (value, text, kind) in enumerate(group):
            height = (base - _TOP) * value / most
            x = left + place * slot + slot * 0.1 + index * each
            bars.append(
                Bar(round(x, 1), round(base - height, 1), round(height, 1), round(each - 2, 1), text, kind)
            )
    labels = tuple((round(left + (i + 0.5) * slot, 1), row.level) for i, row in enumerate(rows))
    return Panel(title, round(left, 1), round(left + width, 1), base, tuple(bars), labels)


def render_svg(study: Study) -> str:
    """The plot over all units as one SVG file."""
    return _rendered("study.svg.j2", panels=panels(study.figures()), width=WIDTH, height=HEIGHT)


def render_study_html(study: Study) -> str:
    """The study as one page: the plot, a table for each unit, and the longest lists."""
    from markupsafe import Markup

    tables = [(unit, study.figures(unit)) for unit in study.units]
    if len(tables) > 1:
        tables.insert(0, ("all units", study.figures()))
    longest = sorted(
        ((row.length, row.function, side.unit, side.level) for side in study.sides for row in side.functions),
        reverse=True,
    )[:20]
    return _rendered(
        "study.html.j2",
        plot=Markup(render_svg(study)),
        tables=[(shown(unit), [(row.level, _cells(row, rows[0])) for row in rows]) for unit, rows in tables],
        titles=_TITLES,
        notes=list(_notes(study)),
        longest=[(length, shown(name), shown(unit), level) for length, name, unit, level in longest],
    )


def _rendered(template: str, **values: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("klpkit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
