"""The audit: what each translation unit's flags allow between functions, and what of it no record shows.

`audit_tree` and `audit_units` answer with an `Audit` (`model.py`); renderers are in `klpkit.report`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from klpkit.audit.document import as_document
    from klpkit.audit.model import Audit, Breach, Exposure, FunctionAbi, UnitAudit
    from klpkit.audit.run import audit_units

__all__ = ["Audit", "Breach", "Exposure", "FunctionAbi", "UnitAudit", "as_document", "audit_units"]

_HOMES = {
    "Audit": "model",
    "Breach": "model",
    "Exposure": "model",
    "FunctionAbi": "model",
    "UnitAudit": "model",
    "as_document": "document",
    "audit_units": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
