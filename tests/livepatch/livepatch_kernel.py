"""Live patches for Debian's stock kernel, made from small edits of its source and seen to work in a guest."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kernels import StockKernel
from klpkit.boot import Guest, Outcome, run_guest
from klpkit.boot.qemu import Resources
from klpkit.build import Pair, compile_pairs, open_tree
from klpkit.livepatch import INCLUDE, LivePatch, make_module
from klpkit.target import Target, open_target


@dataclass(frozen=True, slots=True)
class Edit:
    """Text of a source of the kernel that is replaced; `old` must occur once.  An empty `old` makes a new file."""

    path: str
    old: str
    new: str


@dataclass(slots=True)
class Bench:
    """The stock kernel as a patch is made for it."""

    kernel: StockKernel
    work: Path
    _target: list[Target] = field(default_factory=list)

    @property
    def target(self) -> Target:
        if not self._target:
            kernel = self.kernel
            symvers = kernel.headers / "Module.symvers"
            self._target.append(open_target(image=kernel.image, modules=kernel.modules, symvers=symvers))
        return self._target[0]

    def patch(self, edits: Sequence[Edit]) -> Path:
        """A patch that makes the edits."""
        texts: dict[str, tuple[str, str]] = {}
        for edit in edits:
            if not edit.old:
                texts[edit.path] = ("", edit.new)
                continue
            before = (self.kernel.source / edit.path).read_text()
            original, now = texts.get(edit.path, (before, before))
            assert now.count(edit.old) == 1, f"{edit.path}: {edit.old!r} occurs {now.count(edit.old)} times"
            texts[edit.path] = (original, now.replace(edit.old, edit.new))
        lines = []
        for path, (before, after) in texts.items():
            names = (f"a/{path}" if before else "/dev/null", f"b/{path}")
            lines += difflib.unified_diff(before.splitlines(True), after.splitlines(True), *names)
        file = self.work / "fix.patch"
        file.write_text("".join(lines))
        return file

    def pairs(self, *edits: Edit, units: Sequence[str] = ()) -> tuple[Pair, ...]:
        """The objects of every unit that the edits change."""
        tree = open_tree(self.kernel.build, source=self.kernel.source)
        return compile_pairs(
            tree, [self.patch(edits)], self.work / "overlay", units=units, include=[INCLUDE]
        ).pairs

    def make(self, *edits: Edit, units: Sequence[str] = (), name: str = "klpkit-test.ko") -> LivePatch:
        """The module for the edits."""
        return make_module(self.pairs(*edits, units=units), self.target, self.kernel.headers, self.work / name)

    def boot(
        self,
        patch: LivePatch,
        check: str,
        *,
        before: Sequence[str] = (),
        after: Sequence[str] = (),
        extra: Mapping[str, bytes] | None = None,
    ) -> Outcome:
        """Load the patch, run the shell script `check` in each state, revert; modules are named by their paths."""
        assert self.kernel.image is not None
        assert self.kernel.modules is not None
        script = self.work / "check.sh"
        script.write_text(check)
        modules = self.kernel.modules
        return run_guest(
            Guest(
                self.kernel.image,
                patch=patch.path,
                check=script,
                before=[modules / "kernel" / path for path in before],
                after=[modules / "kernel" / path for path in after],
                modules=modules,
                extra=extra or {},
                resources=Resources(processors=1, seconds=600),
                append="nowatchdog workqueue.watchdog_thresh=0 rcupdate.rcu_cpu_stall_suppress=1",
                patience=240,
            )
        )


def said(outcome: Outcome) -> dict[str, tuple[str, ...]]:
    """State → what the check printed in it; the outcome must be without trouble."""
    assert outcome.passed, f"{outcome.troubles}\n{outcome.console[-1500:]}"
    return {check.state: check.output for check in outcome.checks}


def names(patch: LivePatch) -> list[str]:
    """The functions that a patch replaces."""
    return sorted(function.name for patched in patch.objects for function in patched.functions)
