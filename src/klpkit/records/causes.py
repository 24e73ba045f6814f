"""The causes of effects, as data: what each means and what a sentence about it says.

The codes are positions in `CAUSES` and live only in memory; what is written to disk or JSON is the slug.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Cause:
    """Why code depends on a body.

    `sentence` is a template with `{user}` and `{body}`.  `makes_clone` says that the user *is* a new function
    made from the body, whose calling convention or meaning may differ from the source's.
    """

    slug: str
    sentence: str
    makes_clone: bool = False


CAUSES: tuple[Cause, ...] = (
    Cause("inline", "{body} is inlined into {user}"),
    Cause("constprop", "{user} is a copy of {body} made for constant arguments", makes_clone=True),
    Cause("isra", "{user} is {body} with its parameters changed", makes_clone=True),
    Cause("part", "{user} is a part split off {body}", makes_clone=True),
    Cause("cold", "{user} is the cold part of {body}", makes_clone=True),
    Cause("simdclone", "{user} is a SIMD copy of {body}", makes_clone=True),
    Cause("target-clone", "{user} is a copy of {body} for one processor type", makes_clone=True),
    Cause("clone", "{user} is a copy of {body}", makes_clone=True),
    Cause("icf", "{user} shares one body with {body} (identical code folding)"),
    Cause("calls-clone", "{user} calls {body}, whose calling convention or meaning the compiler changed"),
    Cause("same-text", "{user} is made from the same source text as {body} (instances of one template)"),
    Cause("same-function", "{user} and {body} are one function under two call graph numbers or in two records"),
    # Unrecorded by any compiler; measured by interposition (klpkit.impact) or exposed (klpkit audit).
    Cause("pure-const", "{user} relies on {body} being pure or const"),
    Cause("modref", "{user} relies on what {body} reads and writes"),
    Cause("ipa-ra", "{user} relies on the registers that {body} leaves alone"),
    Cause("range", "{user} relies on the values that {body} returns or passes"),
    Cause("bit-cp", "{user} relies on known bits of the arguments that {body} passes"),
    Cause("noreturn", "{user} relies on {body} never returning"),
    Cause("nothrow", "{user} relies on {body} not throwing"),
    Cause("stack-alignment", "{user} relies on the stack alignment that {body} needs"),
    Cause("reference", "{user} relies on which statics {body} leaves alone"),
    Cause("read-only-variable", "{user} relies on a static that {body} never writes"),
    Cause("write-only-variable", "{user} relies on a static that {body} never reads"),
    Cause("devirtualisation", "{user} calls {body} directly because the compiler knew the only target"),
    Cause("address-taken", "{user} relies on {body} not taking the address of what it uses"),
    Cause("calling-convention", "{user} relies on {body} calling it only directly"),
    Cause("unknown", "{user} depends on {body} for an unknown reason"),
)


@cache
def _codes() -> dict[str, int]:
    return {cause.slug: code for code, cause in enumerate(CAUSES)}


def cause_code(slug: str) -> int:
    """The code of the cause `slug`; `KeyError` for a word that is not in the table."""
    return _codes()[slug]


def cause(slug: str) -> Cause:
    """The cause named `slug`; `KeyError` for a word that is not in the table."""
    return CAUSES[_codes()[slug]]
