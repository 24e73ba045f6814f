"""The impact answer as a page: complete, escaped, and alive in a browser where one is installed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from klpkit.impact.result import ImpactAnswer
from klpkit.records.causes import CAUSES
from klpkit.report.html import MOST_DRAWN, render_html


class Page(HTMLParser):
    """What a browser sees: tags with attributes, texts of table cells, and the content of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.cells: list[str] = []
        self.inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th", "script"):
            self.inside = tag
            (self.scripts if tag == "script" else self.cells).append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self.inside:
            self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside:
            self.cells[-1] += data


def data(page: Page) -> Any:
    return json.loads(page.scripts[0])


def test_the_table_holds_every_function_with_cause_and_obstacles(small: ImpactAnswer) -> None:
    page = Page(render_html(small))
    assert page.cells[:5] == ["Function", "Unit / owner", "Why", "How", "Notes"]
    assert page.cells[5:10] == ["may_linkat", "fs/namei.c:1196 vmlinux", "asked for", "no own code", ""]
    assert page.cells[15:] == [
        "do_linkat.part.0",
        "fs/namei.c:4600 vmlinux",
        "do_linkat.part.0 is a part split off do_linkat",
        "via callers",
        "must not be patched: init-code can't be traced a part of a function",
    ]


def test_the_graph_holds_every_function_and_effect(small: ImpactAnswer) -> None:
    graph = data(Page(render_html(small)))
    assert [node["name"] for node in graph["nodes"]] == ["may_linkat", "do_linkat", "do_linkat.part.0"]
    assert [(edge["b"], edge["u"], CAUSES[edge["k"]].slug) for edge in graph["edges"]] == [
        (0, 1, "inline"),
        (1, 2, "part"),
    ]
    assert graph["nodes"][2]["chain"] == [0, 1]


def test_nothing_is_loaded_from_anywhere(small: ImpactAnswer) -> None:
    text = render_html(small)
    page = Page(text)
    assert not [tag for tag, attributes in page.tags if {"src", "href", "action"} & set(attributes)]
    assert not re.search(r"@import|url\((?!#)", text)
    assert set(re.findall(r"https?://[^\"'\s]+", text)) == {"http://www.w3.org/2000/svg"}


def test_the_policy_allows_only_the_pages_own_script(small: ImpactAnswer) -> None:
    page = Page(render_html(small))
    (policy,) = [a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv")]
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_hostile_names_add_no_tag_and_come_back_unchanged(small: ImpactAnswer, hostile: ImpactAnswer) -> None:
    text = render_html(hostile)
    page = Page(text)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in Page(render_html(small)).tags} | {"wbr"}
    assert len(page.scripts) == 2
    assert '</script><script>alert("1")</script>' in page.cells
    assert data(page)["nodes"][0]["name"] == '</script><script>alert("1")</script>'
    assert "\x1b" not in text


def test_every_cause_has_a_colour_and_pattern_of_its_own(small: ImpactAnswer) -> None:
    pairs = re.findall(r"\.k(\d+) \{ stroke: var\((--c\d)\); stroke-dasharray: ([^;]+);", render_html(small))
    styles = {int(code): (colour, dash) for code, colour, dash in pairs}
    assert len({styles[code] for code in range(len(CAUSES))}) == len(CAUSES)


def test_no_warning_is_hidden_from_the_page(small: ImpactAnswer) -> None:
    warnings = tuple(f"unit{i}.c: <no> dump" for i in range(40))
    text = render_html(replace(small, warnings=warnings))
    assert "40 warnings" in text
    assert [f"<li>unit{i}.c: &lt;no&gt; dump</li>" in text for i in range(40)] == [True] * 40


def test_an_empty_answer_is_a_page_too() -> None:
    assert "0 functions must be patched." in render_html(ImpactAnswer((), (), ()))


def test_two_runs_write_the_same_page(small: ImpactAnswer) -> None:
    assert render_html(small) == render_html(small)


@pytest.fixture
def browser(tmp_path: Path) -> Callable[[ImpactAnswer, str], str]:
    """The page's document after its script ran, with `fragment` after the address."""
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("chromium is not installed")

    def run(answer: ImpactAnswer, fragment: str = "") -> str:
        page = tmp_path / "page.html"
        page.write_text(render_html(answer), encoding="utf-8")
        quiet = [
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ]
        command = [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            *quiet,
            f"--user-data-dir={tmp_path}/profile",
        ]
        command += [
            "--virtual-time-budget=2000",
            "--window-size=1280,900",
            "--dump-dom",
            f"{page.as_uri()}{fragment}",
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    return run


def test_a_browser_draws_every_function_and_runs_no_foreign_script(
    hostile: ImpactAnswer, browser: Callable[[ImpactAnswer, str], str]
) -> None:
    page = Page(browser(hostile, "#q=quote"))
    drawn = [a["aria-label"] or "" for tag, a in page.tags if tag == "g" and "node" in (a.get("class") or "")]
    assert len(drawn) == 2
    assert drawn[0].startswith("</script><script>")
    classes = [a.get("class") or "" for tag, a in page.tags if tag == "g" and a.get("aria-label")]
    assert ["match" in names.split() for names in classes] == [False, True]
    hidden = ["hidden" in a for tag, a in page.tags if tag == "tr"]
    assert hidden == [False, True, False]


def test_a_browser_draws_the_neighbourhood_of_a_large_answer_and_says_so(
    chain_of: Callable[[int], ImpactAnswer], browser: Callable[[ImpactAnswer, str], str]
) -> None:
    text = browser(chain_of(MOST_DRAWN + 1), "#f=f3")
    page = Page(text)
    names = [(a["aria-label"] or "").split(",")[0] for tag, a in page.tags if tag == "g" and a.get("aria-label")]
    assert names == [f"f{i}" for i in range(8)]
    assert f"The answer has {MOST_DRAWN + 1} functions: the graph shows 8 of them, around f3." in text
