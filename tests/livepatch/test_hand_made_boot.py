"""Live patches written by hand, built for Debian's stock kernel, converted, booted and seen working."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kernels import StockKernel
from klpkit.boot import Guest, Outcome, run_guest
from klpkit.elf import ElfObject
from klpkit.elf import constants as c
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
    return run_guest(
        Guest(
            kernel.image,
            patch=module,
            check=SOURCES / f"{module.stem}.check",
            after=after,
            modules=kernel.modules,
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


@pytest.mark.kernel
def test_all_else_of_a_real_module_stays(shipped: StockKernel, tmp_path: Path) -> None:
    module = built("livepatch-two", shipped, tmp_path)
    out = tmp_path / "out.ko"
    convert_file(module, out, open_target(image=shipped.image, modules=shipped.modules))
    before, after = ElfObject.read(module), ElfObject.read(out)
    assert (after.machine, after.flags, after.os_abi) == (before.machine, before.flags, before.os_abi)
    for old, new in zip(before.sections, after.sections, strict=True):
        records = old.name.startswith(".klp.module_relocs.")
        kept = old.flags & ~c.SHF_ALLOC if records else old.flags
        assert (new.name, new.type, new.flags, new.size) == (old.name, old.type, kept, old.size)
        assert (new.align, new.entry_size, bytes(new.data)) == (old.align, old.entry_size, bytes(old.data))
    unresolved = {"jhash", "nr_processes", "type_show"}
    for before_it, after_it in zip(before.symbols, after.symbols, strict=True):
        if before_it.name in unresolved and before_it.section is None:
            assert (after_it.special, after_it.bind) == (c.SHN_LIVEPATCH, before_it.bind)
            unresolved.discard(before_it.name)
        else:
            assert (after_it.name, after_it.value, after_it.size) == (
                before_it.name,
                before_it.value,
                before_it.size,
            )
            assert (after_it.type, after_it.bind, after_it.other) == (
                before_it.type,
                before_it.bind,
                before_it.other,
            )
    assert not unresolved


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
