"""The impact answer as a Graphviz graph."""

from __future__ import annotations

import io
import re

from klpkit.impact.result import ImpactAnswer
from klpkit.report.dot import write_dot


def dot(answer: ImpactAnswer) -> str:
    stream = io.StringIO()
    write_dot(answer, stream)
    return stream.getvalue()


def test_nodes_and_edges_say_what_the_answer_says(small: ImpactAnswer) -> None:
    lines = dot(small).splitlines()
    assert lines[0] == "digraph impact {"
    assert lines[-1] == "}"
    assert (
        '  f0 [label="may_linkat\\nfs/namei.c:1196\\nno own code", style="rounded,filled,dotted", '
        'fontcolor="gray35", fillcolor="lightblue", penwidth=2];'
    ) in lines
    assert '  f0 -> f1 [label="inline\\nfs/namei.c:4631"];' in lines
    assert '  f1 -> f2 [label="part"];' in lines
    assert "must not be patched: init-code" in dot(small)


def test_quotes_backslashes_and_control_characters_are_escaped(hostile: ImpactAnswer) -> None:
    text = dot(hostile)
    assert r'f1 [label="quote\" back\\slash \\x1b[31m{braces}\\x0aline\nx.o' in text
    assert "\x1b" not in text
    # Outside of strings only the graph's own words remain: no name got out of its quotes.
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "S", text)
    assert '"' not in bare
    assert set(re.findall(r"\w+", bare)) <= {
        *("digraph", "impact", "rankdir", "LR", "node", "edge", "shape", "box", "fontname", "S", "label", "style"),
        *("fillcolor", "color", "fontcolor", "penwidth", "2", "f0", "f1"),
    }


def test_a_function_that_an_effect_only_mentions_is_drawn_too(small: ImpactAnswer) -> None:
    text = dot(ImpactAnswer(small.seeds, small.impacted[:1], small.effects))
    assert "f1 [label=" in text
    assert "f1 -> f2" in text
