"""`klpkit build` for a tree that was prepared with Clang and lld.

No distribution ships a kernel that Clang built: the running kernel is a toy, linked from the unit's own object,
which the tree's objtool has seen, and from functions that do nothing.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from pipeline_kernel import meminfo_patch

from kernels import SmallKernel
from klpkit.build import open_tree, replay
from klpkit.build.overlay import SECTIONS
from klpkit.cli.build import command
from klpkit.elf import ElfFile

pytestmark = pytest.mark.kernel

UNIT = "fs/proc/meminfo.c"
BANNER = "Linux version 6.12.0-toy (a@b) (clang version 0, LLD 0) #1 SMP"
SCRIPT = """
SECTIONS {
  . = 0xffffffff81000000;
  .text : { *(.text .text.*) }
  .rodata : { *(.rodata .rodata.*) . = ALIGN(8);
              __start_mcount_loc = .; KEEP(*(__mcount_loc)) __stop_mcount_loc = .; }
  .special : { *(__bug_table __ex_table __jump_table .altinstructions .altinstr_replacement .altinstr_aux) }
  .data : { *(.data .data.*) }
  .bss : { *(.bss .bss.*) }
  __init_begin = .; .init : { *(.init.text .init.data .initcall*) } __init_end = .;
  /DISCARD/ : { *(.discard.*) *(.comment) *(.note*) *(.llvm*) }
}
"""
EXPORTED = ("seq_printf", "si_mem_available", "klp_enable_patch", "__fentry__", "module_layout")


@pytest.fixture(autouse=True)
def one_cache(isolated_home: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kbuild is asked for the unit's command once for all tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))


def toy_image(tree: Path, work: Path) -> Path:
    """A vmlinux with the code of the unit as the tree compiles it."""
    unit = open_tree(tree).ensure_unit(UNIT)
    part = replay(unit, workdir=work / "shipped", extra=SECTIONS).object
    run(tree / "tools/objtool/objtool", "--mcount", "--mnop", part)
    elf = ElfFile.open(part)
    symbols = zip(elf.symbols.names, elf.symbols.section.tolist(), strict=True)
    lines = [f'.section .rodata\n.globl linux_banner\nlinux_banner: .asciz "{BANNER}"\n.text']
    stub = ".balign 64\n.globl {0}\n.type {0},@function\n{0}: ret\n.space 512\n.size {0},513"
    lines += [stub.format(name) for name, section in symbols if not section and name]
    (work / "stubs.s").write_text("\n".join([*lines, ""]))
    (work / "vmlinux.lds").write_text(SCRIPT)
    run(*unit.compiler, "-c", "-o", work / "stubs.o", work / "stubs.s")
    run("ld.lld-16", "-T", work / "vmlinux.lds", "-e", "0", "-o", work / "vmlinux", work / "stubs.o", part)
    return work / "vmlinux"


def run(*argv: object) -> None:
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def toy_headers(tree: Path, place: Path) -> Path:
    """The tree through links, with a list of exports, which only a build makes."""
    place.mkdir()
    for entry in tree.iterdir():
        (place / entry.name).symlink_to(entry)
    lines = (f"0x12345678\t{name}\tvmlinux\tEXPORT_SYMBOL_GPL\t\n" for name in EXPORTED)
    (place / "Module.symvers").write_text("".join(lines))
    return place


def test_a_fix_for_a_tree_of_clang_becomes_a_module_of_clang(clang_kernel: SmallKernel, tmp_path: Path) -> None:
    if not shutil.which("ld.lld-16"):
        pytest.skip("lld-16 is not installed")
    out = tmp_path / "livepatch-fix.ko"
    tree = clang_kernel.build
    options = {
        "--build": tree,
        "--unit": UNIT,
        "--vmlinux": toy_image(tree, tmp_path),
        "--headers": toy_headers(tree, tmp_path / "headers"),
        "-o": out,
    }
    words = [str(word) for option in options.items() for word in option]
    done = CliRunner().invoke(command, [str(meminfo_patch(tmp_path / "fix.patch", clang_kernel.source)), *words])
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
    elf = ElfFile.open(out)
    names = elf.sections.names
    assert ".klp.rela.vmlinux.text.meminfo_proc_show" in names
    assert {"__mcount_loc", ".orc_unwind_ip", ".return_sites"} <= set(names)
    (comment,) = elf.sections.find(".comment")
    assert b"clang version" in bytes(elf.content(comment))
    assert b"GCC" not in bytes(elf.content(comment))


def test_other_code_than_that_of_the_tree_is_refused(clang_kernel: SmallKernel, tmp_path: Path) -> None:
    if not shutil.which("ld.lld-16"):
        pytest.skip("lld-16 is not installed")
    image = toy_image(clang_kernel.build, tmp_path)
    content = bytearray(image.read_bytes())
    elf = ElfFile.open(image)
    (row,) = [row for row, name in enumerate(elf.symbols.names) if name == "meminfo_proc_show"]
    (text,) = elf.sections.find(".text")
    place = int(elf.symbols.value[row]) - int(elf.sections.address[text]) + int(elf.sections.offset[text])
    content[place + 40] ^= 0xFF
    image.write_bytes(content)
    patch = meminfo_patch(tmp_path / "fix.patch", clang_kernel.source)
    words = ["--build", clang_kernel.build, "--unit", UNIT, "--vmlinux", image, "-o", tmp_path / "x.ko"]
    done = CliRunner().invoke(command, [str(patch), *map(str, words)])
    assert getattr(done.exception, "slug", "") == "not-faithful", done.output
