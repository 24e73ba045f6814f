"""Conversion as a whole: right or refused, never half, never twice; and no relocation changes its meaning."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from klp_samples import ALLOC_DATA, ARCHES, CALL_OFFSETS, Arch, Sample

from klpkit.elf import ElfObject, ObjSymbol
from klpkit.elf import constants as c
from klpkit.elf.modelread import model_of
from klpkit.elf.reader import ElfFile
from klpkit.errors import RefusedError
from klpkit.livepatch.convert import convert, convert_file
from klpkit.target.model import Export, TargetObject, TargetSymbol

SOURCES = ("drivers/a.c", "fs/b.c", "net/c.c")


class Object(TargetObject):
    """An object with `count` symbols for each name of `counts`, from different source files."""

    def __init__(self, name: str, counts: Mapping[str, int], exports: tuple[str, ...] = ()) -> None:
        self.name = name
        self.counts = counts
        self.exported = exports

    def positions(self, name: str) -> tuple[TargetSymbol, ...]:
        count = self.counts.get(name, 0)
        return tuple(TargetSymbol(name, 4096 + row, 8, "t", SOURCES[row % 3], row) for row in range(count))

    def exports(self) -> Mapping[str, Export]:
        return {name: Export(name, 1, "", False, self.name) for name in self.exported}

    def code(self, symbol: TargetSymbol, size: int | None = None) -> bytes:
        raise NotImplementedError

    def at(self, address: int, section: str = "") -> tuple[TargetSymbol, ...]:
        return ()

    def near(self, address: int, section: str = "") -> TargetSymbol | None:
        return None

    def in_init(self, address: int) -> bool:
        return "freed" in self.counts and self.counts["freed"] == address - 4096 + 1


class Kernel:
    """Symbol data made of `Object`s."""

    def __init__(self, *objects: Object) -> None:
        self.objects = {each.name: each for each in objects}
        self.vmlinux = self.objects["vmlinux"]

    def object(self, name: str) -> TargetObject:
        if name not in self.objects:
            raise RefusedError("no-such-module", f"no module {name}")
        return self.objects[name]

    def modules(self) -> tuple[str, ...]:
        return tuple(sorted(self.objects.keys() - {"vmlinux"}))

    def exports(self) -> Mapping[str, Export]:
        return self.vmlinux.exports()


KERNEL = Kernel(
    Object("vmlinux", {"hidden": 1, "twice": 2, "shared": 1, "many": 1500, "gone.isra.0": 1}, ("_printk",)),
    Object("ext4", {"inner": 1, "shared": 1, "pair": 2}, ("ext4_api",)),
    Object("kvm", {"kvm_only": 1}, ("kvm_api",)),
)


def patch_of(*modules: str, arch: Arch = ARCHES[0], modinfo: bytes = b"livepatch=Y\0") -> Sample:
    """A module that patches vmlinux and `modules`."""
    sample = Sample(arch, modinfo)
    sample.section(
        ".rodata.str1.1", c.SHF_ALLOC | c.SHF_MERGE | c.SHF_STRINGS, b"\0".join(map(str.encode, modules)) + b"\0"
    )
    return sample


def names(sample: Sample) -> list[str]:
    return [symbol.name for symbol in sample.module.symbols]


def refusal(sample: Sample, kernel: Kernel | None = KERNEL) -> RefusedError:
    before = sample.module.to_bytes()
    with pytest.raises(RefusedError) as error:
        convert(sample.module, kernel)
    assert sample.module.to_bytes() == before
    return error.value


def test_an_unannotated_symbol_is_found_where_it_is_alone() -> None:
    sample = patch_of("ext4")
    sample.call(sample.symbol("hidden"))
    sample.point(sample.symbol("inner"))
    done = convert(sample.module, KERNEL)
    assert [(each.reference.klp_symbol, each.reference.applied_with, each.places) for each in done] == [
        (".klp.sym.vmlinux.hidden,0", "vmlinux", {".text": 1}),
        (".klp.sym.ext4.inner,0", "ext4", {".data": 1}),
    ]
    assert [each.found and each.found.source for each in done] == ["drivers/a.c", "drivers/a.c"]
    assert names(sample)[-2:] == [".klp.sym.vmlinux.hidden,0", ".klp.sym.ext4.inner,0"]


def test_exports_weak_symbols_and_what_the_loader_provides_stay_ordinary() -> None:
    sample = patch_of("ext4", modinfo=b"livepatch=Y\0depends=kvm,other\0")
    for name in ("_printk", "kvm_api", "_GLOBAL_OFFSET_TABLE_", ".TOC."):
        sample.call(sample.symbol(name))
    sample.symbol("perhaps", bind=c.STB_WEAK)
    before = sample.module.to_bytes()
    assert convert(sample.module, KERNEL) == ()
    assert sample.module.to_bytes() == before


def test_imports_with_checksums_need_no_symbol_data() -> None:
    sample = patch_of()
    sample.call(sample.symbol("imported"))
    sample.call(sample.symbol(".klp.sym.rela.vmlinux.vmlinux.hidden,0"), 1)
    sample.section("__versions", c.SHF_ALLOC, struct.pack("<Q56s", 7, b"imported"))
    (done,) = convert(sample.module)
    assert (done.reference.name, done.found) == ("hidden", None)


def test_a_symbol_without_a_checksum_needs_symbol_data() -> None:
    sample = patch_of()
    sample.call(sample.symbol("hidden"))
    sample.section("__versions", c.SHF_ALLOC, struct.pack("<Q56s", 7, b"imported"))
    assert refusal(sample, None).slug == "klp-unresolved"
    assert len(convert(sample.module, KERNEL)) == 1


def test_extended_checksums_name_imports_too() -> None:
    sample = patch_of()
    sample.call(sample.symbol("imported"))
    sample.section("__version_ext_names", c.SHF_ALLOC, b"other\0imported\0")
    assert convert(sample.module) == ()


def test_ambiguity_prints_what_can_be_written_with_the_source_files() -> None:
    sample = patch_of("ext4")
    sample.call(sample.symbol("twice"))
    text = str(refusal(sample))
    assert "[klp-ambiguous]" in text
    assert "KLPKIT_RELOC(vmlinux, vmlinux, twice, 1);  /* drivers/a.c */" in text
    assert "KLPKIT_RELOC(vmlinux, vmlinux, twice, 2);  /* fs/b.c */" in text


def test_a_name_in_vmlinux_and_a_patched_module_is_ambiguous() -> None:
    sample = patch_of("ext4")
    sample.call(sample.symbol("shared"))
    text = str(refusal(sample))
    assert "KLPKIT_RELOC(vmlinux, vmlinux, shared, 0);" in text
    assert "KLPKIT_RELOC(ext4, ext4, shared, 0);" in text


def test_a_name_in_a_module_that_is_not_patched_does_not_count() -> None:
    sample = patch_of()
    sample.call(sample.symbol("shared"))
    (done,) = convert(sample.module, KERNEL)
    assert done.reference.symbol_object == "vmlinux"


@pytest.mark.parametrize(
    ("annotation", "slug"),
    [
        ("vmlinux.vmlinux.twice,0", "klp-ambiguous"),
        ("vmlinux.vmlinux.twice,3", "klp-ambiguous"),
        ("vmlinux.vmlinux.hidden,2", "klp-ambiguous"),
        ("vmlinux.vmlinux.absent,0", "klp-unknown-symbol"),
        ("ext4.ext4.absent,0", "klp-unknown-symbol"),
        ("builtin.builtin.hidden,0", "no-such-module"),
        ("kvm.kvm.kvm_only,0", "klp-object-not-patched"),
        ("vmlinux.ext4.inner,0", "klp-module-symbol"),
    ],
)
def test_annotations_that_the_kernel_contradicts_are_refused(annotation: str, slug: str) -> None:
    sample = patch_of("ext4")
    sample.call(sample.symbol(f".klp.sym.rela.{annotation}"))
    assert refusal(sample).slug == slug


@pytest.mark.parametrize(
    "annotation",
    ["vmlinux.vmlinux.twice,2", "vmlinux.vmlinux.hidden,1", "vmlinux.vmlinux.many,1500", "ext4.ext4.pair,1"],
)
def test_right_annotations_are_checked_and_converted(annotation: str) -> None:
    sample = patch_of("ext4")
    sample.call(sample.symbol(f".klp.sym.rela.{annotation}"))
    (done,) = convert(sample.module, KERNEL)
    assert done.found is not None
    assert names(sample)[-1] == f".klp.sym.{annotation.split('.', 1)[1]}"


def test_a_dependency_of_a_patched_module_is_resolved_with_it() -> None:
    sample = patch_of("ext4")
    sample.call(sample.symbol(".klp.sym.rela.ext4.kvm.kvm_only,0"))
    (done,) = convert(sample.module, KERNEL)
    assert done.reference.applied_with == "ext4"


def test_missing_symbols_are_refused_and_clones_of_them_named() -> None:
    sample = patch_of()
    sample.call(sample.symbol("gone"))
    error = refusal(sample)
    assert error.slug == "klp-unresolved"
    assert "gone.isra.0" in error.hint


def test_memory_that_is_freed_after_boot_is_refused() -> None:
    sample = patch_of()
    sample.call(sample.symbol("hidden"))
    kernel = Kernel(Object("vmlinux", {"hidden": 1, "freed": 1}))
    assert refusal(sample, kernel).slug == "klp-init-symbol"


def test_a_module_that_is_no_live_patch_is_refused() -> None:
    sample = patch_of(modinfo=b"license=GPL\0")
    sample.call(sample.symbol("hidden"))
    assert refusal(sample).slug == "not-a-live-patch"


def test_one_bad_reference_leaves_the_others_unconverted() -> None:
    sample = patch_of()
    sample.call(sample.symbol("hidden"))
    sample.refer(sample.data, 0, sample.symbol(".klp.sym.rela.vmlinux.vmlinux.hidden,0"), 9)
    assert refusal(sample).slug == "klp-relocation-kind"


def test_contradicting_records_are_refused() -> None:
    sample = patch_of("ext4")
    symbol = sample.symbol("pair")
    sample.call(symbol)
    section = sample.section(
        ".klp.module_relocs.ext4", ALLOC_DATA, bytes(8) + b"\1\0\0\0" + bytes(8) + b"\2\0\0\0"
    )
    for offset in (0, 12):
        sample.refer(section, offset, symbol, 1)
    assert refusal(sample).slug == "klp-contradiction"


# -- files ------------------------------------------------------------------------------------------------------


def test_in_place_conversion_is_whole_and_happens_once(tmp_path: Path) -> None:
    path = tmp_path / "patch.ko"
    sample = patch_of()
    sample.call(sample.symbol("hidden"))
    sample.module.write(path)
    assert len(convert_file(path, path, KERNEL)) == 1
    once, inode = path.read_bytes(), path.stat().st_ino
    assert convert_file(path, path, KERNEL) == ()
    assert convert_file(path, path) == ()
    assert (path.read_bytes(), path.stat().st_ino) == (once, inode)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["home", "patch.ko"]


def test_another_output_leaves_the_module_alone(tmp_path: Path) -> None:
    path, out = tmp_path / "patch.ko", tmp_path / "out.ko"
    sample = patch_of()
    sample.call(sample.symbol("hidden"))
    sample.module.write(path)
    before = path.read_bytes()
    convert_file(path, out, KERNEL)
    assert path.read_bytes() == before != out.read_bytes()
    assert convert_file(out, tmp_path / "copy.ko") == ()
    assert (tmp_path / "copy.ko").read_bytes() == out.read_bytes()


def test_a_refusal_touches_no_file(tmp_path: Path) -> None:
    path = tmp_path / "patch.ko"
    sample = patch_of()
    sample.call(sample.symbol("twice"))
    sample.module.write(path)
    before = path.read_bytes()
    with pytest.raises(RefusedError):
        convert_file(path, tmp_path / "out.ko", KERNEL)
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["home", "patch.ko"]


def test_a_link_to_the_module_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path, link = tmp_path / "real/patch.ko", tmp_path / "patch.ko"
    sample = patch_of()
    sample.call(sample.symbol("hidden"))
    sample.module.write(path)
    link.symlink_to(path)
    convert_file(link, link, KERNEL)
    assert link.is_symlink()
    assert convert_file(path, path) == ()


def test_a_signed_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "patch.ko"
    sample = patch_of()
    sample.call(sample.symbol("hidden"))
    path.write_bytes(sample.module.to_bytes() + b"~Module signature appended~\n")
    with pytest.raises(RefusedError, match="signed-module"):
        convert_file(path, path, KERNEL)


# -- any module --------------------------------------------------------------------------------------------------

Meaning = Counter[tuple[str, int, int, int, str]]


def meaning(module: ElfObject, resolved: Mapping[str, str]) -> Meaning:
    """Every relocation of loaded sections, with what its symbol stands for."""
    found: Meaning = Counter()
    for section in module.sections:
        for table in section.relocations:
            for entry in table.entries:
                assert entry.symbol is not None
                name = resolved.get(entry.symbol.name, entry.symbol.name)
                found[section.name, entry.offset, entry.type, entry.addend, name] += 1
    return found


UNDEFINED = (
    "_printk",
    "hidden",
    "inner",
    ".klp.sym.rela.vmlinux.vmlinux.twice,2",
    ".klp.sym.rela.ext4.vmlinux.twice,2",
    ".klp.sym.rela.ext4.ext4.pair,1",
    ".klp.sym.rela.ext4.kvm.kvm_only,0",
)
RESOLVED = {
    "hidden": ".klp.sym.vmlinux.hidden,0",
    "inner": ".klp.sym.ext4.inner,0",
    **{name: f".klp.sym.{name.split('.', 5)[5]}" for name in UNDEFINED if name.startswith(".")},
}


@settings(max_examples=50)
@given(
    st.sampled_from(ARCHES),
    st.lists(st.tuples(st.sampled_from(range(len(UNDEFINED) + 2)), st.integers(0, 3), st.integers(-99, 99))),
    st.permutations(UNDEFINED),
)
def test_the_union_of_all_tables_means_the_same_before_and_after(
    arch: Arch, uses: list[tuple[int, int, int]], order: list[str]
) -> None:
    sample = patch_of("ext4", arch=arch)
    symbols: list[ObjSymbol] = [*(sample.symbol(name) for name in order), sample.function, sample.local]
    for number, place, addend in uses:
        if place < 2:
            offset = CALL_OFFSETS[arch.name][place]
            sample.refer(sample.text, offset, symbols[number], arch.call, addend)
        else:
            sample.refer(sample.data, 8 * place, symbols[number], arch.pointer, addend)
    before = meaning(sample.module, RESOLVED)
    convert(sample.module, KERNEL)
    module = model_of(ElfFile(sample.module.to_bytes()))
    assert meaning(module, {}) == before
    for section in module.sections:
        for table in section.relocations:
            klp = bool(table.flags & c.SHF_RELA_LIVEPATCH)
            assert klp == table.name.startswith(".klp.rela.")
            for entry in table.entries:
                assert entry.symbol is not None
                assert klp == (entry.symbol.special == c.SHN_LIVEPATCH and entry.symbol.section is None)
    assert {symbol.name for symbol in module.symbols if symbol.special == c.SHN_UNDEF and not symbol.section} == {
        "_printk"
    }
    assert convert(module, KERNEL) == ()
