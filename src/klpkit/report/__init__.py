"""Renderers: text tree, table, JSON, DOT and a single-file HTML page.

Each takes an answer and writes it; none decides anything.  They are imported on use, so that a command pays only
for the one that it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from klpkit.report.dot import write_dot
    from klpkit.report.html import render_html, write_html
    from klpkit.report.jsonout import write_all_json, write_json
    from klpkit.report.table import write_table
    from klpkit.report.terminal import Sheet, console, counter, progress, sheet
    from klpkit.report.text import write_tree, write_trees

__all__ = [
    "Sheet",
    "console",
    "counter",
    "progress",
    "render_html",
    "sheet",
    "write_all_json",
    "write_dot",
    "write_html",
    "write_json",
    "write_table",
    "write_tree",
    "write_trees",
]

_HOMES = {
    "dot": ("write_dot",),
    "html": ("render_html", "write_html"),
    "jsonout": ("write_all_json", "write_json"),
    "table": ("write_table",),
    "terminal": ("Sheet", "console", "counter", "progress", "sheet"),
    "text": ("write_tree", "write_trees"),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"klpkit.report.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
