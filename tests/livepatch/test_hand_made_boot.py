"""Live patches written by hand, built for Debian's stock kernel, converted, booted and seen working."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kernels import StockKernel
from klpkit.boot import Guest, Outcome, run_guest
from klpkit.livepatch import INCLUDE
from klpkit.livepatch.convert import Converted, convert_file
from klpkit.programs import run
from klpkit.target import open_target

SOURCES = Path(__file__).parent / "hand_made"
MAKEFILE = "obj-m := {}.o\nccflags-y := -I{}\n"


def built(name: str, kernel: StockKernel, folder: Path) -> Path:
    """The module of one source file, as Kbuild leaves it: with references that nothing resolves."""
    shutil.copy(SOURCES / f"{name}.c", folder)
    (folder / "Makefile").write_text(MAKEFILE.format(name, INCLUDE))
    run(["nice", "make", "-C", str(kernel.headers), f"M={folder}", "KBUILD_MODPOST_WARN=1", "modules"])
    return folder / f"{name}.ko"


def converted(name: str, kernel: StockKernel, folder: Path) -> tuple[Path, tuple[Converted, ...]]:
    module = built(name, kernel, folder)
    target = open_target(image=kernel.image, modules=kernel.modules)
    done = convert_file(module, module, target)
    once = module.read_bytes()
    assert convert_file(module, module, target) == ()
    assert module.read_bytes() == once
    return module, done


def booted(module: Path, kernel: StockKernel, *after: Path) -> Outcome:
    assert kernel.image is not None
    # A loaded host starves a guest of its timer: that is no trouble of the patch.
    return run_guest(
        Guest(
            kernel.image,
            patch=module,
            check=SOURCES / f"{module.stem}.check",
            after=after,
            modules=kernel.modules,
            append="nosoftlockup no_timer_check",
        )
    )


@pytest.fixture
def shipped(stock_kernel: StockKernel) -> StockKernel:
    if stock_kernel.image is None or stock_kernel.modules is None:
        pytest.skip("the kernel's image is not in the cache; `tools/debian_kernel.py image` fetches it")
    return stock_kernel


@pytest.mark.kernel
def test_references_of_real_modules_are_converted(shipped: StockKernel, tmp_path: Path) -> None:
    _, done = converted("livepatch-cmdline", shipped, tmp_path)
    assert {each.reference.klp_symbol: dict(each.places) for each in done} == {
        ".klp.sym.vmlinux.saved_command_line,0": {".data": 1},
        ".klp.sym.vmlinux.nr_processes,0": {".text": 1},
        ".klp.sym.vmlinux.sched_schedstats,0": {"__jump_table": 1},
    }
    assert all(each.found for each in done)


@pytest.mark.boot
def test_a_function_data_and_a_static_key_of_vmlinux_are_reached(shipped: StockKernel, tmp_path: Path) -> None:
    module, _ = converted("livepatch-cmdline", shipped, tmp_path)
    outcome = booted(module, shipped)
    assert outcome.troubles == ()
    assert [(check.state, check.status) for check in outcome.checks] == [
        ("original", 0),
        ("patched", 0),
        ("reverted", 0),
    ]


@pytest.mark.boot
def test_two_objects_and_repeated_names_are_told_apart(shipped: StockKernel, tmp_path: Path) -> None:
    module, done = converted("livepatch-two", shipped, tmp_path)
    assert {each.reference.klp_symbol for each in done} == {
        ".klp.sym.bridge.jhash,3",
        ".klp.sym.vmlinux.type_show,5",
        ".klp.sym.vmlinux.nr_processes,0",
    }
    assert shipped.modules is not None
    (bridge,) = shipped.modules.glob("kernel/net/bridge/bridge.ko*")
    outcome = booted(module, shipped, bridge)
    assert outcome.troubles == ()
    assert [(check.state, check.status) for check in outcome.checks] == [
        ("original", 0),
        ("patched", 0),
        ("reverted", 0),
    ]
