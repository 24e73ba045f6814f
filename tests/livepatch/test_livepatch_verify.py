"""A finished module is read back as the loader would read it: each thing that can be wrong is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from toy_kernel import Toy, ToyTarget

from klpkit.elf import ElfObject, ObjSymbol
from klpkit.elf import constants as c
from klpkit.errors import KlpkitError
from klpkit.livepatch.klprela import KlpReference, write_klp_relocations
from klpkit.livepatch.loadable import klp_symbol
from klpkit.livepatch.model import PatchedFunction, PatchedObject
from klpkit.livepatch.verify import BrokenModuleError, verify
from klpkit.target import Export

KERNEL = """
int f(int x) { return x; }
static __attribute__((noinline)) int twin(int x) { return x; }
int use(int x) { return twin(x); }
"""
OTHER = (
    "static __attribute__((noinline)) int twin(int x) { return x + 1; }\nint other(int x) { return twin(x); }\n"
)
CHECKSUMS = {"module_layout": 0x11, "exported": 0x22, "__fentry__": 0x33}
MODULE = """
#define SECTION(name) __attribute__((used, aligned(1), section(name)))
SECTION(".modinfo") static const char a[] = "livepatch=Y", b[] = "license=GPL", c[] = "depends=",
    d[] = "vermagic=6.12 SMP", e[] = "name=toy", f[] = "unused=12";
struct version { unsigned long crc; char name[56]; };
SECTION("__versions") static const struct version versions[] = { { 0x11, "module_layout" }, { 0x22, "exported" } };
extern int exported(int);
extern int hidden(int) asm("\\".klp.sym.rela.vmlinux.vmlinux.hidden,0\\"");
int klpp_f(int x) { return exported(x) + hidden(x); }
int glue(void) { return 0; }
asm(".pushsection .orc_unwind_ip,\\"a\\"\\n.long glue - .\\n.long klpp_f - .\\n.popsection");
struct klp_func { const char *old_name; void *new_func; unsigned long old_sympos; char rest[80]; };
struct klp_func functions_1[] = { { "f", klpp_f, 0 }, { 0 } };
"""
PLAN = PatchedObject("vmlinux", (PatchedFunction("f", 0, "klpp_f"),))


@dataclass
class Made:
    """The toy module, which a test may spoil, and the kernel that it is for."""

    model: ElfObject
    target: ToyTarget
    plan: PatchedObject = PLAN

    def check(self) -> None:
        verify(self.model.to_bytes(), "toy.ko", [self.plan], self.target)

    def symbol(self, name: str) -> ObjSymbol:
        return next(symbol for symbol in self.model.symbols if symbol.name == name)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """The toy kernel and module, compiled once."""
    toy = Toy(tmp_path_factory.mktemp("toy"))
    toy.vmlinux(toy.compile("rest", KERNEL), toy.compile("other", OTHER))
    toy.compile("toy", MODULE)
    return toy


@pytest.fixture
def made(toy: Toy) -> Made:
    exports = {name: Export(name, crc, "", True, "vmlinux") for name, crc in CHECKSUMS.items()}
    target = ToyTarget(toy.image(), exports, {})
    target.__dict__["vermagic"] = "6.12 SMP"
    model = ElfObject.read(toy.work / "toy.o")
    reference = KlpReference(".klp.sym.rela.vmlinux.vmlinux.hidden,0", "vmlinux", "vmlinux", "hidden", 0)
    write_klp_relocations(model, [reference])
    return Made(model, target)


def test_a_sound_module_passes(made: Made) -> None:
    made.check()


def _modinfo(old: bytes, new: bytes) -> Callable[[Made], None]:
    def spoil(made: Made) -> None:
        section = next(section for section in made.model.sections if section.name == ".modinfo")
        assert old in section.data
        section.data = bytes(section.data).replace(old, new.ljust(len(old), b"\0"))

    return spoil


def _rename(old: str, new: str) -> Callable[[Made], None]:
    def spoil(made: Made) -> None:
        made.symbol(old).name = new

    return spoil


def _klp_flag(made: Made) -> None:
    for section in made.model.sections:
        for table in section.relocations:
            table.flags &= ~c.SHF_RELA_LIVEPATCH


def _klp_symbol_in_plain_table(made: Made) -> None:
    section = next(section for section in made.model.sections if section.name == ".text.klpp_f")
    plain, klp = section.relocations
    plain.entries.append(klp.entries.pop())


def _plain_symbol_in_klp_table(made: Made) -> None:
    section = next(section for section in made.model.sections if section.name == ".text.klpp_f")
    plain, klp = section.relocations
    klp.entries.append(plain.entries.pop())


def _sympos(made: Made) -> None:
    section = next(section for section in made.model.sections if section.name.startswith(".data.functions_1"))
    data = bytearray(section.data)
    data[16] = 1
    section.data = bytes(data)


def _not_traced(made: Made) -> None:
    address = made.target.vmlinux.address("f")
    made.target.vmlinux.__dict__["ftrace_locations"] = frozenset({address + 4096})


def _freed(made: Made) -> None:
    made.target.vmlinux.in_init = lambda address: True  # type: ignore[method-assign]


def _no_unwind_data(made: Made) -> None:
    table = next(s for s in made.model.sections if s.name == ".orc_unwind_ip").relocations[0]
    table.entries = [e for e in table.entries if e.symbol and e.symbol.section and "glue" in e.symbol.section.name]
    assert len(table.entries) == 1


def _not_exported(made: Made) -> None:
    del made.target.exports()["exported"]  # type: ignore[attr-defined]


def _of_a_module(made: Made) -> None:
    made.target.exports()["exported"] = Export("exported", 0x22, "", True, "fs/ext4/ext4")  # type: ignore[index]


def _namespace(made: Made) -> None:
    made.target.exports()["exported"] = Export("exported", 0x22, "SPACE", True, "vmlinux")  # type: ignore[index]


def _other_checksum(made: Made) -> None:
    made.target.exports()["exported"] = Export("exported", 0x23, "", True, "vmlinux")  # type: ignore[index]


HIDDEN = ".klp.sym.vmlinux.hidden,0"
WRONG: dict[str, tuple[Callable[[Made], None], str]] = {
    "no live patch": (_modinfo(b"livepatch=Y", b"livepatch=N"), "live patch"),
    "needs a module": (_modinfo(b"unused=12", b"depends=a"), "needs other modules"),
    "other kernel": (_modinfo(b"vermagic=6.12 SMP", b"vermagic=6.13 SMP"), "6.13"),
    "absent symbol": (_rename(HIDDEN, ".klp.sym.vmlinux.absent,0"), "0 symbols absent"),
    "position past the last": (_rename(HIDDEN, ".klp.sym.vmlinux.hidden,2"), "position 2"),
    "unreadable name": (_rename(HIDDEN, ".klp.sym.vmlinux.hidden"), "can't read the name"),
    "left undefined": (_rename("exported", "absent"), "left undefined"),
    "no longer exported": (_not_exported, "left undefined"),
    "exported by a module": (_of_a_module, "left undefined"),
    "namespace": (_namespace, "SPACE"),
    "checksum": (_other_checksum, "0x23"),
    "flag lost": (_klp_flag, "name or the flag"),
    "klp symbol in a plain table": (_klp_symbol_in_plain_table, "outside of klp relocations"),
    "plain symbol in a klp table": (_plain_symbol_in_klp_table, "none of live patching's"),
    "registered elsewhere": (_sympos, "not registered"),
    "new function renamed": (_rename("klpp_f", "klpp_g"), "not registered"),
    "not traced": (_not_traced, "no ftrace location"),
    "freed": (_freed, "frees"),
    "no unwind data": (_no_unwind_data, "no unwind data"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_and_the_module_is_not_good(made: Made, name: str) -> None:
    spoil, words = WRONG[name]
    spoil(made)
    with pytest.raises(KlpkitError, match=words) as caught:
        made.check()
    assert caught.value.exit_code in (1, 70)
    assert (caught.value.exit_code == 70) is isinstance(caught.value, BrokenModuleError)


def test_a_name_that_repeats_needs_a_position(made: Made) -> None:
    made.symbol(HIDDEN).name = ".klp.sym.vmlinux.twin,2"
    made.check()
    made.symbol(".klp.sym.vmlinux.twin,2").name = ".klp.sym.vmlinux.twin,0"
    with pytest.raises(BrokenModuleError, match="2 symbols twin"):
        made.check()


def test_klp_names_are_read_as_the_kernel_reads_them() -> None:
    found = klp_symbol(".klp.sym.ext4.f.isra.0,3")
    assert found is not None
    assert (found.object, found.name, found.sympos) == ("ext4", "f.isra.0", 3)
    assert klp_symbol(".klp.sym.ext4.f") is None
    assert klp_symbol(".klp.sym..f,1") is None
