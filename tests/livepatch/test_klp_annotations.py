"""Both styles of annotation are read as their macros write them, and what can't be read is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from klp_samples import ALLOC_DATA, ARCHES, X86, Arch, Sample

from klpkit.elf import ElfObject, ObjSection, ObjSymbol
from klpkit.elf import constants as c
from klpkit.errors import RefusedError
from klpkit.livepatch.annotations import read_annotations, retire_annotations
from klpkit.livepatch.klprela import KlpReference, write_klp_relocations


def records(sample: Sample, owner: str, *rows: tuple[ObjSymbol, int]) -> ObjSection:
    """A section as `KLP_MODULE_RELOC(owner) relocs[] = { KLP_SYMPOS(…), … }` makes it, with its array's symbol."""
    data = b"".join(bytes(8) + struct.pack(f"{sample.arch.order}I", position) for _, position in rows)
    section = sample.section(f".klp.module_relocs.{owner}", ALLOC_DATA, data)
    sample.symbol("relocs", section, c.STB_LOCAL, c.STT_OBJECT)
    for number, (symbol, _) in enumerate(rows):
        sample.refer(section, 12 * number, symbol, sample.arch.pointer)
    return section


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vmlinux.vmlinux.saved_command_line,0", ("vmlinux", "vmlinux", "saved_command_line", 0)),
        ("kvm_amd.kvm.kvm_read_guest,2", ("kvm_amd", "kvm", "kvm_read_guest", 2)),
        ("ext4.ext4.foo.isra.0,1000", ("ext4", "ext4", "foo.isra.0", 1000)),
        ("nvme-tcp.nvme-tcp.x,18446744073709551615", ("nvme_tcp", "nvme_tcp", "x", 18446744073709551615)),
    ],
)
def test_names_say_everything(name: str, expected: tuple[str, str, str, int]) -> None:
    sample = Sample()
    symbol = sample.symbol(f".klp.sym.rela.{name}")
    assert read_annotations(sample.module) == (KlpReference(symbol.name, *expected),)


@pytest.mark.parametrize(
    "name",
    [
        ".klp.sym.rela.vmlinux.foo,0",
        ".klp.sym.rela.vmlinux.vmlinux.foo",
        ".klp.sym.rela.vmlinux.vmlinux.foo,x",
        ".klp.sym.rela.vmlinux.vmlinux.foo,",
        ".klp.sym.rela.vmlinux.vmlinux.foo,0 ",
        ".klp.sym.vmlinux.foo,0",
    ],
)
def test_names_that_say_less_are_refused(name: str) -> None:
    sample = Sample()
    sample.symbol(name)
    with pytest.raises(RefusedError, match="klp-annotation"):
        read_annotations(sample.module)


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_records_are_read_in_the_byte_order_of_the_module(arch: Arch, tmp_path: Path) -> None:
    sample = Sample(arch)
    first, second = sample.symbol("first"), sample.symbol("second")
    records(sample, "vmlinux", (second, 0), (first, 70000))
    sample.module.write(tmp_path / "patch.ko")
    assert read_annotations(ElfObject.read(tmp_path / "patch.ko")) == (
        KlpReference("second", "vmlinux", "vmlinux", "second", 0),
        KlpReference("first", "vmlinux", "vmlinux", "first", 70000),
    )


def test_records_of_a_module_are_for_its_own_symbols() -> None:
    sample = Sample()
    records(sample, "nvme-tcp", (sample.symbol("queue"), 3))
    assert read_annotations(sample.module) == (KlpReference("queue", "nvme_tcp", "nvme_tcp", "queue", 3),)


def test_records_that_are_broken_are_refused() -> None:
    def broken(change: str) -> Sample:
        sample = Sample()
        section = records(sample, "vmlinux", (sample.symbol("a"), 0), (sample.symbol("b"), 1))
        (table,) = section.relocations
        match change:
            case "cut":
                section.data = section.data[:-4]
            case "no relocation":
                table.entries.pop()
            case "misplaced":
                table.entries[1].offset += 4
            case "doubled":
                table.entries[1].offset = 0
            case "addend":
                table.entries[0].addend = 8
            case "defined":
                table.entries[0].symbol = sample.function
            case "relative":
                table.entries[0].type = 24
            case "narrow":
                table.entries[0].type = 10
        return sample

    for change in ("cut", "no relocation", "misplaced", "doubled", "addend", "defined", "relative", "narrow"):
        with pytest.raises(RefusedError) as error:
            read_annotations(broken(change).module)
        assert (change, error.value.slug) == (change, "klp-annotation")


def test_records_leave_the_module_when_their_symbols_are_converted(tmp_path: Path) -> None:
    sample = Sample()
    symbol = sample.symbol("hidden")
    sample.call(symbol)
    records(sample, "ext4", (symbol, 2))
    write_klp_relocations(sample.module, read_annotations(sample.module))
    retire_annotations(sample.module)
    sample.module.write(tmp_path / "patch.ko")
    module = ElfObject.read(tmp_path / "patch.ko")
    assert [section.name for section in module.sections] == [".text", ".data", ".modinfo"]
    assert [symbol.name for symbol in module.symbols] == ["local_data", "patched", ".klp.sym.ext4.hidden,2"]
    assert read_annotations(module) == ()


def test_records_that_debug_information_describes_stay_but_are_not_loaded(tmp_path: Path) -> None:
    sample = Sample()
    symbol = sample.symbol("hidden")
    section = records(sample, "ext4", (symbol, 2))
    debug = sample.section(".debug_info", 0, bytes(16))
    sample.refer(debug, 0, sample.module.symbols[-1], X86.pointer)
    write_klp_relocations(sample.module, read_annotations(sample.module))
    retire_annotations(sample.module)
    sample.module.write(tmp_path / "patch.ko")
    module = ElfObject.read(tmp_path / "patch.ko")
    (kept,) = (each for each in module.sections if each.name == section.name)
    assert not kept.flags & c.SHF_ALLOC
    assert read_annotations(module) == ()
