"""The proof: which functions' machine code really depends on a function's body, at the build's own flags.

One function's body is hidden from the optimisers, the unit is compiled again, and every other function's code is
compared with that of the same text compiled without hiding: what differs used the body.  `model` has the
records, `docs/explanation/proof.md` the method and its limits.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from klpkit.proof.answer import together
    from klpkit.proof.model import Answer, Proof, Use, Verdict
    from klpkit.proof.proving import prove, prove_all
    from klpkit.proof.unit import ProofUnit, open_unit
    from klpkit.proof.variables import prove_variable

__all__ = [
    "Answer",
    "Proof",
    "ProofUnit",
    "Use",
    "Verdict",
    "open_unit",
    "prove",
    "prove_all",
    "prove_variable",
    "together",
]

_HOMES = {
    "Answer": "model",
    "Proof": "model",
    "ProofUnit": "unit",
    "Use": "model",
    "Verdict": "model",
    "open_unit": "unit",
    "prove": "proving",
    "prove_all": "proving",
    "prove_variable": "variables",
    "together": "answer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
