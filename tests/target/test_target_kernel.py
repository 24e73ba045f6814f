"""Debian's shipped kernel: its image, debug vmlinux and System.map agree, and its code can be reproduced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import which

import pytest
from target_samples import need

import kernels
from klpkit.build import BuildTree, TranslationUnit, open_tree, replay
from klpkit.errors import RefusedError
from klpkit.target import Target, open_target
from klpkit.target.checking import check_object, check_units, refuse_unfaithful
from klpkit.target.columns import SymbolColumns
from klpkit.target.fidelity import Fidelity, Verdict
from klpkit.target.symtab import symtab_columns

pytestmark = pytest.mark.kernel

BUILT_IN = ("fs/namei.c", "kernel/signal.c", "mm/page_alloc.c", "net/core/sock.c")
MODULE = "drivers/net/tun.c"
# `__weak` definitions that another unit of this architecture or configuration overrides.
OVERRIDDEN = {"kernel/signal.c": {"sigaction_compat_abi", "arch_vma_name"}}


@pytest.fixture(scope="module")
def target(stock_kernel: kernels.StockKernel, tmp_path_factory: pytest.TempPathFactory) -> Target:
    """The shipped image with its modules."""
    image = need(stock_kernel.image, "the image")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        symvers = stock_kernel.headers / "Module.symvers"
        return open_target(image=image, modules=stock_kernel.modules, symvers=symvers)


@pytest.fixture(scope="module")
def units(
    stock_kernel: kernels.StockKernel, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, TranslationUnit]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        found = tree(stock_kernel).ensure_units([*BUILT_IN, MODULE])
    return dict(zip([*BUILT_IN, MODULE], found, strict=True))


def tree(stock_kernel: kernels.StockKernel) -> BuildTree:
    return open_tree(stock_kernel.build, source=stock_kernel.source)


def by_name(columns: SymbolColumns) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for name, address in zip(columns.names, columns.addresses.tolist(), strict=True):
        found.setdefault(name, []).append(address)
    return found


def odd(answer: Fidelity) -> set[str]:
    return {f.name for f in answer.functions if f.verdict is not Verdict.EQUAL}


@pytest.fixture(scope="module")
def debug() -> Path:
    """A release in the cache whose debug package was fetched: `boot` of that package."""
    found = [
        path for path in kernels.KERNELS.glob("*/dbg/usr/lib/debug/boot") if (path.parents[4] / "image").exists()
    ]
    return need(found[0] if found else None, "a debug package")


def test_image_vmlinux_and_map_count_every_name_the_same(debug: Path) -> None:
    (vmlinux,), (system_map,) = debug.glob("vmlinux-*"), debug.glob("System.map-*")
    (path,) = (debug.parents[4] / "image" / "boot").glob("vmlinuz-*")
    target = open_target(image=path)
    image = by_name(target.vmlinux.columns)
    linked = open_target(vmlinux=vmlinux).vmlinux
    assert len(target.vmlinux.columns) > 150_000
    assert by_name(linked.columns) == image
    assert linked.elf is not None
    for other in (open_target(system_map=system_map).vmlinux.columns, symtab_columns(linked.elf)):
        found = by_name(other)
        assert [name for name in image if found.get(name) != image[name]] == []
    repeated = [name for name, places in image.items() if len(places) > 1]
    assert len(repeated) > 1000


def test_files_and_sizes_come_from_the_debug_vmlinux(debug: Path) -> None:
    vmlinux = open_target(vmlinux=next(debug.glob("vmlinux-*"))).vmlinux
    (symbol,) = vmlinux.positions("step_into")
    assert (symbol.source, symbol.exact, symbol.kind) == ("namei.c", True, "t")


def test_release_vermagic_and_exports(target: Target, stock_kernel: kernels.StockKernel) -> None:
    assert target.release == stock_kernel.release
    assert target.vermagic.startswith(stock_kernel.release)
    assert "gcc-12" in target.compiler
    listed = {name: export for name, export in target.exports().items() if export.module == "vmlinux"}
    assert listed == target.vmlinux.exports()


def test_ftrace_locations_and_sealed_functions_are_known(target: Target) -> None:
    (symbol,) = target.vmlinux.positions("do_linkat")
    near = {place for place in target.vmlinux.ftrace_locations if 0 <= place - symbol.address <= 4}
    assert len(near) == 1
    assert 10_000 < len(target.vmlinux.sealed) < 50_000


def test_a_module_tells_what_the_loader_counts(target: Target) -> None:
    module = target.object("tun")
    (symbol,) = module.positions("tun_net_xmit")
    assert (module.sympos(symbol), symbol.kind) == (0, "t")
    assert {"tun_get_socket", "tun_get_tx_ring"} <= set(module.exports())
    assert all(target.exports()[name].crc == export.crc for name, export in module.exports().items())


def test_recompiled_units_equal_what_is_shipped(
    target: Target, units: dict[str, TranslationUnit], stock_kernel: kernels.StockKernel, tmp_path: Path
) -> None:
    need(stock_kernel.modules, "the folder of modules")
    chosen = list(units.values())
    checked = check_units(chosen, target, workdir=tmp_path, root=stock_kernel.build, source=stock_kernel.source)
    assert [answer.source for answer in checked] == [*BUILT_IN, MODULE]
    for answer in checked:
        assert answer.first is None, answer.source
        assert odd(answer) == OVERRIDDEN.get(answer.source, set()), answer.source
        assert answer.counts()[Verdict.EQUAL] > 60
    assert [answer.object for answer in checked] == ["vmlinux"] * 4 + ["tun"]
    refuse_unfaithful(checked, target=target)


@pytest.mark.parametrize("flag", ["-O1", "-DCONFIG_DEBUG_NET=1"])
def test_other_flags_are_noticed(
    target: Target, units: dict[str, TranslationUnit], tmp_path: Path, flag: str
) -> None:
    unit = units["net/core/sock.c"]
    made = replay(unit, workdir=tmp_path, extra=[flag])
    (answer,) = check_object(unit, made.object, target)
    assert not answer.faithful
    with pytest.raises(RefusedError, match="not as shipped") as caught:
        refuse_unfaithful([answer], target=target, compiler=unit.compiler)
    assert caught.value.slug == "not-faithful"


def test_one_edited_function_is_found(target: Target, units: dict[str, TranslationUnit], tmp_path: Path) -> None:
    unit = units["fs/namei.c"]
    text = unit.source.read_text()
    edited = tmp_path / "namei.c"
    before = "sysctl_protected_hardlinks"
    place = text.index(f"!{before}")
    edited.write_text(text[:place] + before + text[place + 1 + len(before) :])
    made = replay(unit, workdir=tmp_path / "out", source=edited, extra=[f"-I{unit.source.parent}"])
    (answer,) = check_object(unit, made.object, target)
    # `may_linkat` is inlined into the one that differs, if it has no code of its own.
    assert odd(answer) <= {"may_linkat", "do_linkat"}
    assert answer.first is not None
    assert answer.first.difference is not None


def test_another_compiler_is_noticed_and_named(
    target: Target, units: dict[str, TranslationUnit], tmp_path: Path
) -> None:
    other = which("gcc-11")
    if other is None:
        pytest.skip("gcc-11 is not installed")
    unit = replace(units["net/core/sock.c"], compiler=(other,))
    newer = ("-ftrivial-auto-var-init=zero", "-mharden-sls=all", "-mindirect-branch-cs-prefix")
    made = replay(unit, workdir=tmp_path, remove=newer)
    (answer,) = check_object(unit, made.object, target)
    with pytest.raises(RefusedError) as caught:
        refuse_unfaithful([answer], target=target, compiler=unit.compiler)
    assert "the shipped kernel was made by" in caught.value.hint
