"""Every reason slug in the code is explained in docs/reasons.md."""

from __future__ import annotations

import ast
from pathlib import Path

from klpkit.boot.outcome import Slug

CHECKOUT = Path(__file__).resolve().parent.parent


def refusal_slugs() -> set[str]:
    """The first arguments of every `RefusedError(...)` in the package."""
    found = set()
    for path in (CHECKOUT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "RefusedError" and node.args:
                slug = node.args[0]
                if isinstance(slug, ast.Constant):
                    found.add(str(slug.value))
    return found


def test_every_refusal_is_explained() -> None:
    text = (CHECKOUT / "docs/reasons.md").read_text()
    slugs = refusal_slugs()
    assert len(slugs) > 8
    assert sorted(slug for slug in slugs if f"`{slug}`" not in text) == []


def test_every_reason_why_a_guest_fails_is_explained() -> None:
    text = (CHECKOUT / "docs/reasons.md").read_text()
    assert sorted(slug for slug in Slug if f"`{slug}`" not in text) == []
