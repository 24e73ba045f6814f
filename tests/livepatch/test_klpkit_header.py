"""klpkit.h's one macro for references, in kernels that convert references themselves and in those that do not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from klpkit.elf import ElfObject
from klpkit.livepatch import INCLUDE
from klpkit.livepatch.annotations import read_annotations
from klpkit.livepatch.convert import convert
from klpkit.programs import run

PLAIN = "struct klp_patch;\n"
# The macros of the two styles as their kernels have them, in the least form.
NAMED = """
#define KLP_RELOC_SYMBOL_POS(PATCHED, OWNER, NAME, POS) \\
	asm("\\".klp.sym.rela." #PATCHED "." #OWNER "." #NAME "," #POS "\\"")
"""
LISTED = """
struct klp_module_reloc { void *sym; unsigned int sympos; } __attribute__((packed));
#define KLP_MODULE_RELOC(obj) \\
	struct klp_module_reloc __attribute__((section(".klp.module_relocs." #obj), aligned(4)))
#define KLP_SYMPOS(symbol, pos) { .sym = &symbol, .sympos = pos }
"""
SOURCE = """
#include <klpkit.h>
extern int counter;
KLPKIT_RELOC(vmlinux, vmlinux, counter, 1001);
extern int helper(int);
KLPKIT_RELOC(ext4, ext4, helper, 0);
extern int clone(int);
KLPKIT_RELOC_AS(clone, ext4, ext4, clone.constprop.0.isra.0, 2);
int use(void) { return helper(counter) + clone(1); }
"""
WANTED = {
    ("vmlinux", "vmlinux", "counter", 1001),
    ("ext4", "ext4", "helper", 0),
    ("ext4", "ext4", "clone.constprop.0.isra.0", 2),
}


def compiled(
    folder: Path, livepatch_h: str, source: str = SOURCE, compiler: str = "gcc", *flags: str
) -> ElfObject:
    header = folder / "linux" / "livepatch.h"
    header.parent.mkdir(exist_ok=True)
    header.write_text(livepatch_h)
    (folder / "patch.c").write_text(source)
    words = [
        compiler,
        "-O2",
        "-Wall",
        "-Werror",
        "-std=gnu11",
        "-fno-pic",
        *flags,
        f"-I{folder}",
        f"-I{INCLUDE}",
        "-c",
    ]
    run([*words, str(folder / "patch.c"), "-o", str(folder / "patch.o")])
    return ElfObject.read(folder / "patch.o")


def said(module: ElfObject) -> set[tuple[str, str, str, int]]:
    return {(each.patched_object, each.symbol_object, each.name, each.sympos) for each in read_annotations(module)}


@pytest.mark.parametrize("kernel", [PLAIN, NAMED, LISTED], ids=["plain", "named", "listed"])
def test_the_macro_says_the_same_in_every_kernel(kernel: str, tmp_path: Path) -> None:
    module = compiled(tmp_path, kernel)
    assert said(module) == WANTED
    (text,) = (section for section in module.sections if section.name == ".text")
    used = {entry.symbol.name for table in text.relocations for entry in table.entries if entry.symbol}
    assert {each.symbol for each in read_annotations(module)} <= used


@pytest.mark.parametrize("kernel", [PLAIN, NAMED, LISTED], ids=["plain", "named", "listed"])
def test_the_macro_says_the_same_to_clang(kernel: str, tmp_path: Path) -> None:
    clang = next((name for name in ("clang", "clang-19", "clang-16") if shutil.which(name)), None)
    if clang is None:
        pytest.skip("no clang is installed")
    assert said(compiled(tmp_path, kernel, SOURCE, clang)) == WANTED


def test_names_that_are_macros_are_not_expanded(tmp_path: Path) -> None:
    source = (
        "#include <klpkit.h>\n#define ext4 17\nextern int f(void);\nKLPKIT_RELOC_AS(f, ext4, ext4, linux, 0);\n"
    )
    module = compiled(tmp_path, PLAIN, source + "int use(void) { return f(); }\n")
    assert said(module) == {("ext4", "ext4", "linux", 0)}


@pytest.mark.parametrize("target", ["aarch64", "powerpc64le", "s390x"])
@pytest.mark.parametrize("kernel", [PLAIN, LISTED], ids=["plain", "listed"])
def test_objects_of_other_architectures_are_converted(target: str, kernel: str, tmp_path: Path) -> None:
    compiler = f"{target}-linux-gnu-gcc"
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    marked = '__attribute__((section(".modinfo"))) char mark[] = "livepatch=Y";\nchar *patched = "ext4";\n'
    module = compiled(tmp_path, kernel, SOURCE + marked, compiler, "-fno-optimize-sibling-calls")
    assert {each.reference.klp_symbol for each in convert(module)} == {
        ".klp.sym.vmlinux.counter,1001",
        ".klp.sym.ext4.helper,0",
        ".klp.sym.ext4.clone.constprop.0.isra.0,2",
    }
    assert convert(ElfObject.read(_written(module, tmp_path))) == ()


def _written(module: ElfObject, folder: Path) -> Path:
    module.write(folder / "converted.o")
    return folder / "converted.o"
