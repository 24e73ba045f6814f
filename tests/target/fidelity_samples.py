"""A kernel of three units that share names, linked by the linker, and its units as they are compiled again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from target_samples import compile_units, link

from klpkit.elf import ElfFile
from klpkit.target.columns import SymbolColumns
from klpkit.target.fidelity import Fidelity, fidelity_of
from klpkit.target.module import Module
from klpkit.target.original import Original
from klpkit.target.shipped import InModule, Linked, Shipped
from klpkit.target.symtab import symtab_columns
from klpkit.target.vmlinux import Vmlinux

NOTE = '#define note(text) __attribute__((noinline)) static const char *text_of(void) { return "unit " text; }\n'
ONE = (
    NOTE
    + """
note("one")
extern int outside(int), other(int);
static int state, count;
static const int table[] = {3, 1, 4, 1, 5, 9, 2, 6};
__attribute__((noinline)) static int helper(int x) { return outside(x) + state++; }
int first(int x) { return helper(x) + helper(table[x & 7]); }
int tally(int x) { count += x; return count * other(x); }
const char *name_one(int *size) { *size = 42; return text_of(); }
__attribute__((weak)) int soft(int x) { return x - 1; }
__attribute__((noinline)) int last(int x) { return x ^ 0x55; }
int tail(int x)
{
    if (x > 3) return last(x + 1);
    x *= 9;
    return x < 0 ? other(x) : last(x);
}
"""
)
TWO = (
    NOTE
    + """
note("two")
extern int outside(int);
static int state = 5;
__attribute__((noinline)) static int helper(int x) { return outside(x) + state++; }
int second(int x) { return helper(x) - 1; }
const char *name_two(int *size) { *size = 43; return text_of(); }
int soft(int x) { return x + 1; }
"""
)
THREE = """
int outside(int x) { return x * 11; }
int other(int x) { return x * 13; }
extern char __start___jump_table[], __stop___jump_table[];
char *jump_table[] = {__start___jump_table, __stop___jump_table};
static long key;
extern int slow(int);
int slow(int x) { return x * x; }
int jumpy(int x)
{
    asm goto("1: jmp %l[unlikely]\\n"
             ".pushsection __jump_table,\\"aw\\"\\n.balign 8\\n"
             ".long 1b - ., %l[unlikely] - .\\n.quad %c0 + FLAG - .\\n.popsection"
             : : "i"(&key) : : unlikely);
    return x + 1;
unlikely:
    return slow(x);
}
"""
LABEL = """
asm(".pushsection .text\\n.globl assembled\\n.type assembled, @function\\nassembled:\\n"
    "testl %edi, %edi\\nje inner_label\\nmovl %edi, %eax\\nret\\ninner_label:\\nmovl $7, %eax\\nret\\n"
    ".size assembled, . - assembled\\n.popsection");
"""
SOURCES = {"one": ONE, "two": TWO, "three": THREE.replace("FLAG", "2") + LABEL}
NOPS = {0xEB: b"\x66\x90", 0xE9: b"\x0f\x1f\x44\x00\x00"}


@dataclass(frozen=True)
class Kernel:
    """The shipped kernel at `path`, its units' objects, and what compiles more of them."""

    path: Path
    units: dict[str, Path]
    """The object of each unit; with `/sections` after its name, the one with a section for each function."""

    def shipped(self, *, sizes: bool = True, content: bytes | None = None) -> Shipped:
        """What is shipped; without `sizes` as kallsyms tells it, `content` in place of the file's."""
        elf = ElfFile(self.path.read_bytes() if content is None else content, self.path)
        columns = symtab_columns(elf)
        if not sizes:
            columns = SymbolColumns(columns.addresses, columns.kinds, columns.names)
        return Linked(Vmlinux(columns, elf, path=self.path))

    def check(self, unit: str | Path, shipped: Shipped | None = None) -> Fidelity:
        path = self.units[unit] if isinstance(unit, str) else unit
        return fidelity_of(
            Original.open(path), shipped or self.shipped(), source=path.stem + ".c", owner="vmlinux"
        )

    def file_place(self, address: int) -> int:
        """Where the byte at `address` is in the file."""
        return file_place(self.path, address)


def file_place(path: Path, address: int) -> int:
    sections = ElfFile.open(path).sections
    for section in sections:
        if section.address and section.address <= address < section.address + section.size:
            return address - section.address + section.offset
    raise LookupError(hex(address))


def make_kernel(folder: Path) -> Kernel:
    """The kernel of `SOURCES`, its jump label made a no-op as objtool does."""
    units = compile_units(folder, **SOURCES)
    path = link(folder / "vmlinux", list(units.values()))
    split = folder / "split"
    split.mkdir()
    for name, unit in compile_units(split, ("-ffunction-sections", "-fdata-sections"), **SOURCES).items():
        units[f"{name}/sections"] = unit
    shipped = Linked(Vmlinux(symtab_columns(ElfFile.open(path)), ElfFile.open(path), path=path))
    content = bytearray(path.read_bytes())
    for _, address in shipped.jump_sites:
        place = file_place(path, address)
        nop = NOPS[content[place]]
        content[place : place + len(nop)] = nop
    path.write_bytes(content)
    return Kernel(path, units)


def make_module(folder: Path) -> tuple[InModule, dict[str, Path]]:
    """The first two units as a module."""
    units = compile_units(folder, one=ONE, two=TWO)
    path = link(folder / "toy.ko", list(units.values()), relocatable=True)
    return InModule(Module.read(path)), units
