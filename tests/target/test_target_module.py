"""Positions in a module's own symbol table, as the loader counts while the module comes and once it is live."""

from __future__ import annotations

import gzip
import lzma
import subprocess
from pathlib import Path

import pytest
from elf_samples import compiler
from target_samples import compile_units, link

from klpkit.errors import FormatError, RefusedError, UserError
from klpkit.target.module import Module, module_name
from klpkit.target.modules import ModuleFolder

ONE = """
static int twice(int x) { return x * 3; }
int (*hook)(int) = twice;
extern int outside(int);
int first(int x) { return outside(x); }
const char info[] __attribute__((section(".modinfo"))) = "license=GPL\\0vermagic=6.12.0-toy SMP \\0alias=a=b";
"""
TWO = """
__attribute__((section(".init.text"))) static int twice(int x) { return x * 5; }
__attribute__((section(".init.data"))) int (*hook2)(int) = twice;
static int state;
int second(int x) { return state += x; }
"""
THREE = """
static int twice(int x) { return x * 7; }
int (*hook3)(int) = twice;
static int state = 3;
int third(int x) { return state += x; }
asm(".set absolute, 0x1234");
"""
EXPORTS = """
asm(".section \\"__ksymtab_strings\\",\\"aMS\\",@progbits,1\\n"
    "name: .asciz \\"first\\"\\nspace: .asciz \\"TOY\\"\\nother: .asciz \\"third\\"\\nempty: .asciz \\"\\"\\n"
    ".section __ksymtab,\\"a\\"\\n.long first - .\\n.long name - .\\n.long space - .\\n"
    ".section __kcrctab,\\"a\\"\\n.long 0x11223344\\n"
    ".section __ksymtab_gpl,\\"a\\"\\n.long third - .\\n.long other - .\\n.long empty - .\\n"
    ".section __kcrctab_gpl,\\"a\\"\\n.long 0x55667788\\n"
    ".section __mcount_loc,\\"a\\"\\n.quad first\\n.quad third\\n.previous");
"""


def built(folder: Path, **sources: str) -> Path:
    units = compile_units(folder, **sources)
    return link(folder / "toy-module.ko", list(units.values()), relocatable=True)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Module:
    """A module of three units; one of its three `twice` is in init memory."""
    folder = tmp_path_factory.mktemp("module")
    return Module.read(built(folder, one=ONE, two=TWO, three=THREE, exports=EXPORTS))


def test_names_follow_the_file() -> None:
    assert module_name("drivers/net/toy-module.ko.xz") == "toy_module"
    assert module_name("fs/ext4/ext4") == "ext4"


def test_positions_are_in_the_order_of_the_symbol_table(module: Module) -> None:
    one, three = module.positions("state")
    assert one.index < three.index
    assert (one.section, three.section) == (".bss", ".data")
    assert [module.sympos(one), module.sympos(three)] == [1, 2]
    assert (one.kind, three.kind) == ("b", "d")
    assert (one.source, three.source) == ("two.c", "three.c")


def test_a_unique_name_has_position_0(module: Module) -> None:
    (symbol,) = module.positions("second")
    assert module.sympos(symbol) == 0
    assert (symbol.kind, symbol.exact) == ("T", True)
    assert len(module.code(symbol)) == symbol.size


def test_what_counts_only_while_loading_is_refused(module: Module) -> None:
    assert [symbol.section for symbol in module.positions("twice")] == [".text", ".text"]
    assert [symbol.section for symbol in module.defined("twice")] == [".text", ".init.text", ".text"]
    for symbol in module.defined("twice"):
        with pytest.raises(RefusedError, match="counts differently") as caught:
            module.sympos(symbol)
        assert caught.value.slug == "init-symbol-in-count"


def test_undefined_and_absolute_symbols_have_no_position(module: Module) -> None:
    assert module.positions("outside") == ()
    assert module.positions("absolute") == ()
    assert module.positions("info") == ()


def test_symbols_are_found_by_place(module: Module) -> None:
    (second,) = module.positions("second")
    assert second in module.at(second.address, ".text")
    near = module.near(second.address + 1, ".text")
    assert near is not None
    assert near.address == second.address
    assert module.at(second.address, ".data") != module.at(second.address, ".text")


def test_information_is_read(module: Module) -> None:
    assert module.information_of("vermagic") == "6.12.0-toy SMP "
    assert module.information_of("alias") == "a=b"
    assert module.information_of("depends") == ""


def test_exports_are_read_with_checksum_and_namespace(module: Module) -> None:
    found = {name: (e.crc, e.namespace, e.gpl, e.module) for name, e in module.exports().items()}
    assert found == {
        "first": (0x11223344, "TOY", False, "toy_module"),
        "third": (0x55667788, "", True, "toy_module"),
    }


def test_ftrace_locations_are_listed(module: Module) -> None:
    first, third = module.positions("first")[0], module.positions("third")[0]
    assert module.ftrace_locations == {(".text", first.address), (".text", third.address)}


@pytest.mark.parametrize("suffix", [".ko", ".ko.xz", ".ko.gz", ".ko.zst"])
def test_a_folder_is_searched_for_modules_of_every_compression(
    tmp_path: Path, module: Module, suffix: str
) -> None:
    content = module.path.read_bytes()
    packed = {".ko": content, ".ko.xz": lzma.compress(content), ".ko.gz": gzip.compress(content)}
    if suffix == ".ko.zst":
        argv = [compiler("zstd"), "-qc"]
        packed[suffix] = subprocess.run(argv, input=content, check=True, capture_output=True).stdout
    folder = tmp_path / "kernel" / "drivers"
    folder.mkdir(parents=True)
    (folder / f"toy-module{suffix}").write_bytes(packed[suffix])
    modules = ModuleFolder(tmp_path)
    assert modules.paths == {"toy_module": folder / f"toy-module{suffix}"}
    assert modules.module("toy-module").positions("second") == module.positions("second")
    assert modules.vermagic == "6.12.0-toy SMP "


def test_a_cut_module_is_refused(tmp_path: Path, module: Module) -> None:
    packed = lzma.compress(module.path.read_bytes())
    (tmp_path / "toy.ko.xz").write_bytes(packed[:-60])
    with pytest.raises(FormatError, match="broken xz data"):
        ModuleFolder(tmp_path).module("toy")


def test_a_module_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    modules = ModuleFolder(tmp_path)
    with pytest.raises(RefusedError, match="no module tun") as caught:
        modules.module("tun")
    assert caught.value.slug == "no-such-module"
    with pytest.raises(RefusedError, match="built into vmlinux"):
        modules.module("ext4")
    with pytest.raises(UserError, match="no such folder"):
        ModuleFolder(tmp_path / "absent")
