"""The reader against pyelftools and readelf, and the shapes of file that are rare."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from elf_samples import SOURCE, assemble, compile_c, require_shared
from elftools.elf.elffile import ELFFile as OracleFile
from elftools.elf.relocation import RelocationSection

from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.errors import EnvironmentLackError, FormatError, RefusedError, UserError


def agrees_with_pyelftools(path: Path) -> None:
    elf = ElfFile.open(path)
    with open(path, "rb") as file:
        oracle = OracleFile(file)
        headers = [
            (s.name, s["sh_flags"], s["sh_offset"], s["sh_size"], s["sh_link"], s["sh_info"], s["sh_addralign"])
            for s in oracle.iter_sections()
        ]
        mine = [(s.name, s.flags, s.offset, s.size, s.link, s.info, s.align) for s in elf.sections]
        assert mine == headers
        table = oracle.get_section_by_name(".symtab")
        assert [(s.name, s.value, s.size) for s in elf.symbols] == [
            (s.name, s["st_value"], s["st_size"]) for s in table.iter_symbols()
        ]
        for index in elf.relocation_sections:
            section = oracle.get_section(index)
            assert isinstance(section, RelocationSection)
            expected = [
                (r["r_offset"], r["r_info_type"], r["r_info_sym"], r["r_addend"] if section.is_RELA() else 0)
                for r in section.iter_relocations()
            ]
            assert [(r.offset, r.type, r.symbol, r.addend) for r in elf.relocations(index)] == expected


@pytest.mark.parametrize("flags", [(), ("-ffunction-sections", "-g"), ("-fPIC",)])
def test_compiled_objects_read_as_pyelftools_reads_them(tmp_path: Path, flags: tuple[str, ...]) -> None:
    agrees_with_pyelftools(compile_c(SOURCE, tmp_path / "a.o", *flags))


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_relocations_without_addends_are_read_in_either_byte_order(tmp_path: Path, target: str) -> None:
    path = compile_c(SOURCE, tmp_path / "a.o", f"--target={target}", "-g", cc="clang-19")
    elf = ElfFile.open(path)
    assert elf.byte_order == {"bpfel": "<", "bpfeb": ">"}[target]
    assert {elf.sections.type[index] for index in elf.relocation_sections} == {c.SHT_REL}
    assert not elf.relocations(elf.relocation_sections[0]).explicit
    agrees_with_pyelftools(path)


def test_shared_pairs_read_as_pyelftools_reads_them() -> None:
    by_size = sorted(require_shared(), key=lambda path: path.stat().st_size)
    seen: dict[str, int] = {}
    for path in by_size:
        seen[path.parent.name] = seen.get(path.parent.name, 0) + 1
        if seen[path.parent.name] <= 4:
            agrees_with_pyelftools(path)
    assert len(seen) >= 5


def test_both_byte_orders_are_read() -> None:
    orders = {path.parent.name: ElfFile.open(path).byte_order for path in require_shared()}
    assert orders["s390x"] == ">"
    assert orders["x86_64"] == "<"


def test_section_numbers_of_symbols_agree_with_readelf(tmp_path: Path) -> None:
    path = compile_c(SOURCE + "int common_one;", tmp_path / "a.o", "-fcommon")
    elf = ElfFile.open(path)
    printed = subprocess.run(["readelf", "-sW", path], check=True, capture_output=True, text=True).stdout
    special = {"UND": 0, "ABS": c.SECTION_ABS, "COM": c.SECTION_COMMON}
    rows = [line.split() for line in printed.splitlines() if line.strip()[:1].isdigit()]
    assert len(rows) == len(elf.symbols)
    for row, fields in enumerate(rows):
        assert elf.symbols.section[row] == (special[fields[6]] if fields[6] in special else int(fields[6]))


def test_executable_and_shared_object_are_read(tmp_path: Path) -> None:
    source = "int f(int x) { return x; } int main(void) { return f(0); }"
    for flags in (["-no-pie"], ["-shared", "-fPIC"]):
        out = tmp_path / "out"
        subprocess.run(["gcc", *flags, "-x", "c", "-", "-o", out], input=source.encode(), check=True)
        elf = ElfFile.open(out)
        assert not elf.relocatable
        assert "f" in elf.symbols.names
        assert any(len(elf.relocations(index)) for index in elf.relocation_sections)


def test_more_than_65280_sections_are_read(tmp_path: Path) -> None:
    count = 66000
    lines = [f'.section .text.f{i},"ax",@progbits\nf{i}:\n ret' for i in range(count)]
    path = assemble("\n".join(lines) + "\n.data\n.quad f65999\n", tmp_path / "many.o")
    elf = ElfFile.open(path)
    assert len(elf.sections) > count
    assert elf.sections.names[-1] == ".shstrtab" or ".shstrtab" in elf.sections.names
    (row,) = elf.symbols.find("f65999")
    assert elf.sections.names[int(elf.symbols.section[row])] == ".text.f65999"
    (data,) = elf.sections.find(".data")
    (relocations,) = elf.relocations_of(data)
    symbol = elf.symbols[relocations[0].symbol]
    assert elf.sections.names[symbol.section] == ".text.f65999"


def test_comdat_groups_are_read(tmp_path: Path) -> None:
    source = '.section .text.g,"axG",@progbits,sig,comdat\n.weak sig\nsig: call other\n'
    elf = ElfFile.open(assemble(source, tmp_path / "a.o"))
    (group,) = elf.groups()
    assert group.comdat
    assert elf.symbols.names[group.symbol] == "sig"
    assert [elf.sections.names[i] for i in group.members] == [".text.g", ".rela.text.g"]


def test_notes_are_read(tmp_path: Path) -> None:
    source = '.section .note.demo,"a",@note\n.long 5, 3, 7\n.asciz "Demo"\n.balign 4\n.byte 1,2,3\n.balign 4\n'
    elf = ElfFile.open(assemble(source, tmp_path / "a.o"))
    assert [(n.name, n.type, n.content) for n in elf.notes() if n.name == "Demo"] == [("Demo", 7, b"\1\2\3")]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """An object, its copy with compressed debug sections, and the number of one that is compressed."""
    folder = tmp_path_factory.mktemp("packed")
    plain = compile_c(SOURCE, folder / "a.o", "-g3")
    copy = folder / "z.o"
    subprocess.run(["objcopy", "--compress-debug-sections=zlib-gabi", plain, copy], check=True)
    sections = ElfFile.open(copy).sections
    return plain, copy, next(s.index for s in sections if s.flags & c.SHF_COMPRESSED)


def test_compressed_sections_are_decompressed(packed: tuple[Path, Path, int]) -> None:
    plain, copy = ElfFile.open(packed[0]), ElfFile.open(packed[1])
    (index,) = plain.sections.find(copy.sections.names[packed[2]])
    assert bytes(copy.content(packed[2])) == bytes(plain.content(index))


def test_zstd_without_its_module_says_what_to_install(
    packed: tuple[Path, Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(packed[1].read_bytes())
    data[ElfFile.open(packed[1]).sections[packed[2]].offset] = c.ELFCOMPRESS_ZSTD
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(EnvironmentLackError, match="zstandard"):
        ElfFile(bytes(data)).content(packed[2])


@pytest.mark.parametrize(("size", "message"), [(1 << 50, "claims"), (7, "another size")])
def test_a_lie_about_the_content_is_refused(packed: tuple[Path, Path, int], size: int, message: str) -> None:
    data = bytearray(packed[1].read_bytes())
    struct.pack_into("<Q", data, ElfFile.open(packed[1]).sections[packed[2]].offset + 8, size)
    with pytest.raises(FormatError, match=message):
        ElfFile(bytes(data)).content(packed[2])


def test_elf32_is_refused_with_its_slug(tmp_path: Path) -> None:
    data = bytearray(compile_c(SOURCE, tmp_path / "a.o").read_bytes())
    data[4] = c.ELFCLASS32
    with pytest.raises(RefusedError) as caught:
        ElfFile(bytes(data))
    assert caught.value.slug == "elf32"


@pytest.mark.parametrize(
    ("data", "what"),
    [(b"", "empty"), (b"BC\xc0\xde1234", "bitcode"), (b"!<arch>\nx", "archive"), (b"hello", "no ELF")],
)
def test_other_files_are_named_for_what_they_are(data: bytes, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        ElfFile(data)


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        ElfFile.open(tmp_path / "absent.o")


def test_a_large_file_is_mapped_and_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = compile_c(SOURCE, tmp_path / "a.o")
    plain = [(s.name, s.value) for s in ElfFile.open(path).symbols]
    monkeypatch.setattr("klpkit.elf.reader.MAP_FROM_BYTES", 0)
    assert [(s.name, s.value) for s in ElfFile.open(path).symbols] == plain


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    path = assemble("caf\udce9: .long 1\n", tmp_path / "a.o")
    names = ElfFile.open(path).symbols.names
    assert b"caf\xe9" in [name.encode("utf-8", "surrogateescape") for name in names]


def test_the_package_face_loads_numpy_only_when_it_is_needed() -> None:
    code = "import sys, klpkit.elf as e; print('numpy' in sys.modules); e.ElfFile; print('numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["False", "True"]
