"""Live patches of the corpus in a guest: each is loaded, seen enabled and finished, reverted and unloaded.

Several share a guest, one after the other.  The module that a patch is for is loaded before it where the guest
lets it load; some drivers want hardware.  A patch whose guest failed is tried again in a guest of its own, so that
it is not blamed for another one.  Results are kept as one JSON line a patch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from klpkit.boot import Guest, Outcome, run_guest
from klpkit.boot.modules import Module, read_module, with_needs
from klpkit.boot.qemu import Resources
from klpkit.errors import UserError

Row = Mapping[str, Any]

VMLINUX = "vmlinux"
AT_ONCE = 5  # patches a guest
# Seconds: an emulated guest on a busy machine is slow, and a transition waits for every task.
TIME_LIMIT = 900
PATIENCE = 240
# Says one line a patch: `patch NAME ok` or the step that failed, and one a target: `object NAME OBJECT patched`.
_CHECK = r"""
failed=0
step() { echo "patch $patch $1"; failed=1; }
quiet() { [ "$(cat "$state/transition" 2>/dev/null)" = 0 ]; }
gone() { [ ! -e "$state" ]; }
unused() { rmmod "$patch" 2>/dev/null; [ ! -e "/sys/module/$patch" ]; }
until_done() {
    rounds=0
    until "$1"; do
        rounds=$((rounds + 1))
        [ $rounds -gt $((PATIENCE * 10)) ] && return 1
        sleep 0.1
    done
}
try() {
    state=/sys/kernel/livepatch/$patch
    insmod /corpus/$patch.ko 2>/tmp/said || { step "not-loaded $(tr '\n' ' ' </tmp/said)"; return; }
    until_done quiet || { step transition-stuck; return; }
    [ "$(cat "$state/enabled")" = 1 ] || { step not-enabled; return; }
    for object in "$state"/*/; do
        object=${object%/}
        is=absent
        [ "$(cat "$object/patched" 2>/dev/null)" = 1 ] && is=patched
        echo "object $patch ${object##*/} $is $(ls -d "$object"/*/ 2>/dev/null | wc -l)"
    done
    echo 0 >"$state/enabled" || { step not-disabled; return; }
    until_done gone || { step revert-stuck; return; }
    until_done unused || { step not-unloaded; return; }
    echo "patch $patch ok"
}
"""


@dataclass(frozen=True, slots=True)
class Kernel:
    """The shipped kernel that is booted."""

    image: Path
    modules: Path


def chosen(rows: Sequence[Row], done: Sequence[str], count: int, seed: str) -> list[Row]:
    """`count` of the built fixes, those of `done` first: built-in and module code in turn, each module once.

    The order depends on `seed` and the names alone, so that a corpus that grows keeps what was chosen.
    """
    order = sorted(rows, key=lambda row: hashlib.sha256(f"{seed}\0{row['source']}".encode()).digest())
    known = [row for row in order if row["source"] in done]
    seen = {name for row in known for name in row["objects"] if name != VMLINUX}
    built_in: list[Row] = []
    modular: list[Row] = []
    for row in order:
        owners = set(row["objects"]) - {VMLINUX}
        if row in known or not seen.isdisjoint(owners):
            continue
        seen |= owners
        (modular if owners else built_in).append(row)
    turns = (row for row in chain.from_iterable(zip_longest(built_in, modular)) if row is not None)
    return [*known, *turns][:count]


def boot_all(rows: Sequence[Row], kernel: Kernel, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Boot the live patches of `rows`; yields a result for each as soon as its guest has ended."""
    for first in range(0, len(rows), AT_ONCE):
        group = rows[first : first + AT_ONCE]
        say(f"booting {', '.join(row['source'] for row in group)}")
        for row, result in zip(group, boot(group, kernel), strict=True):
            if not result["passed"] and len(group) > 1:
                say(f"once more, alone: {row['source']}")
                result = boot([row], kernel)[0]
            yield result


def boot(rows: Sequence[Row], kernel: Kernel) -> list[dict[str, Any]]:
    """One guest for the patches of `rows`."""
    with TemporaryDirectory(prefix="klpkit-corpus-boot-") as folder:
        check = Path(folder, "check.sh")
        patches = [read_module(Path(row["module"])) for row in rows]
        targets = [_targets(row, kernel) for row in rows]
        check.write_text(_script(patches, targets))
        files = {module.name: module.content for module in [*patches, *chain.from_iterable(targets)]}
        guest = Guest(
            kernel.image,
            check=check,
            extra={f"corpus/{name}.ko": content for name, content in files.items()},
            resources=Resources(processors=1, memory=1024, seconds=TIME_LIMIT),
            append="nowatchdog workqueue.watchdog_thresh=0",
        )
        outcome = run_guest(guest)
    return [_result(row, patch.name, outcome) for row, patch in zip(rows, patches, strict=True)]


def _targets(row: Row, kernel: Kernel) -> list[Module]:
    """The shipped modules that a patch changes, each after those that it needs."""
    names = {name for name in row["objects"] if name != VMLINUX}
    paths = [
        path for path in kernel.modules.rglob("*.ko*") if path.name.partition(".")[0].replace("-", "_") in names
    ]
    if len(paths) != len(names):
        raise UserError(f"{kernel.modules} lacks one of {', '.join(sorted(names))}", hint="fetch the image again")
    return with_needs(paths, kernel.modules)


def _script(patches: Sequence[Module], targets: Sequence[Sequence[Module]]) -> str:
    lines = [_CHECK.replace("PATIENCE", str(PATIENCE))]
    for patch, needed in zip(patches, targets, strict=True):
        lines += [f"[ -e /sys/module/{m.name} ] || insmod /corpus/{m.name}.ko 2>/dev/null" for m in needed]
        lines.append(f"patch={patch.name}; try")
    return "\n".join([*lines, "exit $failed", ""])


def _result(row: Row, name: str, outcome: Outcome) -> dict[str, Any]:
    """What the guest said of one patch; it passed where the guest saw no trouble at all, or was not to blame."""
    said = [line.split(None, 4) for check in outcome.checks for line in check.output]
    steps = [words[2:] for words in said if words[:2] == ["patch", name]]
    objects = {words[2]: words[3] for words in said if words[:2] == ["object", name] and len(words) > 3}
    ended = steps == [["ok"]] and not (set(objects) ^ set(row["objects"]))
    troubles = [f"{trouble.slug}: {trouble.message}" for trouble in outcome.troubles]
    why = "" if ended else " ".join(chain.from_iterable(steps)) or "the guest said nothing of it"
    return {
        "source": row["source"],
        "patch": name,
        "passed": ended and not troubles,
        "objects": objects,
        "why": "; ".join(filter(None, [why, *troubles])),
        "seconds": round(outcome.seconds, 1),
        "release": outcome.release,
        "accelerator": outcome.accelerator,
    }


def read_boots(path: Path) -> list[dict[str, Any]]:
    """The last result of each patch."""
    lines = path.read_text().splitlines() if path.exists() else []
    return list(
        {row["source"]: row for row in (json.loads(line) for line in lines if line.endswith("}"))}.values()
    )


def boots_table(results: Sequence[Row], rows: Sequence[Row]) -> str:
    """The booted patches, as Markdown."""
    functions = {row["source"]: sum(map(len, row["objects"].values())) for row in rows}
    lines = ["| fix | functions | object | in the guest | loaded, reverted, unloaded |", "|---|---|---|---|---|"]
    for row in sorted(results, key=lambda row: row["source"]):
        names = ", ".join(f"`{name}`" for name in row["objects"])
        there = ", ".join("patched" if is_ == "patched" else "not there" for is_ in row["objects"].values())
        answer = "yes" if row["passed"] else f"no: {row['why']}"
        lines.append(f"| `{row['source']}` | {functions.get(row['source'], '')} | {names} | {there} | {answer} |")
    return "\n".join(lines)
