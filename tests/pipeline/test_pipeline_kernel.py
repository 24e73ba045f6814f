"""`klpkit build` for Debian's stock kernel: real fixes of real sources; no guest is booted here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pipeline_kernel import MEMINFO, Build, copy_source, meminfo_patch, other_headers, patch

from kernels import SmallKernel, StockKernel
from klpkit.build import compile_pairs, open_tree
from klpkit.build.overlayunits import affected_units
from klpkit.build.patch import FilePatch, Patch
from klpkit.elf import ElfFile
from klpkit.errors import UserError

pytestmark = pytest.mark.kernel


def times(tree: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for folder, _, names in os.walk(tree):
        for name in names:
            status = os.lstat(f"{folder}/{name}")
            found[f"{folder}/{name}"] = status.st_mtime_ns, status.st_size
    return found


def test_a_fix_of_one_function_becomes_a_module(build: Build, stock_kernel: StockKernel, tmp_path: Path) -> None:
    name, line = MEMINFO
    path = patch(
        tmp_path / "fix.patch", stock_kernel.source, name, line, line + '\tseq_puts(m, "Fixed: yes\\n");\n'
    )
    before = times(stock_kernel.build), times(stock_kernel.source / "fs")
    done = build(path, "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert [(o["name"], [f["name"] for f in o["functions"]]) for o in answer["objects"]] == [
        ("vmlinux", ["meminfo_proc_show"])
    ]
    assert answer["files"] == [name]
    assert (tmp_path / "livepatch-fix.ko").stat().st_size == answer["size"]
    assert (times(stock_kernel.build), times(stock_kernel.source / "fs")) == before


def test_the_build_system_of_a_kernel_without_ibt_gives_the_module_its_unwind_data(
    build: Build, stock_kernel: StockKernel, tmp_path: Path
) -> None:
    """There Kbuild runs objtool on each object that it compiles, and ours are compiled already."""
    words = {"CONFIG_X86_KERNEL_IBT=y": "", "#define CONFIG_X86_KERNEL_IBT 1": ""}
    headers = other_headers(stock_kernel.headers, tmp_path / "headers", words)
    done = build(meminfo_patch(tmp_path / "fix.patch", stock_kernel.source), "--headers", headers)
    assert done.exit_code == 0, done.output
    elf = ElfFile.open(tmp_path / "livepatch-fix.ko")
    (unwind,) = elf.sections.find(".orc_unwind_ip")
    (table,) = elf.relocations_of(unwind)
    places = {elf.sections.names[int(elf.symbols.section[entry.symbol])] for entry in table}
    assert any("meminfo_proc_show" in name for name in places), places
    assert elf.sections.find(".return_sites")
    assert not elf.sections.find(".ibt_endbr_seal")


def test_a_source_of_another_patch_level_is_refused(
    build: Build, stock_kernel: StockKernel, tmp_path: Path
) -> None:
    """The tree lacks a line that the shipped kernel has: the patch is right and the tree is not."""
    name, line = MEMINFO
    source = copy_source(stock_kernel.source, tmp_path / "linux", name)
    text = (stock_kernel.source / name).read_text()
    (source / name).write_text(text.replace('\tshow_val_kb(m, "MemTotal:       ", i.totalram);\n', ""))
    path = patch(tmp_path / "fix.patch", source, name, line, line + '\tseq_puts(m, "Fixed: yes\\n");\n')
    done = build(path, "--source", source)
    assert getattr(done.exception, "slug", "") == "not-faithful", done.output
    assert "meminfo_proc_show" in str(done.exception)
    assert not (tmp_path / "livepatch-fix.ko").exists()


def test_lines_that_only_move_leave_nothing_to_patch(
    build: Build, stock_kernel: StockKernel, tmp_path: Path
) -> None:
    """kernel/signal.c has warnings whose line numbers are in the code."""
    head = "static bool recalc_sigpending_tsk(struct task_struct *t)\n{\n"
    path = patch(tmp_path / "fix.patch", stock_kernel.source, "kernel/signal.c", head, f"/*\n * Why.\n */\n{head}")
    done = build(path)
    assert getattr(done.exception, "slug", "") == "nothing-changed", done.output


def test_a_header_of_few_units_reaches_them_in_a_tree_that_was_never_built(
    stock_kernel: StockKernel, tmp_path: Path
) -> None:
    source, old = stock_kernel.source, "\treturn PROC_I(inode)->fd;\n"
    path = patch(tmp_path / "fix.patch", source, "fs/proc/fd.h", old, "\tbarrier();\n" + old)
    compiled = compile_pairs(open_tree(stock_kernel.build), [path], tmp_path / "work")
    changed = {str(pair.unit.source.relative_to(source)) for pair in compiled.pairs}
    same = {str(unit.source.relative_to(source)) for unit in compiled.equal}
    assert changed == {"fs/proc/fd.c"}
    assert same == {"fs/proc/base.c"}
    assert "2 of 2 sources that may include fd.h are built and do" in compiled.notes


def test_a_header_of_everything_is_refused_in_a_tree_that_was_never_built(
    stock_kernel: StockKernel, tmp_path: Path
) -> None:
    old = "struct kmem_cache;\n"
    path = patch(
        tmp_path / "fix.patch",
        stock_kernel.source,
        "include/linux/mm_types.h",
        "struct address_space;\n",
        "struct address_space;\n" + old,
    )
    with pytest.raises(UserError, match="was never built") as caught:
        compile_pairs(open_tree(stock_kernel.build), [path], tmp_path / "work")
    assert "--unit" in caught.value.hint


def test_dependency_lists_of_a_built_tree_name_every_unit(small_kernel: SmallKernel) -> None:
    header = "include/linux/time_namespace.h"
    text = (small_kernel.source / header).read_text()
    changed = Patch((FilePatch(header, text, text + "#define NEW\n"),), small_kernel.source, 1)
    tree = open_tree(small_kernel.build)
    affected = affected_units(tree, changed)
    expected = {unit.object for unit in tree.units() if small_kernel.source / header in unit.headers}
    assert {unit.object for unit in affected.units} >= expected
    assert len(expected) > 5
    # Code of the kernel that lies among the sources of the vDSO.
    assert small_kernel.build / "arch/x86/entry/vdso/vma.o" in {unit.object for unit in affected.units}
    assert affected.others == ()
