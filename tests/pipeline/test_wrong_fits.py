"""What does not fit the running kernel, or can't be carried by a live patch, is refused: with real sources.

A source of another patch level is in `test_pipeline_kernel.py`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from pipeline_kernel import Build, meminfo_patch, other_build, patch

from kernels import StockKernel
from klpkit.target import open_target

pytestmark = pytest.mark.kernel


def refused(done: Result, slug: str, out: Path) -> str:
    """What was said; the build must have been refused for the reason `slug` with nothing left behind."""
    assert getattr(done.exception, "slug", "") == slug, done.output
    assert not (out / "livepatch-fix.ko").exists()
    return str(done.exception)


def test_another_compiler_is_refused_and_both_are_named(
    build: Build, stock_kernel: StockKernel, tmp_path: Path
) -> None:
    if not shutil.which("x86_64-linux-gnu-gcc-11"):
        pytest.skip("gcc-11 is not installed")
    words = {"x86_64-linux-gnu-gcc-12": "x86_64-linux-gnu-gcc-11", "CONFIG_GCC_VERSION=120200": ""}
    # GCC 11 lacks -mharden-sls and would be refused by its own words.
    words |= {"CONFIG_MITIGATION_SLS=y": "", "#define CONFIG_MITIGATION_SLS 1": ""}
    tree = other_build(stock_kernel.build, tmp_path / "build", words)
    done = build(meminfo_patch(tmp_path / "fix.patch", stock_kernel.source), "--build", tree)
    text = refused(done, "not-faithful", tmp_path)
    assert "the shipped kernel was made by x86_64-linux-gnu-gcc-12" in text
    assert "this build's compiler is x86_64-linux-gnu-gcc-11" in text


def test_another_configuration_is_refused(build: Build, stock_kernel: StockKernel, tmp_path: Path) -> None:
    """One option less: a line of /proc/meminfo goes, and a function gets shorter."""
    words = {"CONFIG_MEMORY_FAILURE=y": "", "#define CONFIG_MEMORY_FAILURE 1": ""}
    tree = other_build(stock_kernel.build, tmp_path / "build", words)
    done = build(meminfo_patch(tmp_path / "fix.patch", stock_kernel.source), "--build", tree)
    text = refused(done, "not-faithful", tmp_path)
    assert "meminfo_proc_show" in text
    assert "configuration" in text


def test_a_function_that_ftrace_does_not_see_is_refused(
    build: Build, stock_kernel: StockKernel, tmp_path: Path
) -> None:
    """An inline function of a header is never traced; here a table holds its address, so that it stays one."""
    old, new = "\tBUG();\n\treturn 0;", "\tWARN_ON(1);\n\treturn 0;"
    path = patch(tmp_path / "fix.patch", stock_kernel.source, "include/net/udp.h", old, new)
    text = refused(build(path, "--unit", "net/ipv4/udplite.c"), "no-ftrace-location", tmp_path)
    assert "udp_lib_hash" in text


def test_code_that_only_ran_at_boot_is_refused(build: Build, stock_kernel: StockKernel, tmp_path: Path) -> None:
    path = patch(
        tmp_path / "fix.patch", stock_kernel.source, "fs/proc/meminfo.c", "\tpde_make_permanent(pde);\n", ""
    )
    assert "proc_meminfo_init" in refused(build(path), "init-code", tmp_path)


def test_another_signature_of_an_exported_function_is_refused(
    build: Build, stock_kernel: StockKernel, tmp_path: Path
) -> None:
    path = tmp_path / "fix.patch"
    for name, text in (
        ("lib/cmdline.c", "int get_option(char **str, int *pint)\n"),
        ("include/linux/string.h",) * 2,
    ):
        old = text if name == "lib/cmdline.c" else "extern int get_option(char **str, int *pint);\n"
        patch(path, stock_kernel.source, name, old, old.replace("int get_option", "long get_option"))
    text = refused(build(path, "--unit", "lib/cmdline.c"), "exported-signature", tmp_path)
    assert "get_option" in text


def test_a_name_that_several_symbols_have_gets_the_position_of_the_one_that_is_meant(
    build: Build, stock_kernel: StockKernel, tmp_path: Path
) -> None:
    """Four units have a `udp_lib_hash` with the same code; the running kernel's own table tells which is whose."""
    line = "\treturn __udp4_lib_rcv(skb, &udplite_table, IPPROTO_UDPLITE);\n"
    new = f"\tif (READ_ONCE(udplite_prot.hash) != udp_lib_hash)\n\t\treturn 0;\n{line}"
    path = patch(tmp_path / "fix.patch", stock_kernel.source, "net/ipv4/udplite.c", line, new)
    done = build(path, "--json")
    assert done.exit_code == 0, done.output
    references = json.loads(done.stdout)["references"]
    (sympos,) = [r["sympos"] for r in references if r["name"] == "udp_lib_hash"]
    vmlinux = open_target(image=stock_kernel.image).vmlinux
    same = vmlinux.positions("udp_lib_hash")
    table = vmlinux.read(vmlinux.positions("udplite_prot")[0].address, 512)
    (meant,) = [n for n, s in enumerate(same, 1) if s.address.to_bytes(8, "little") in table]
    assert len(same) > 2
    assert sympos == meant


# In kilobytes: the disk is full when the sources are laid over each other, when they are compiled, when Kbuild
# links the module.
@pytest.mark.parametrize("size", [16, 64, 300, 600])
def test_a_disk_that_is_full_on_the_way_leaves_nothing_behind(
    stock_words: list[str], stock_kernel: StockKernel, tmp_path: Path, size: int
) -> None:
    path = meminfo_patch(tmp_path / "fix.patch", stock_kernel.source)
    disk = tmp_path / "disk"
    done = on_small_disk(disk, size, "", [str(path), *stock_words, "-o", str(tmp_path / "livepatch-fix.ko")])
    assert done.returncode == 3, done.stderr
    assert "free some space" in done.stderr
    assert done.stdout == f"{disk}\n"
    assert not (tmp_path / "livepatch-fix.ko").exists()


def test_a_disk_without_room_for_the_module_keeps_the_older_one(
    stock_words: list[str], stock_kernel: StockKernel, tmp_path: Path
) -> None:
    path = meminfo_patch(tmp_path / "fix.patch", stock_kernel.source)
    disk = tmp_path / "disk"
    out = disk / "fix.ko"
    prepare = f"echo older >{out}; export TMPDIR={tmp_path};"
    done = on_small_disk(disk, 16, prepare, [str(path), *stock_words, "-o", str(out)], f"cat {out}")
    assert done.returncode == 3, done.stderr
    assert "can't write" in done.stderr
    assert done.stdout == f"{disk}\n{out}\nolder\n"
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("klpkit-")] == []


def on_small_disk(
    disk: Path, size: int, prepare: str, words: list[str], after: str = ""
) -> subprocess.CompletedProcess[str]:
    """`klpkit build` with temporary files on a disk of `size` kilobytes; stdout lists what is on it afterwards."""
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mounts of one's own on this machine")
    disk.mkdir()
    klpkit = Path(sys.executable).with_name("klpkit")
    script = f"""
        mount -t tmpfs -o size={size}k none {disk} || exit 99
        export TMPDIR={disk}; {prepare}
        {klpkit} build "$@" >/dev/null; status=$?
        find {disk}; {after}
        exit $status
    """
    argv = ["unshare", "-rm", "sh", "-c", script, "sh", *words]
    return subprocess.run(argv, check=False, capture_output=True, text=True)
