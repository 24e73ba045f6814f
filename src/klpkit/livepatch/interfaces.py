"""What a source patch changes of the terms on which unpatched code deals with patched code.

Callers of an exported function may be modules that nobody here has seen, and objects of a structure were made by
old code.  Both are told from the source, as it is written: the code that is compiled shows neither.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

from klpkit.build.csource import Definition, definitions
from klpkit.errors import RefusedError
from klpkit.livepatch.model import Warned


@dataclass(frozen=True, slots=True)
class Source:
    """A C file or header of the patch: its text on both sides, empty where it is new or gone."""

    path: str
    before: str
    after: str


def check_interfaces(sources: Iterable[Source], exported: Container[str]) -> list[Warned]:
    """Refuse changed signatures of `exported` functions (`exported-signature`); warn of changed types."""
    warned: list[Warned] = []
    for source in sources:
        if not source.path.endswith((".c", ".h")):
            continue
        before, after = definitions(source.before), definitions(source.after)
        _refuse_signatures(source, before, after, exported)
        warned += _changed_types(source, before, after)
    return warned


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


def _changed_types(source: Source, before: list[Definition], after: list[Definition]) -> Iterator[Warned]:
    old, new = _types(before), _types(after)
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            evidence = f"{source.path} changes it, and objects made by old code have the old layout"
            yield Warned("structure-layout", name, evidence)


def _types(found: list[Definition]) -> dict[str, list[tuple[str, ...]]]:
    """Structures and unions with their bodies; more enumerators change no object."""
    types: dict[str, list[tuple[str, ...]]] = {}
    for each in found:
        if each.kind == "type" and each.name and "{" in each.tokens and "enum" not in each.tokens[:3]:
            types.setdefault(each.name, []).append(each.tokens)
    return types
