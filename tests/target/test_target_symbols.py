"""Symbols of a linked vmlinux and of System.map count as the image's own; files of two kernels are refused."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from elf_samples import compiler
from target_samples import compile_units, link, many_symbols, toy_image

from klpkit.errors import FormatError, RefusedError, UserError
from klpkit.target import open_target
from klpkit.target.exports import read_symvers
from klpkit.target.model import TargetObject
from klpkit.target.shipped import Linked
from klpkit.target.vmlinux import Vmlinux

ONE = """
static int twice(int x) { return x * 3; }
static int state;
int first(int x) { return twice(x) + state++; }
int (*hook)(int) = twice;
__attribute__((weak)) int soft(int x) { return x; }
"""
TWO = """
__attribute__((noinline)) static int twice(int x) { return x * 5; }
static int state = 7;
int second(int x) { return twice(x) + state++; }
int (*hook2)(int) = twice;
int soft(int x) { return x + 1; }
"""


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vmlinux of two units that share names."""
    folder = tmp_path_factory.mktemp("linked")
    units = compile_units(folder, one=ONE, two=TWO)
    return link(folder / "vmlinux", [units["one"], units["two"]])


def listing(vmlinux: Path) -> str:
    """What nm says of it, as System.map has it."""
    return subprocess.run([compiler("nm"), "-n", vmlinux], check=True, capture_output=True, text=True).stdout


def told(target: TargetObject, name: str) -> list[int]:
    return [symbol.address for symbol in target.positions(name)]


def test_repeated_names_count_by_address(linked: Path) -> None:
    vmlinux = open_target(vmlinux=linked).vmlinux
    one, two = vmlinux.positions("twice")
    assert one.address < two.address
    assert (one.source, two.source) == ("one.c", "two.c")
    assert [vmlinux.sympos(one), vmlinux.sympos(two)] == [1, 2]
    assert [symbol.kind for symbol in (one, two)] == ["t", "t"]
    assert one.exact
    assert len(vmlinux.code(one)) == one.size
    assert [symbol.kind for symbol in vmlinux.positions("state")] == ["d", "b"]
    (soft,) = vmlinux.positions("soft")
    assert (soft.kind, soft.source, vmlinux.sympos(soft)) == ("T", None, 0)


def test_symtab_and_system_map_say_the_same(linked: Path, tmp_path: Path) -> None:
    path = tmp_path / "System.map"
    path.write_text(listing(linked))
    both = open_target(vmlinux=linked, system_map=path).vmlinux
    alone = open_target(system_map=path).vmlinux
    for name in set(both.columns.names):
        assert told(alone, name) == told(both, name), name
    assert both.positions("twice")[0].source == "one.c"


def test_a_map_holds_no_code(linked: Path, tmp_path: Path) -> None:
    path = tmp_path / "System.map"
    path.write_text(listing(linked))
    vmlinux = open_target(system_map=path).vmlinux
    with pytest.raises(RefusedError, match="no shipped bytes") as caught:
        vmlinux.code(vmlinux.positions("first")[0])
    assert caught.value.slug == "no-shipped-code"


def test_a_symbol_of_another_kernel_has_no_position(linked: Path) -> None:
    vmlinux = open_target(vmlinux=linked).vmlinux
    symbol = vmlinux.positions("twice")[0]
    with pytest.raises(RefusedError) as caught:
        vmlinux.sympos(replace(symbol, address=symbol.address + 16))
    assert caught.value.slug == "symbol-not-in-target"


def test_files_of_two_kernels_are_refused(linked: Path, tmp_path: Path) -> None:
    path = tmp_path / "System.map"
    lines = listing(linked).splitlines()
    row = next(row for row, line in enumerate(lines) if line.endswith(" second"))
    lines[row] = f"{int(lines[row].split()[0], 16) + 16:016x} T second"
    path.write_text("\n".join(lines))
    with pytest.raises(RefusedError, match="second is at") as caught:
        open_target(vmlinux=linked, system_map=path)
    assert caught.value.slug == "target-files-disagree"


def test_a_symbol_that_only_one_file_has_twice_is_refused(linked: Path, tmp_path: Path) -> None:
    path = tmp_path / "System.map"
    path.write_text(listing(linked) + "ffffffffffff0000 t first\n")
    with pytest.raises(RefusedError, match="first is at"):
        open_target(vmlinux=linked, system_map=path)


LISTS: dict[tuple[str, str, int], Callable[[Vmlinux], object]] = {
    ("__start_mcount_loc", "__stop_mcount_loc", 8): lambda vmlinux: vmlinux.ftrace_locations,
    ("__ibt_endbr_seal", "__ibt_endbr_seal_end", 4): lambda vmlinux: vmlinux.sealed,
    ("__start___ksymtab_gpl", "__stop___ksymtab_gpl", 12): lambda vmlinux: vmlinux.exports(),
    ("__start___jump_table", "__stop___jump_table", 16): lambda vmlinux: Linked(vmlinux).jump_sites,
}


@pytest.mark.parametrize(("start", "stop", "every"), LISTS)
def test_a_list_that_ends_inside_an_entry_is_an_error(tmp_path: Path, start: str, stop: str, every: int) -> None:
    text = f"""
    __asm__(".section .rodata\\n.globl {start}, {stop}\\n"
            "{start}: .fill {every + 1}\\n{stop}: .byte 0\\n.text");
    """
    units = compile_units(tmp_path, one=ONE, lists=text)
    vmlinux = open_target(vmlinux=link(tmp_path / "vmlinux", list(units.values()))).vmlinux
    problem = f"{start} to {stop}: {every + 1} bytes are no list of entries of {every}"
    with pytest.raises(FormatError, match=problem):
        LISTS[start, stop, every](vmlinux)


def test_a_section_that_ends_inside_an_entry_is_an_error(tmp_path: Path) -> None:
    text = '__asm__(".section .ibt_endbr_seal,\\"a\\"\\n.fill 6\\n.text");\n'
    units = compile_units(tmp_path, one=ONE, lists=text)
    vmlinux = open_target(vmlinux=link(tmp_path / "vmlinux", list(units.values()))).vmlinux
    with pytest.raises(FormatError, match=r"\.ibt_endbr_seal: 6 bytes are no list of entries of 4"):
        vmlinux.sealed  # noqa: B018 - it is read when it is asked for


def test_files_with_other_build_ids_are_refused(linked: Path, tmp_path: Path) -> None:
    units = compile_units(tmp_path, one=ONE.replace("* 3", "* 9"), two=TWO)
    other = link(tmp_path / "other", [units["one"], units["two"]])
    with pytest.raises(RefusedError, match="build IDs"):
        open_target(vmlinux=linked, image=other)


def test_lines_of_modules_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text("ffffffff81000010 t same\nffffffff81000000 T same\nffffffffc0000000 t same\t[tun]\n")
    vmlinux = open_target(system_map=path).vmlinux
    assert told(vmlinux, "same") == [0xFFFFFFFF81000000, 0xFFFFFFFF81000010]


def test_hidden_addresses_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text("0000000000000000 T _stext\n0000000000000000 t other\n")
    with pytest.raises(RefusedError) as caught:
        open_target(system_map=path)
    assert caught.value.slug == "hidden-addresses"


@pytest.mark.parametrize("line", ["ffffffff81000000 T", "nothing T name", "ffffffff81000000 Text name", "\0"])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "System.map"
    path.write_text(f"ffffffff81000000 T fine\n{line}\n")
    with pytest.raises(FormatError, match="line 2"):
        open_target(system_map=path)


def test_the_note_that_debian_ships_in_its_place_says_where_the_map_is(tmp_path: Path) -> None:
    path = tmp_path / "System.map"
    path.write_text("ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n")
    with pytest.raises(FormatError) as caught:
        open_target(system_map=path)
    assert "debug package" in caught.value.hint


def test_nothing_to_read_is_the_users_error() -> None:
    with pytest.raises(UserError, match="nothing tells the symbols"):
        open_target()


def test_modules_without_a_folder_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz"
    path.write_bytes(toy_image(many_symbols()))
    with pytest.raises(RefusedError) as caught:
        open_target(image=path).object("tun")
    assert caught.value.slug == "no-modules"


def test_symvers_with_and_without_namespaces(tmp_path: Path) -> None:
    path = tmp_path / "Module.symvers"
    path.write_text(
        "0x12345678\tone\tvmlinux\tEXPORT_SYMBOL\t\n"
        "0x00000000\ttwo\tdrivers/net/tun\tEXPORT_SYMBOL_GPL\tTUN\n"
        "0xffffffff\tthree\tvmlinux\tEXPORT_SYMBOL_GPL\n"
    )
    found = read_symvers(path)
    assert [(e.crc, e.namespace, e.gpl, e.module) for e in found.values()] == [
        (0x12345678, "", False, "vmlinux"),
        (None, "TUN", True, "drivers/net/tun"),
        (0xFFFFFFFF, "", True, "vmlinux"),
    ]


@pytest.mark.parametrize("line", ["one", "0x1\tone\tvmlinux", "crc\tone\tvmlinux\tEXPORT_SYMBOL\t"])
def test_a_broken_symvers_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "Module.symvers"
    path.write_text(f"0x12345678\tone\tvmlinux\tEXPORT_SYMBOL\t\n{line}\n")
    with pytest.raises(FormatError, match="line 2"):
        read_symvers(path)
