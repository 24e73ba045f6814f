"""`klpkit build` for a kernel that Clang and lld built: the whole way, and a boot."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from pipeline_kernel import meminfo_patch

from kernels import SmallKernel
from klpkit.boot import Guest, run_guest
from klpkit.boot.qemu import Resources
from klpkit.cli.build import command

pytestmark = pytest.mark.kernel


@pytest.fixture
def module(clang_kernel: SmallKernel, tmp_path: Path) -> Path:
    path = meminfo_patch(tmp_path / "fix.patch", clang_kernel.source)
    out = tmp_path / "livepatch-fix.ko"
    image = clang_kernel.build / "arch/x86/boot/bzImage"
    done = CliRunner().invoke(
        command, [str(path), "--build", str(clang_kernel.build), "--image", str(image), "-o", str(out)]
    )
    assert done.exit_code == 0, f"{done.output}\n{done.exception}"
    return out


def test_a_fix_for_a_kernel_that_clang_built_becomes_a_module(module: Path) -> None:
    assert b"clang version" in module.read_bytes()  # the glue comes from the kernel's compiler too


@pytest.mark.boot
def test_it_is_loaded_seen_and_taken_out(module: Path, clang_kernel: SmallKernel, tmp_path: Path) -> None:
    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("QEMU is not installed")
    check = tmp_path / "check.sh"
    check.write_text("grep -c Fixed /proc/meminfo; true\n")
    image = clang_kernel.build / "arch/x86/boot/bzImage"
    resources = Resources(processors=1, memory=256, seconds=600)
    outcome = run_guest(Guest(image, patch=module, check=check, resources=resources, patience=240))
    assert outcome.passed, f"{outcome.troubles}\n{outcome.console[-1500:]}"
    said = {each.state: each.output for each in outcome.checks}
    assert said == {"original": ("0",), "patched": ("1",), "reverted": ("0",)}
