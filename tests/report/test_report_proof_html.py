"""Proofs as a page: verdicts in the table and the graph, and beside them all that text and JSON tell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_report_html import Page, data

from klpkit.proof.concrete import Difference
from klpkit.proof.model import Answer, Impacted, Verdict
from klpkit.records.causes import CAUSES
from klpkit.report.proof_html import render_proof_html

ANSWER = Answer(
    unit="fs/namei.c",
    seeds=("may_linkat",),
    impacted=(
        Impacted("may_linkat", Verdict.PROVEN, recorded=True, has_code=False),
        Impacted("do_linkat", Verdict.PROVEN, "may_linkat", ("modref", "ipa-ra"), "728 bytes became 714"),
        Impacted("entry", Verdict.UNDECIDED, "do_linkat", (), "differs", recorded=True),
        Impacted("caller", Verdict.CONVENTION, "do_linkat", ("calls-clone",), "renamed", recorded=True),
    ),
    recorded_only=("claimed",),
    knock_on=("along",),
    not_callable={"do_linkat": "8 bytes became 9", "elsewhere": "1 byte became 2"},
    warnings=("a <warning>",),
)


def rows(page: Page) -> list[list[str]]:
    return [page.cells[start : start + 5] for start in range(0, len(page.cells), 5)]


def test_the_table_holds_verdict_cause_and_what_records_say() -> None:
    head, seed, linkat, entry, caller = rows(Page(render_proof_html([ANSWER])))
    assert head == ["Function", "Unit", "Why", "Verdict", "Notes"]
    assert seed == ["may_linkat", "fs/namei.c", "asked for", "", ""]
    assert linkat[2] == (
        "do_linkat relies on what may_linkat reads and writes; "
        "do_linkat relies on the registers that may_linkat leaves alone"
    )
    assert linkat[3] == "proven"
    assert linkat[4].endswith("may call it by its symbol 728 bytes became 714; in no record")
    assert entry[3:] == ["undecided", "undecided differs; records list it too"]
    assert caller[3] == "convention"


def test_the_graph_leads_from_the_seed_to_each_function() -> None:
    graph = data(Page(render_proof_html([ANSWER])))
    edges = [(edge["b"], edge["u"], CAUSES[edge["k"]].slug) for edge in graph["edges"]]
    assert edges == [(0, 1, "modref"), (0, 1, "ipa-ra"), (1, 2, "unknown"), (1, 3, "calls-clone")]
    assert [node["chain"] for node in graph["nodes"]] == [[], [0], [0, 2], [0, 3]]
    assert [node["seed"] for node in graph["nodes"]] == [True, False, False, False]


def test_what_is_not_impacted_and_what_a_patch_changes_stand_below() -> None:
    differing = [
        Difference("fs/namei.c", "may_linkat", "changed", touched=True, how=""),
        Difference("fs/namei.c", "do_linkat", "changed", touched=False, how="", why="proven: <b>"),
    ]
    text = render_proof_html([ANSWER], differing)
    for said in ("claimed", "along", "elsewhere: 1 byte", "a &lt;warning&gt;", "2 functions compile differently"):
        assert said.replace("_", "_<wbr>") in text
    assert "changed; proven: &lt;b&gt;" in text
    assert "3 functions impacted; 1 of them in no record; 1 of them undecided." in text
    assert "compile differently" not in render_proof_html([ANSWER])


def test_units_are_told_apart_and_their_graphs_do_not_mix() -> None:
    second = replace(ANSWER, unit="fs/b.c", warnings=())
    graph = data(Page(render_proof_html([ANSWER, second])))
    assert [node["name"] for node in graph["nodes"]][4:6] == ["may_linkat (fs/b.c)", "do_linkat (fs/b.c)"]
    assert [(edge["b"], edge["u"]) for edge in graph["edges"]][4:] == [(4, 5), (4, 5), (5, 6), (5, 7)]
    assert graph["nodes"][6]["chain"] == [4, 6]


def test_a_variable_is_a_node_too() -> None:
    answer = Answer("a.c", ("flag",), (Impacted("user", Verdict.PROVEN, "flag", ("read-only-variable",)),))
    graph = data(Page(render_proof_html([answer])))
    assert [(node["name"], node["seed"]) for node in graph["nodes"]] == [("flag", True), ("user", False)]
    assert [(edge["b"], edge["u"]) for edge in graph["edges"]] == [(0, 1)]


@pytest.mark.parametrize("name", ['</script><script>alert("1")</script>', "a{user}b", "esc\x1b[31m"])
def test_hostile_names_are_only_text(name: str) -> None:
    answer = Answer("a.c", (name,), (Impacted(name, Verdict.PROVEN), Impacted("user", Verdict.PROVEN, name)))
    text = render_proof_html([answer])
    assert len(Page(text).scripts) == 2
    assert "\x1b" not in text
    assert {tag for tag, _ in Page(text).tags} <= {tag for tag, _ in Page(render_proof_html([ANSWER])).tags}
