"""Proofs as a page like the one that `html` makes of records: its graph and table, with verdicts.

Below the table stand the functions that records list and that were proven not to matter, those that only changed
along, and what one concrete patch makes differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from klpkit.proof.concrete import Difference
from klpkit.proof.decisions import source_name
from klpkit.proof.model import Answer, Impacted, Verdict
from klpkit.records.causes import cause, cause_code
from klpkit.report.html import render_page
from klpkit.report.proof import difference_text
from klpkit.report.wording import shown

_SAYS = {
    Verdict.PROVEN: "proven: its code is another once the body is hidden",
    Verdict.CONVENTION: "convention: it relies on how a clone is called, and its code is the same otherwise",
    Verdict.UNDECIDED: "undecided: its code differs and it could not be shown why; counts as impacted",
}
# How the graph draws a verdict: the classes of the page about records.
_LOOKS = {Verdict.PROVEN: "symbol", Verdict.CONVENTION: "callers", Verdict.UNDECIDED: "unknown"}
_GONE = "gone"


def render_proof_html(answers: Sequence[Answer], differing: Sequence[Difference] | None = None) -> str:
    """The answers of all units as one page; `differing` is what one concrete patch makes differ."""
    graphs = [_Graph(answer, f" ({shown(answer.unit)})" if len(answers) > 1 else "") for answer in answers]
    rows: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []
    for graph in graphs:
        nodes, links = graph.numbered(len(rows), len(edges))
        rows += nodes
        edges += links
    looks = {row["how"]: row["how_word"] for row in rows if row["how_word"] and not row["seed"]}
    return render_page(
        kicker="klpkit impact --prove",
        title=", ".join(dict.fromkeys(shown(seed) for answer in answers for seed in answer.seeds)) or "nothing",
        summary=_summary(answers),
        warnings=[shown(warning) for answer in answers for warning in answer.warnings],
        evidence=["bodies hidden from the optimisers, the unit compiled again, all code compared"],
        columns=("Function", "Unit", "Why", "Verdict", "Notes"),
        rows=rows,
        edges=edges,
        hows=list(looks.items()),
        lists=list(_lists(answers, differing)),
    )


class _Graph:
    """One unit's answer as nodes and edges; `suffix` tells its functions from those of other units."""

    def __init__(self, answer: Answer, suffix: str) -> None:
        self.answer = answer
        self.suffix = suffix
        self.items: dict[str, Impacted | None] = {item.symbol: item for item in answer.impacted}
        for seed in answer.seeds:
            if not any(source_name(symbol) == seed for symbol in self.items):
                self.items = {seed: None, **self.items}
        # Of several symbols that a function goes by, its own comes last and wins.
        self.ids = {source_name(symbol): number for number, symbol in enumerate(self.items)}
        self.ids |= {symbol: number for number, symbol in enumerate(self.items)}
        self.edges = [edge for item in answer.impacted if item.via for edge in self._edges(item)]

    def numbered(self, first: int, edge: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Nodes and edges, the numbers of which begin with `first` and `edge`."""
        rows = [self._row(symbol, item, edge) for symbol, item in self.items.items()]
        links = [{**link, "b": link["b"] + first, "u": link["u"] + first} for link in self.edges]
        return rows, links

    def _edges(self, item: Impacted) -> Iterator[dict[str, Any]]:
        body = self.ids.get(item.via)
        for slug in () if body is None else item.causes or ("unknown",):
            sentence = cause(slug).sentence.format(user=shown(item.symbol), body=shown(item.via))
            yield {"b": body, "u": self.ids[item.symbol], "k": cause_code(slug), "s": sentence}

    def _chain(self, symbol: str) -> list[int]:
        """The numbers of the edges that lead to `symbol`, the first from a seed."""
        chain: list[int] = []
        at, seen = self.ids[symbol], set[int]()
        while at not in seen:
            seen.add(at)
            into = [number for number, edge in enumerate(self.edges) if edge["u"] == at]
            if into:
                chain.insert(0, into[0])
                at = self.edges[into[0]]["b"]
        return chain

    def _row(self, symbol: str, item: Impacted | None, edge: int) -> dict[str, Any]:
        seed = item is None or not item.via
        verdict = item.verdict if item else Verdict.PROVEN
        has_code = item is None or item.has_code
        chain = self._chain(symbol) if not seed else []
        return {
            "name": shown(symbol) + self.suffix,
            "place": shown(self.answer.unit),
            "owner": "",
            "how": _LOOKS[verdict] if has_code else _GONE,
            "how_word": "" if seed else str(verdict) if has_code else f"{verdict}, no own code",
            "how_sentence": "asked for" if seed else _SAYS[verdict],
            "marks": list(self._marks(symbol, verdict)),
            "notes": [] if seed or item is None else list(_notes(item)),
            "distance": item.distance if item else 0,
            "seed": seed,
            "chain": [number + edge for number in chain],
            "why": "asked for" if item is None or not item.via else self._why(item),
        }

    def _why(self, item: Impacted) -> str:
        said = [edge["s"] for edge in self.edges if edge["u"] == self.ids[item.symbol]]
        return "; ".join(said) or f"by way of {shown(item.via)}"

    def _marks(self, symbol: str, verdict: Verdict) -> Iterator[str]:
        if verdict is Verdict.UNDECIDED:
            yield "undecided"
        if symbol in self.answer.not_callable:
            yield "takes for granted what callers pass: no new code may call it by its symbol"


def _notes(item: Impacted) -> Iterator[str]:
    if item.how:
        yield shown(item.how)
    yield "records list it too" if item.recorded else "in no record"


def _summary(answers: Sequence[Answer]) -> str:
    others = [item for answer in answers for item in answer.impacted if item.via]
    counts = {
        "in no record": sum(not item.recorded for item in others),
        "undecided": sum(item.verdict is Verdict.UNDECIDED for item in others),
    }
    parts = [f"{len(others)} function{'s' * (len(others) != 1)} impacted"]
    parts += [f"{count} of them {word}" for word, count in counts.items() if count]
    return "; ".join(parts) + "."


def _lists(
    answers: Sequence[Answer], differing: Sequence[Difference] | None
) -> Iterator[tuple[str, Sequence[str]]]:
    titles: Mapping[str, str] = {
        "recorded_only": "Recorded, and proven not to matter",
        "knock_on": "Differ only because others were then inlined differently: not impacted",
    }
    for name, title in titles.items():
        texts = [
            shown(symbol if len(answers) == 1 else f"{symbol} ({answer.unit})")
            for answer in answers
            for symbol in getattr(answer, name)
        ]
        if texts:
            yield title, texts
    listed = {item.symbol for answer in answers for item in answer.impacted}
    texts = [
        f"{shown(name)}: {shown(says)}"
        for answer in answers
        for name, says in answer.not_callable.items()
        if name not in listed
    ]
    if texts:
        yield "Take for granted what callers pass: no new code may call them by their symbols", texts
    if differing is not None:
        yield (
            f"With the patch in, {len(differing)} functions compile differently",
            list(map(difference_text, differing)),
        )
