"""Who relies on what the unit knows of a static variable: that nothing writes it, or that nothing reads it.

A patch that adds the first write to such a variable, or the first read, makes these functions wrong.  The variable
is hidden as a function is: in a build in which code elsewhere may use it, they have other code.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from klpkit.build.csource import Definition, definitions
from klpkit.errors import UserError
from klpkit.proof.changes import changes
from klpkit.proof.decisions import difference
from klpkit.proof.model import Answer, Impacted, Use, Verdict
from klpkit.proof.unit import ProofUnit


def static_variables(unit: ProofUnit) -> tuple[str, ...]:
    """The static variables at file scope, in the order of the text."""
    rows = (d for d in definitions(unit.text) if d.kind == "variable" and "static" in d.tokens)
    return tuple(dict.fromkeys(name for row in rows for name in _declared(row)))


def _declared(definition: Definition) -> Iterator[str]:
    """All names that a declaration declares: `static int a, b[2] = { 1 };` has two."""
    depth, name, done = 0, "", False
    for token in definition.tokens:
        depth += (token in "([{") - (token in ")]}")
        if depth == 0 and token in ",;":
            if name:
                yield name
            name, done = "", False
        elif depth == 0 and not done and (token[0].isalpha() or token[0] == "_"):
            name = token
        done = done or token in "=["
    if definition.name and not done and name:
        yield name


def prove_variable(unit: ProofUnit, name: str) -> tuple[Use, ...]:
    """The functions whose code relies on how the unit uses the static variable `name`.

    A function that differs where others were inlined differently is undecided.  `UserError` where the unit has no
    such variable.
    """
    if name not in static_variables(unit):
        raise UserError(f"{unit.name} has no static variable {name}", hint="name one at file scope")
    with tempfile.TemporaryDirectory(prefix="klpkit-proof-") as folder:
        build = unit.hiding_variable(name, Path(folder))
        found = changes(unit.baseline.object, build.object)
        places = difference(unit.baseline.decisions, build.decisions, "").places
    verdict = Verdict.UNDECIDED if places else Verdict.PROVEN
    rows = sorted(found.by_symbol.values(), key=lambda change: change.symbol)
    return tuple(Use(change.symbol, verdict, (_cause(unit, name),), change.how) for change in rows)


def variable_answer(unit: ProofUnit, name: str) -> Answer:
    """`prove_variable` as an answer like that for a function."""
    before = unit.compilations.value
    uses = prove_variable(unit, name)
    items = tuple(
        Impacted(use.symbol, use.verdict, name, use.causes, use.how, distance=1, has_code=True) for use in uses
    )
    compilations = unit.compilations.value - before
    return Answer(unit=unit.name, seeds=(name,), impacted=items, compilations=compilations)


def _cause(unit: ProofUnit, name: str) -> str:
    """What the compiler knew: that nothing reads the variable, where a function assigns to it; else the other."""
    lines = unit.text.splitlines()
    assigns = re.compile(rf"\b{re.escape(name)}\b[\w.\[\]>-]*\s*(?:[-+*/%&|^]|<<|>>)?=(?!=)")
    bodies = ("\n".join(lines[row.first - 1 : row.last]) for row in unit.functions.values())
    return "write-only-variable" if any(map(assigns.search, bodies)) else "read-only-variable"
