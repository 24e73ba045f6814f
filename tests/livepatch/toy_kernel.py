"""A toy kernel: C compiled like the kernel's own, linked at the kernel's addresses, and patched."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from klpkit.elf import ElfFile, ElfObject
from klpkit.livepatch.planning import Plan, plan_module
from klpkit.target import Export, Target, TargetSymbol
from klpkit.target.symtab import symtab_columns
from klpkit.target.vmlinux import Vmlinux

CFLAGS = (
    *("-O2", "-g0", "-fno-pic", "-mcmodel=kernel", "-mno-red-zone", "-fno-asynchronous-unwind-tables"),
    *("-fno-stack-protector", "-fcf-protection=none", "-pg", "-mfentry", "-mrecord-mcount", "-fno-common"),
    *("-ffunction-sections", "-fdata-sections", "-fno-jump-tables", "-w"),
)
SCRIPT = """
SECTIONS {
  . = 0xffffffff81000000;
  .text : { *(.text .text.*) }
  .rodata : { *(.rodata .rodata.*) __start_mcount_loc = .; KEEP(*(__mcount_loc)) __stop_mcount_loc = .; }
  .special : { *(__bug_table __ex_table __jump_table .altinstructions) }
  .altinstr_replacement : { *(.altinstr_replacement) }
  .data : { *(.data .data.*) }
  .bss : { *(.bss .bss.*) }
  __init_begin = .; .init : { *(.init.text .init.data) } __init_end = .;
  /DISCARD/ : { *(.discard.*) *(.comment) *(.note*) *(.klp.*) }
}
"""
KERNEL = "void __fentry__(void) {}\nint exported(int x) { return x; }\nint hidden(int x) { return x + 1; }\n"


@dataclass(frozen=True, slots=True)
class ToyPair:
    original: Path
    patched: Path
    owner: str = "vmlinux"


class ToyTarget(Target):
    """Exports as given, no modules but those given."""

    def __init__(self, vmlinux: Vmlinux, exports: Mapping[str, Export], modules: Mapping[str, object]) -> None:
        super().__init__(vmlinux, symvers=exports)
        self.others = modules

    def object(self, name: str):  # type: ignore[no-untyped-def]
        return self.others[name] if name in self.others else super().object(name)


class Toy:
    """Compiles, links and plans in the folder `work`."""

    def __init__(self, work: Path) -> None:
        if platform.machine() != "x86_64" or not shutil.which("gcc"):
            pytest.skip("needs gcc for x86_64")
        self.work = work
        self.exports = {"exported": _export("exported"), "__fentry__": _export("__fentry__")}
        self.modules: dict[str, object] = {}

    def compile(self, name: str, text: str, *flags: str) -> Path:
        source, made = self.work / f"{name}.c", self.work / f"{name}.o"
        source.write_text(text)
        run("gcc", *CFLAGS, *flags, "-c", "-o", made, source)
        return made

    def pair(self, original: str, patched: str, name: str = "unit", owner: str = "vmlinux") -> ToyPair:
        """Both sides come from a file of one name, as the original and the patched source do."""
        made = []
        for side, text in (("original", original), ("patched", patched)):
            folder = self.work / side
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.c").write_text(text)
            run("gcc", *CFLAGS, "-I.", "-c", "-o", folder / f"{name}.o", f"{name}.c", cwd=folder)
            made.append(folder / f"{name}.o")
        return ToyPair(made[0], made[1], owner)

    def vmlinux(self, *objects: Path) -> Vmlinux:
        """The shipped kernel that is linked from the originals and the rest of the kernel."""
        script, image = self.work / "vmlinux.lds", self.work / "vmlinux"
        script.write_text(SCRIPT)
        run("ld", "-T", script, "-o", image, "-e", "0", self.compile("kernel", KERNEL), *objects)
        return self.image()

    def image(self) -> Vmlinux:
        """The kernel that was linked last, read anew."""
        image = self.work / "vmlinux"
        elf = ElfFile.open(image)
        return Vmlinux(symtab_columns(elf), elf, path=image)

    def target(self, *pairs: ToyPair, others: tuple[Path, ...] = ()) -> ToyTarget:
        objects = [pair.original for pair in pairs if pair.owner == "vmlinux"]
        return ToyTarget(self.vmlinux(*others, *objects), self.exports, self.modules)

    def plan(self, *pairs: ToyPair, others: tuple[Path, ...] = ()) -> Plan:
        return plan_module(pairs, self.target(*pairs, others=others))


def _export(name: str, module: str = "vmlinux") -> Export:
    return Export(name, None, "", True, module)


def run(*argv: object, cwd: Path | None = None) -> str:
    done = subprocess.run([str(word) for word in argv], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def undefined(model: ElfObject) -> set[str]:
    return {symbol.name for symbol in model.symbols if symbol.section is None}


def defined(model: ElfObject) -> set[str]:
    return {symbol.name for symbol in model.symbols if symbol.section is not None and symbol.name}


def address(target: Target, reference_name: str, sympos: int) -> TargetSymbol:
    same = target.vmlinux.positions(reference_name)
    return same[sympos - 1 if sympos else 0]
