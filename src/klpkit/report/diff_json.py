"""A diff as JSON, version 1: `docs/reference/diff.md` describes the fields."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TextIO

from klpkit.diff.model import Function, ObjectDiff, Verdict

if TYPE_CHECKING:
    from klpkit.diff.tree import TreeDiff

SCHEMA = "klpkit.diff/1"
TREE_SCHEMA = "klpkit.diff-tree/1"


def as_dict(diff: ObjectDiff) -> dict[str, Any]:
    """One diff as plain data."""
    return {
        "schema": SCHEMA,
        "original": diff.original,
        "patched": diff.patched,
        "arch": diff.arch,
        "verdict": str(diff.verdict),
        "changed": diff.changed,
        "new": diff.new,
        "gone": diff.gone,
        "functions": [_function(function) for function in diff.functions],
        "data": [
            {
                "name": item.name,
                "status": str(item.status),
                "section": item.section,
                "read_only": item.read_only,
                "what": item.what,
                "sizes": list(item.sizes),
                "users": list(item.users),
            }
            for item in diff.data
        ],
        "moved": [
            {"where": line.where, "before": line.before, "after": line.after, "evidence": line.evidence}
            for line in diff.moved
        ],
        "obstacles": [
            {"slug": o.slug, "symbol": o.symbol, "evidence": o.evidence, "advice": o.advice}
            for o in diff.obstacles
        ],
        "notes": list(diff.notes),
        "functions_compared": {"original": diff.compared[0], "patched": diff.compared[1]},
    }


def _function(function: Function) -> dict[str, Any]:
    return {
        "name": function.name,
        "patched_name": function.patched_name,
        "status": str(function.status),
        "aliases": list(function.aliases),
        "file": function.file,
        "section": function.section,
        "sizes": list(function.sizes),
        "first_difference": function.offset if function.offset >= 0 else None,
        "reasons": [{"cause": str(reason.cause), "detail": reason.detail} for reason in function.reasons],
    }


def write_diff_json(diff: ObjectDiff, stream: TextIO) -> None:
    """Write one diff as one JSON object."""
    json.dump(as_dict(diff), stream, indent=2)
    stream.write("\n")


def write_tree_json(tree: TreeDiff, stream: TextIO) -> None:
    """Write the diffs of all objects of two trees as one JSON object."""
    objects = [
        {"path": compared.path, "verdict": str(compared.verdict)}
        | (
            {"diff": as_dict(compared.diff)}
            if compared.diff
            else {"slug": compared.slug, "problem": compared.problem}
        )
        for compared in tree.objects
    ]
    summary = {str(verdict): tree.count(verdict) for verdict in Verdict}
    whole = {
        "schema": TREE_SCHEMA,
        "original": tree.original,
        "patched": tree.patched,
        "verdict": str(tree.verdict),
        "summary": summary,
        "objects": objects,
    }
    json.dump(whole, stream, indent=2)
    stream.write("\n")
