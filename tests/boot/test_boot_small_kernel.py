"""A real guest: the small kernel with the kernel's own live patch sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernels import SmallKernel
from klpkit.boot import Guest, run_guest
from klpkit.boot.outcome import Slug

pytestmark = pytest.mark.boot

CHECK = """
grep -q 'this has been live patched' /proc/cmdline; patched=$?
case $1 in
    patched) exit $patched ;;
    *) [ $patched != 0 ] ;;
esac
"""


def guest(small_kernel: SmallKernel, tmp_path: Path, check: str, **more: object) -> Guest:
    script = tmp_path / "check"
    script.write_text(check)
    patch = small_kernel.build / "samples/livepatch/livepatch-sample.ko"
    return Guest(small_kernel.build / "vmlinux", patch=patch, check=script, **more)  # type: ignore[arg-type]


def test_a_patch_is_loaded_seen_reverted_and_cycled(small_kernel: SmallKernel, tmp_path: Path) -> None:
    outcome = run_guest(guest(small_kernel, tmp_path, CHECK, cycles=3))
    assert outcome.troubles == ()
    assert [check.state for check in outcome.checks] == ["original", "patched", "reverted", "reverted"]
    assert outcome.cycles == 3


def test_a_check_that_expects_too_much_fails(small_kernel: SmallKernel, tmp_path: Path) -> None:
    outcome = run_guest(guest(small_kernel, tmp_path, "grep -q 'this has been live patched' /proc/cmdline"))
    assert [trouble.slug for trouble in outcome.troubles] == [Slug.CHECK_FAILED, Slug.CHECK_FAILED]
    assert [check.status for check in outcome.checks] == [1, 0, 1]


def test_a_crash_in_the_kernel_is_seen(small_kernel: SmallKernel, tmp_path: Path) -> None:
    crash = "[ $1 != patched ] || echo c > /proc/sysrq-trigger\n"
    outcome = run_guest(guest(small_kernel, tmp_path, crash))
    assert not outcome.passed
