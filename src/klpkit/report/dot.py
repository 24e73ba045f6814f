"""The impact answer as a Graphviz graph: https://graphviz.org/doc/info/lang.html."""

from __future__ import annotations

from typing import TextIO

from klpkit.impact.result import How, ImpactAnswer
from klpkit.report.wording import HOW_WORDS, effects_of, functions_of, names_of, obstacles, place, shown

_NODE_STYLES = {
    How.SYMBOL: 'style="rounded,filled"',
    How.CALLERS: 'style="rounded,filled,dashed"',
    How.GONE: 'style="rounded,filled,dotted", fontcolor="gray35"',
    How.UNKNOWN: 'style="rounded,filled", color="gray60"',
}


def write_dot(answer: ImpactAnswer, stream: TextIO) -> None:
    """Write `answer` to `stream` as a digraph; an edge leads from a body to the function that depends on it."""
    names = names_of(answer)
    functions = functions_of(answer)
    ids = {function: f"f{number}" for number, function in enumerate(functions)}
    items = {item.function: item for item in answer.impacted}
    seeds = set(answer.seeds)
    stream.write("digraph impact {\n  rankdir=LR;\n")
    stream.write('  node [shape=box, fontname="monospace", fillcolor="white"];\n  edge [fontname="sans-serif"];\n')
    for function in functions:
        item = items.get(function)
        lines = [names[function], place(function)]
        style = 'style="rounded", color="gray80"'
        if item:
            lines += [HOW_WORDS[item.patchability.how], *obstacles(item.patchability)]
            style = _NODE_STYLES[item.patchability.how]
        if function in seeds:
            style += ', fillcolor="lightblue", penwidth=2'
        elif item and item.patchability.forbidden:
            style += ', fillcolor="mistyrose"'
        stream.write(f"  {ids[function]} [label={_quoted(*lines)}, {style}];\n")
    for effect in effects_of(answer):
        label = [effect.cause] + ([shown(str(effect.where))] if effect.where else [])
        stream.write(f"  {ids[effect.body]} -> {ids[effect.user]} [label={_quoted(*label)}];\n")
    stream.write("}\n")


def _quoted(*lines: str) -> str:
    """A double-quoted string of DOT with one label line for each of `lines`, centred.

    Within it a quote ends the string and a backslash starts one of the label's own escapes (`\\N`, `\\l`…).
    """
    escaped = [line.replace("\\", "\\\\").replace('"', '\\"') for line in lines]
    return '"' + "\\n".join(escaped) + '"'
