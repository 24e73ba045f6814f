"""A diff as one HTML page that opens without a network: functions, instructions, data, obstacles, moved lines."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from klpkit.diff.instructions import Row
    from klpkit.diff.model import ObjectDiff


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    text = files("klpkit.report").joinpath("templates", "diff.html.j2").read_text("utf-8")
    # Names come from files that anybody may have made: everything is escaped.
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(text)


def render(diffs: list[ObjectDiff], views: dict[str, list[Row | None]]) -> str:
    """The page for `diffs`; `views` are side-by-side instructions by function name."""
    title = diffs[0].patched if len(diffs) == 1 else f"{len(diffs)} objects"
    page = _template().render(diffs=diffs, views=views, title=title)
    return str(page).encode("utf-8", "backslashreplace").decode("utf-8")
