"""Causes for what a proof found and no record explains; a second step, because it compiles many times."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from klpkit.compilers.passes import passes_of
from klpkit.proof.causes import attribute, named
from klpkit.proof.model import Proof, Use, Verdict
from klpkit.proof.recorded import read_records
from klpkit.proof.unit import ProofUnit

UNKNOWN = ("unknown",)


def explain(unit: ProofUnit, proof: Proof) -> Proof:
    """`proof` with a cause for each proven use; those that have one cost nothing.

    A use whose only cause decides where code is put and how large it may be relies on no fact: it becomes a
    knock-on.
    """
    open_uses = [use for use in proof.uses if use.verdict is Verdict.PROVEN and not use.causes]
    if not open_uses:
        return proof
    with tempfile.TemporaryDirectory(prefix="klpkit-proof-") as folder:
        symbols = [use.symbol for use in open_uses]
        found, runs = attribute(unit, proof.function, symbols, Path(folder))
    uses = tuple(_explained(unit, proof, use, found) if use in open_uses else use for use in proof.uses)
    explained = replace(proof, uses=uses, cause_runs=proof.cause_runs + runs)
    unit.store(explained)
    return explained


def _explained(unit: ProofUnit, proof: Proof, use: Use, found: dict[str, tuple[str, ...]]) -> Use:
    slugs = found.get(use.symbol, ())
    rows = {row.slug: row for row in passes_of(unit.unit.kind)}
    if slugs and all(rows[slug].affects == "placement" for slug in slugs):
        return replace(use, verdict=Verdict.KNOCK_ON, causes=slugs, how=f"{use.how}; only {rows[slugs[0]].says}")
    causes = named(unit.unit.kind, slugs) or UNKNOWN
    if "pure-const" in causes and proof.function in read_records(unit).noreturn:
        causes = tuple("noreturn" if cause == "pure-const" else cause for cause in causes)
    return replace(use, causes=causes)
