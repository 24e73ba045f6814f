"""What a source patch changes of the terms on which unpatched code deals with patched code.

Callers of an exported function may be modules that nobody here has seen.  It is told from the source, as it is
written: the code that is compiled does not show it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

from klpkit.build.csource import Definition, definitions
from klpkit.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Source:
    """A C file or header of the patch: its text on both sides, empty where it is new or gone."""

    path: str
    before: str
    after: str


def check_interfaces(sources: Iterable[Source], exported: Container[str]) -> None:
    """Refuse changed signatures of `exported` functions (`exported-signature`)."""
    for source in sources:
        if source.path.endswith((".c", ".h")):
            _refuse_signatures(source, definitions(source.before), definitions(source.after), exported)


def _refuse_signatures(
    source: Source, before: list[Definition], after: list[Definition], exported: Container[str]
) -> None:
    old, new = _signatures(before), _signatures(after)
    for name in sorted(old.keys() & new.keys()):
        if name in exported and old[name] != new[name]:
            raise RefusedError(
                "exported-signature",
                f"{source.path}: the exported function {name} gets another signature: modules call the old one",
                hint="keep it as it is, and give the changed functions a new one beside it",
            )


def _signatures(found: list[Definition]) -> dict[str, set[tuple[str, ...]]]:
    """Function → its heads: one a branch of an `#if`, its prototypes included."""
    heads: dict[str, set[tuple[str, ...]]] = {}
    for each in found:
        if each.kind in ("function", "declaration") and each.name:
            heads.setdefault(each.name, set()).add(tuple(_head(each.tokens)))
    return heads


def _head(tokens: tuple[str, ...]) -> Iterator[str]:
    for token in tokens:
        if token in ("{", ";"):
            return
        if token != "extern":
            yield token
