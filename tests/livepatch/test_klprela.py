"""Klp relocations as the kernel's loader reads them: moved, never doubled, and refused where it could not."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest
from klp_samples import ALLOC_CODE, ARCHES, CALL_OFFSETS, X86, Arch, Sample, address_table

from klpkit.elf import ElfFile, ElfObject
from klpkit.elf import constants as c
from klpkit.elf.arch import architecture
from klpkit.errors import RefusedError
from klpkit.livepatch.klprela import KlpReference, write_klp_relocations

HIDDEN = KlpReference("hidden", "vmlinux", "vmlinux", "hidden", 0)
PPC = ARCHES[2]


def of_module(name: str = "hidden", sympos: int = 0) -> KlpReference:
    return KlpReference(name, "ext4", "ext4", name, sympos)


def meaning(module: ElfObject, names: dict[str, str] | None = None) -> Counter[tuple[object, ...]]:
    """All relocations of all tables: section, offset, kind, addend, and the symbol under its new name."""
    renamed = names or {}
    found: Counter[tuple[object, ...]] = Counter()
    for section in module.sections:
        for table in section.relocations:
            for entry in table.entries:
                name = entry.symbol.name if entry.symbol else ""
                found[section.name, entry.offset, entry.type, entry.addend, renamed.get(name, name)] += 1
    return found


def tables(module: ElfObject, name: str) -> dict[str, list[tuple[int, str]]]:
    """The relocation tables of the section called `name`, with offset and symbol of each entry."""
    (section,) = (section for section in module.sections if section.name == name)
    return {
        table.name: [(entry.offset, entry.symbol.name if entry.symbol else "") for entry in table.entries]
        for table in section.relocations
    }


def reread(module: ElfObject, folder: Path) -> ElfObject:
    module.write(folder / "written.ko")
    return ElfObject.read(folder / "written.ko")


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_calls_and_pointers_move_to_klp_tables_of_their_sections(arch: Arch, tmp_path: Path) -> None:
    sample = Sample(arch)
    hidden, printk = sample.symbol("hidden"), sample.symbol("_printk")
    sample.call(hidden)
    sample.call(printk, 1)
    sample.point(hidden, 8)
    sample.point(sample.function, 16)
    before = meaning(sample.module, {"hidden": ".klp.sym.vmlinux.hidden,0"})
    write_klp_relocations(sample.module, [HIDDEN])
    module = reread(sample.module, tmp_path)
    assert meaning(module) == before
    first, second = CALL_OFFSETS[arch.name]
    assert tables(module, ".text") == {
        ".rela.text": [(second, "_printk")],
        ".klp.rela.vmlinux.text": [(first, ".klp.sym.vmlinux.hidden,0")],
    }
    assert tables(module, ".data") == {
        ".rela.data": [(16, "patched")],
        ".klp.rela.vmlinux.data": [(8, ".klp.sym.vmlinux.hidden,0")],
    }


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_readelf_sees_what_the_kernels_documentation_shows(arch: Arch, tmp_path: Path) -> None:
    sample = Sample(arch)
    sample.call(sample.symbol("hidden"))
    write_klp_relocations(sample.module, [HIDDEN])
    sample.module.write(tmp_path / "patch.ko")
    command = ["readelf", "-rsSW", str(tmp_path / "patch.ko")]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (section,) = (line for line in text.splitlines() if ".klp.rela.vmlinux.text" in line and "RELA" in line)
    kind, _, _, _, entry, flags, link, info, align = section.split("]")[1].split()[1:]
    assert (kind, entry, flags, align) == ("RELA", "18", "AIo", "8")
    elf = ElfFile.open(tmp_path / "patch.ko")
    assert elf.sections.names[int(info)] == ".text"
    assert elf.sections.type[int(link)] == c.SHT_SYMTAB
    (symbol,) = (line for line in text.splitlines() if line.endswith(".klp.sym.vmlinux.hidden,0"))
    assert "GLOBAL DEFAULT OS [0xff20]" in symbol
    addend = f"{'-' if arch.addend < 0 else '+'} {abs(arch.addend)}"
    (relocation,) = (line for line in text.splitlines() if f".klp.sym.vmlinux.hidden,0 {addend}" in line)
    facts = architecture(arch.machine, arch.order)
    assert facts is not None
    assert f" {facts.relocations[arch.call].name} " in relocation


def test_writing_twice_changes_nothing() -> None:
    sample = Sample()
    sample.call(sample.symbol("hidden"))
    write_klp_relocations(sample.module, [HIDDEN])
    once = sample.module.to_bytes()
    write_klp_relocations(sample.module, [HIDDEN])
    assert sample.module.to_bytes() == once


def test_local_symbols_stay_first_and_the_others_keep_their_order(tmp_path: Path) -> None:
    sample = Sample()
    for name in ("alpha", "hidden", "omega"):
        sample.symbol(name)
    before = [symbol.name for symbol in reread(sample.module, tmp_path).symbols]
    write_klp_relocations(sample.module, [HIDDEN])
    after = [symbol.name for symbol in reread(sample.module, tmp_path).symbols]
    assert after == [name.replace("hidden", ".klp.sym.vmlinux.hidden,0") for name in before]
    assert after[0] == "local_data"


def test_symbols_that_become_one_are_merged_everywhere(tmp_path: Path) -> None:
    sample = Sample()
    first, second = sample.symbol(".klp.sym.rela.a.ext4.hidden,2"), sample.symbol(".klp.sym.rela.b.ext4.hidden,2")
    sample.call(first)
    sample.call(second, 1)
    address_table(sample, first, second)
    references = [KlpReference(symbol.name, symbol.name[14], "ext4", "hidden", 2) for symbol in (first, second)]
    write_klp_relocations(sample.module, references)
    module = reread(sample.module, tmp_path)
    assert [symbol.name for symbol in module.symbols if "hidden" in symbol.name] == [".klp.sym.ext4.hidden,2"]
    assert sorted(tables(module, ".text")) == [".klp.rela.a.text", ".klp.rela.b.text", ".rela.text"]


def test_a_symbol_of_vmlinux_is_applied_with_vmlinux_whatever_is_patched() -> None:
    sample = Sample()
    sample.call(sample.symbol("hidden"))
    write_klp_relocations(sample.module, [KlpReference("hidden", "ext4", "vmlinux", "hidden", 0)])
    assert ".klp.rela.vmlinux.text" in tables(sample.module, ".text")


def test_debug_information_keeps_its_ordinary_relocations() -> None:
    sample = Sample()
    debug = sample.section(".debug_info", 0, bytes(16))
    sample.refer(debug, 8, sample.symbol("hidden"), X86.pointer)
    write_klp_relocations(sample.module, [HIDDEN])
    assert tables(sample.module, ".debug_info") == {".rela.debug_info": [(8, ".klp.sym.vmlinux.hidden,0")]}


def test_sections_of_one_name_keep_tables_of_their_own(tmp_path: Path) -> None:
    sample = Sample()
    other = sample.section(".text", ALLOC_CODE, X86.code)
    hidden = sample.symbol("hidden")
    sample.call(hidden)
    sample.refer(other, 1, hidden, X86.call, -4)
    write_klp_relocations(sample.module, [HIDDEN])
    elf = ElfFile.open(_written(sample, tmp_path))
    rows = elf.sections.find(".klp.rela.vmlinux.text")
    assert [elf.sections.names[int(elf.sections.info[row])] for row in rows] == [".text", ".text"]
    assert len({int(elf.sections.info[row]) for row in rows}) == 2


def _written(sample: Sample, folder: Path) -> Path:
    sample.module.write(folder / "sample.ko")
    return folder / "sample.ko"


def test_large_positions_and_dotted_names_are_kept() -> None:
    sample = Sample()
    sample.call(sample.symbol("x"))
    write_klp_relocations(sample.module, [KlpReference("x", "ext4", "ext4", "foo.constprop.0.isra.0", 12345)])
    assert tables(sample.module, ".text")[".klp.rela.ext4.text"] == [
        (1, ".klp.sym.ext4.foo.constprop.0.isra.0,12345")
    ]


@pytest.mark.parametrize(
    ("section", "slug"),
    [
        ("__jump_table", "module-key"),
        (".static_call_sites", "module-key"),
        (".init.text", "init-relocation"),
        (".init.data", "init-relocation"),
        (".altinstr_replacement", "late-relocation"),
        ("__ex_table", "late-relocation"),
        ("some_unknown_table", "late-relocation"),
    ],
)
def test_what_the_kernel_reads_before_a_module_is_there_is_refused_for_modules_only(
    section: str, slug: str
) -> None:
    for reference, refused in ((of_module(), True), (HIDDEN, False)):
        sample = Sample()
        table = sample.section(section, c.SHF_ALLOC, bytes(16))
        sample.call(sample.symbol("hidden"))
        sample.refer(table, 8, sample.module.symbols[-1], X86.pointer)
        before = sample.module.to_bytes()
        if refused:
            with pytest.raises(RefusedError) as error:
                write_klp_relocations(sample.module, [reference])
            assert error.value.slug == slug
            assert sample.module.to_bytes() == before
        else:
            write_klp_relocations(sample.module, [reference])
            assert len(tables(sample.module, section)[f".klp.rela.vmlinux.{section.removeprefix('.')}"]) == 1


@pytest.mark.parametrize(
    ("reference", "slug"),
    [
        (KlpReference("hidden", "vmlinux", "vmlinux", "a,b", 0), "klp-name"),
        (KlpReference("hidden", "vmlinux", "vmlinux", "", 0), "klp-name"),
        (KlpReference("hidden", "vmlinux", "vmlinux", "n" * 512, 0), "klp-name"),
        (KlpReference("hidden", "vmlinux", "vmlinux", "name", -1), "klp-name"),
        (KlpReference("hidden", "nvme-tcp", "nvme-tcp", "name", 0), "klp-name"),
        (KlpReference("hidden", "a.b", "a.b", "name", 0), "klp-name"),
        (KlpReference("hidden", "m" * 56, "m" * 56, "name", 0), "klp-name"),
        (KlpReference("hidden", "vmlinux", "ext4", "name", 0), "klp-module-symbol"),
        (KlpReference("gone", "vmlinux", "vmlinux", "gone", 0), "klp-symbol-missing"),
        (KlpReference("patched", "vmlinux", "vmlinux", "patched", 0), "klp-symbol-missing"),
    ],
)
def test_references_that_the_kernel_could_not_resolve_are_refused(reference: KlpReference, slug: str) -> None:
    sample = Sample()
    sample.call(sample.symbol("hidden"))
    with pytest.raises(RefusedError) as error:
        write_klp_relocations(sample.module, [reference])
    assert error.value.slug == slug


def test_one_symbol_can_not_stand_for_two() -> None:
    sample = Sample()
    sample.call(sample.symbol("hidden"))
    with pytest.raises(RefusedError, match="klp-contradiction"):
        write_klp_relocations(sample.module, [HIDDEN, of_module()])


def test_kinds_that_the_loader_does_not_apply_are_refused() -> None:
    sample = Sample()
    sample.refer(sample.text, 1, sample.symbol("hidden"), 9, -4)
    with pytest.raises(RefusedError, match=r"R_X86_64_GOTPCREL.*\n?.*") as error:
        write_klp_relocations(sample.module, [HIDDEN])
    assert error.value.slug == "klp-relocation-kind"


def test_ppc_data_beyond_the_reach_of_the_toc_is_refused() -> None:
    sample = Sample(PPC)
    sample.refer(sample.text, 0, sample.symbol("hidden"), 50)
    with pytest.raises(RefusedError, match="klp-relocation-kind"):
        write_klp_relocations(sample.module, [HIDDEN])


def test_ppc_jumps_that_can_not_restore_the_toc_are_refused() -> None:
    sample = Sample(PPC)
    sample.text.data = bytes.fromhex("00000048") + bytes(sample.text.data[4:])
    sample.call(sample.symbol("hidden"))
    with pytest.raises(RefusedError, match="sibling-call"):
        write_klp_relocations(sample.module, [HIDDEN])


def test_tables_without_addends_are_refused() -> None:
    sample = Sample()
    sample.call(sample.symbol("hidden"))
    sample.text.relocations[0].explicit = False
    with pytest.raises(RefusedError, match="klp-relocation-kind"):
        write_klp_relocations(sample.module, [HIDDEN])


@pytest.mark.parametrize(("section", "late"), [(".rodata", True), (".data..ro_after_init", True), (".toc", False)])
def test_ppc_read_only_data_can_not_wait_for_a_module(section: str, late: bool) -> None:
    for arch, refused in ((PPC, late), (X86, False)):
        sample = Sample(arch)
        flags = c.SHF_ALLOC if section == ".rodata" else c.SHF_ALLOC | c.SHF_WRITE
        sample.refer(sample.section(section, flags, bytes(8)), 0, sample.symbol("hidden"), arch.pointer)
        if refused:
            with pytest.raises(RefusedError, match="late-relocation"):
                write_klp_relocations(sample.module, [of_module()])
        else:
            write_klp_relocations(sample.module, [of_module()])
            assert f".klp.rela.ext4{section}" in tables(sample.module, section)
