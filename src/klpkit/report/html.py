"""The impact answer as one HTML file: a graph to search, zoom and pan, and a table, that open without a network.

The page is `templates/impact.html.j2` with its style and script put inside.  Its content security policy allows
that one script, by its hash, and no request at all, so that a hostile symbol or path can neither run nor fetch
anything even where an escape were forgotten.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TextIO

from klpkit.impact.result import ImpactAnswer, ImpactedFunction
from klpkit.records.causes import CAUSES, cause_code
from klpkit.records.model import Effect, Function
from klpkit.report.wording import (
    HOW_SENTENCES,
    HOW_WORDS,
    Names,
    effects_of,
    functions_of,
    names_of,
    obstacles,
    owner,
    place,
    shown,
    summary,
)

if TYPE_CHECKING:
    from markupsafe import Markup

_JOINT = re.compile(r"([_/](?=\w)|\.(?=\w{3}))")

MOST_DRAWN = 400
"""Above this many functions the graph shows only the neighbourhood of the chosen one."""


def write_html(answer: ImpactAnswer, stream: TextIO) -> None:
    """Write `answer` to `stream` as one page; the stream's encoding should be UTF-8."""
    stream.write(render_html(answer))


def render_html(answer: ImpactAnswer) -> str:
    """`answer` as one page."""
    names = names_of(answer)
    functions = functions_of(answer)
    effects = effects_of(answer)
    rows = _rows(answer, functions, effects, names)
    return render_page(
        kicker="klpkit impact",
        title=", ".join(names[seed] for seed in answer.seeds) or "nothing",
        summary=summary(answer),
        warnings=[shown(warning) for warning in answer.warnings],
        evidence=[shown(text) for text in answer.evidence],
        columns=("Function", "Unit / owner", "Why", "How", "Notes"),
        rows=rows,
        edges=_edges(effects, functions, names),
        hows=[(str(how), word) for how, word in HOW_WORDS.items() if any(r["how"] == how for r in rows)],
    )


def render_page(
    *,
    rows: Sequence[Mapping[str, Any]],
    edges: Sequence[Mapping[str, Any]],
    lists: Sequence[tuple[str, Sequence[str]]] = (),
    **values: Any,
) -> str:
    """The page around a graph of functions.

    `rows` are its nodes, in the words of `_row`; `edges` go from the node `b`, a body, to the node `u` that relies
    on it, for the cause with the code `k`; `lists` are titles with texts below the table.  `values` are the other
    names that the template knows.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("klpkit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    script = _resource("impact.js")
    return environment.get_template("impact.html.j2").render(
        rows=rows,
        lists=lists,
        legend=[(code, CAUSES[code].slug) for code in sorted({edge["k"] for edge in edges})],
        data=_json({"nodes": rows, "edges": edges, "most": MOST_DRAWN}),
        style=_resource("impact.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )


@cache
def _resource(name: str) -> str:
    return files("klpkit.report").joinpath("templates", name).read_text(encoding="utf-8")


def _breakable(text: str) -> Markup:
    """`text`, escaped, with places where a line may break that leave no trace when it is copied."""
    from markupsafe import Markup, escape

    return Markup(_JOINT.sub(r"\1<wbr>", str(escape(text))))


def _rows(
    answer: ImpactAnswer, functions: list[Function], effects: list[Effect], names: Names
) -> list[dict[str, Any]]:
    """What the page says about each function, in the order of `functions`."""
    items = {item.function: item for item in answer.impacted}
    numbers = {effect: number for number, effect in enumerate(effects)}
    seeds = set(answer.seeds)
    return [
        _row(
            items.get(function) or ImpactedFunction(function), function in seeds, function in items, numbers, names
        )
        for function in functions
    ]


def _row(
    item: ImpactedFunction, seed: bool, impacted: bool, numbers: dict[Effect, int], names: Names
) -> dict[str, Any]:
    patchability = item.patchability
    return {
        "name": names[item.function],
        "place": place(item.function),
        "owner": owner(item),
        "how": str(patchability.how),
        "how_word": HOW_WORDS[patchability.how] if impacted else "",
        "how_sentence": HOW_SENTENCES[patchability.how] if impacted else "mentioned by an effect, needs no patch",
        "marks": obstacles(patchability),
        "notes": [shown(note) for note in patchability.notes],
        "distance": item.distance,
        "seed": seed,
        "chain": [numbers[effect] for effect in item.chain],
        "why": names.sentence(item.chain[-1]) if item.chain else "asked for" if seed else "",
    }


def _edges(effects: list[Effect], functions: list[Function], names: Names) -> list[dict[str, Any]]:
    ids = {function: number for number, function in enumerate(functions)}
    return [
        {"b": ids[e.body], "u": ids[e.user], "k": cause_code(e.cause), "s": names.sentence(e)} for e in effects
    ]


def _json(data: object) -> str:
    """JSON that may stand in a `<script>` element, where `<` could end it."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
