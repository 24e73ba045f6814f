"""Answers made in code, that the renderers' tests share."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise

import pytest

from klpkit.impact.result import How, ImpactAnswer, ImpactedFunction, Patchability
from klpkit.records.model import Effect, Function, Location
from klpkit.report.terminal import Sheet

LONG = "a_function_with_a_name_that_is_far_longer_than_any_narrow_terminal_is_wide_0123456789"


def function(symbol: str, line: int = 1, unit: str = "fs/namei.o") -> Function:
    return Function(unit, symbol, Location(unit.replace(".o", ".c"), line, 1))


@pytest.fixture
def small() -> ImpactAnswer:
    """may_linkat, inlined into do_linkat, of which a clone exists that must not be patched."""
    seed, user, clone = (
        function("may_linkat", 1196),
        function("do_linkat", 4600),
        function("do_linkat.part.0", 4600),
    )
    inlined = Effect(seed, user, "inline", Location("fs/namei.c", 4631))
    split = Effect(user, clone, "part")
    return ImpactAnswer(
        seeds=(seed,),
        impacted=(
            ImpactedFunction(seed, patchability=Patchability(How.GONE, "vmlinux")),
            ImpactedFunction(
                user, (inlined,), ("inline",), Patchability(How.SYMBOL, "vmlinux", ".text", ftrace=True)
            ),
            ImpactedFunction(
                clone,
                (inlined, split),
                ("part",),
                Patchability(How.CALLERS, "vmlinux", ".init.text", False, "init-code", ("a part of a function",)),
            ),
        ),
        effects=(inlined, split),
        evidence=("clone dumps",),
        warnings=("fs/open.c: no dump",),
    )


@pytest.fixture
def hostile() -> ImpactAnswer:
    """Names that try to break out of every format."""
    seed = Function("<b>&.o", '</script><script>alert("1")</script>', Location("a'b\"<i>.c", 3))
    other = Function("x.o", 'quote" back\\slash \x1b[31m{braces}\nline', None)
    effect = Effect(seed, other, "inline")
    return ImpactAnswer(
        (seed,), (ImpactedFunction(seed), ImpactedFunction(other, (effect,), ("inline",))), (effect,)
    )


@pytest.fixture
def long_names() -> ImpactAnswer:
    seed, user = function(LONG), function(LONG + "_user", unit="a/" + "deep_folder/" * 12 + "file.o")
    effect = Effect(seed, user, "inline", Location("a/" + "deep_folder/" * 12 + "file.c", 12345))
    return ImpactAnswer(
        (seed,), (ImpactedFunction(seed), ImpactedFunction(user, (effect,), ("inline",))), (effect,)
    )


@pytest.fixture
def chain_of() -> Callable[[int], ImpactAnswer]:
    """An answer that is one chain of the asked-for number of functions."""

    def make(count: int) -> ImpactAnswer:
        functions = [function(f"f{i}", i + 1) for i in range(count)]
        effects = [Effect(a, b, "inline") for a, b in pairwise(functions)]
        items = [ImpactedFunction(f, tuple(effects[:i]), ("inline",)) for i, f in enumerate(functions)]
        return ImpactAnswer((functions[0],), tuple(items), tuple(effects))

    return make


@pytest.fixture
def rendered() -> Callable[..., str]:
    """What a renderer writes on a sheet of the given kind."""

    def render(
        write: Callable[[ImpactAnswer, Sheet], None], answer: ImpactAnswer, width: int = 80, **kind: bool
    ) -> str:
        stream = io.StringIO()
        write(answer, Sheet(stream, width, **{"unicode": True, **kind}))
        return stream.getvalue()

    return render
