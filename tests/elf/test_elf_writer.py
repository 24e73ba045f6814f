"""What is written reads back the same for readelf, objdump and `ld -r`, and no relocation changes its target."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from elf_samples import SOURCE, assemble, compile_c, compiler, require_shared

from klpkit.elf import ElfFile, ElfObject, ObjGroup, ObjRelocation, ObjSection, ObjSymbol
from klpkit.elf import constants as c
from klpkit.errors import FormatError, UserError

CROSS = {"aarch64": "aarch64-linux-gnu-", "ppc64le": "powerpc64le-linux-gnu-", "s390x": "s390x-linux-gnu-"}


def output(*command: object) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def dump(path: Path) -> str:
    """Everything that binutils prints of an object but the numbers of sections and symbols."""
    text = output("readelf", "-hrunW", path) + output("objdump", "-tsr", path)
    text = re.sub(r"Start of section headers:.*|file offset \S+|at offset 0x[0-9a-f]+", "", text)
    text = re.sub(r"(Number of section headers|Section header string table index):.*", r"\1", text)
    text = re.sub(r"(?m)^([0-9a-f]{16})  [0-9a-f]{8}([0-9a-f]{8})", r"\1 \2", text)
    return "\n".join(sorted(text.replace(str(path), "FILE").splitlines()))


def round_trip(path: Path, folder: Path) -> Path:
    written = folder / "written.o"
    ElfObject.read(path).write(written)
    return written


def meaning(path: Path) -> list[object]:
    """An object's sections, symbols and relocations by content alone, with no number that a writer may choose."""
    elf = ElfFile.open(path)
    names, symbols = elf.sections.names, elf.symbols
    tables = {c.SHT_NULL, c.SHT_SYMTAB, c.SHT_SYMTAB_SHNDX, c.SHT_STRTAB}

    def said(row: int) -> object:
        s = symbols[row]
        where = names[s.section] if s.section > 0 else s.section
        return s.name, s.value, s.size, s.type, s.bind, s.other, where

    found: list[object] = sorted((said(row) for row in range(1, len(symbols))), key=repr)
    for section in elf.sections:
        if section.type in tables:
            continue
        link = names[section.link] if section.flags & c.SHF_LINK_ORDER else ""
        row: list[object] = [section.name, section.type, section.flags, section.align, section.entry_size, link]
        if section.type in (c.SHT_RELA, c.SHT_REL):
            entries = elf.relocations(section.index)
            row += [names[section.info], [(r.offset, r.type, said(r.symbol), r.addend) for r in entries]]
        elif section.type == c.SHT_NOBITS:
            row.append(section.size)
        elif section.type not in (c.SHT_GROUP, c.SHT_LLVM_ADDRSIG):
            row.append(bytes(elf.stored(section.index)))
        found.append(row)
    found += [(said(g.symbol), g.comdat, sorted(names[m] for m in g.members)) for g in elf.groups()]
    return sorted(found, key=repr)


@pytest.mark.parametrize("flags", [(), ("-g",), ("-ffunction-sections", "-fdata-sections"), ("-fcommon", "-O0")])
@pytest.mark.parametrize("cc", ["gcc", "clang-16"])
def test_a_round_trip_prints_the_same(tmp_path: Path, cc: str, flags: tuple[str, ...]) -> None:
    path = compile_c(SOURCE + "int tentative[3];", tmp_path / "a.o", *flags, cc=cc)
    written = round_trip(path, tmp_path)
    assert dump(written) == dump(path)
    assert meaning(written) == meaning(path)


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_relocations_without_addends_survive_a_round_trip(tmp_path: Path, target: str) -> None:
    path = compile_c(SOURCE, tmp_path / "a.o", f"--target={target}", cc="clang-19")
    assert meaning(round_trip(path, tmp_path)) == meaning(path)


@pytest.mark.parametrize("flags", [(), ("-g", "-ffunction-sections")])
def test_the_linker_makes_the_same_of_it(tmp_path: Path, flags: tuple[str, ...]) -> None:
    path = compile_c(SOURCE, tmp_path / "a.o", *flags)
    written = round_trip(path, tmp_path)
    for source in (path, written):
        subprocess.run(["ld", "-r", source, "-o", source.with_suffix(".linked")], check=True)
    assert path.with_suffix(".linked").read_bytes() == written.with_suffix(".linked").read_bytes()


def test_a_program_linked_from_it_runs(tmp_path: Path) -> None:
    source = "int helper(int x); int main(void) { return helper(40); }"
    helper = compile_c("static int two = 2; int helper(int x) { return x + two; }", tmp_path / "h.o")
    written = round_trip(helper, tmp_path)
    program = tmp_path / "program"
    subprocess.run(
        ["gcc", "-x", "c", "-", "-x", "none", written, "-o", program], input=source.encode(), check=True
    )
    assert subprocess.run([program], check=False).returncode == 42


def test_shared_pairs_survive_a_round_trip(tmp_path: Path) -> None:
    for path in require_shared()[::2]:
        written = round_trip(path, tmp_path)
        assert meaning(written) == meaning(path), path


@pytest.mark.parametrize("arch", CROSS)
def test_foreign_linkers_accept_it(tmp_path: Path, arch: str) -> None:
    prefix = CROSS[arch]
    path = compile_c(SOURCE, tmp_path / "a.o", "-g", cc=f"{prefix}gcc")
    written = round_trip(path, tmp_path)
    ld = compiler(f"{prefix}ld")
    for source in (path, written):
        subprocess.run([ld, "-r", source, "-o", source.with_suffix(".linked")], check=True)
    assert meaning(path.with_suffix(".linked")) == meaning(written.with_suffix(".linked"))


def same_named(count: int) -> ElfObject:
    """An object with `count` local functions called `dup`, each one used by the data word of its number."""
    model = ElfObject(machine=c.EM_X86_64)
    text = ObjSection(".text", flags=c.SHF_ALLOC | c.SHF_EXECINSTR, data=b"\xc3" * count, align=16)
    data = ObjSection(".data", flags=c.SHF_ALLOC | c.SHF_WRITE, data=bytes(8 * count), align=8)
    model.sections += [text, data]
    for number in range(count):
        bind = c.STB_GLOBAL if number % 7 == 3 else c.STB_LOCAL
        name = "dup" if bind == c.STB_LOCAL else f"global{number}"
        symbol = ObjSymbol(name, text, number, 1, c.STT_FUNC, bind)
        model.symbols.append(symbol)
        data.relocate().entries.append(ObjRelocation(8 * number, 1, symbol))
    return model


def targets(path: Path) -> list[tuple[int, int]]:
    elf = ElfFile.open(path)
    (data,) = elf.sections.find(".data")
    (table,) = elf.relocations_of(data)
    return sorted((r.offset, int(elf.symbols.value[r.symbol]) + r.addend) for r in table)


def test_relocations_keep_their_targets_among_same_named_symbols(tmp_path: Path) -> None:
    count = 3000
    expected = [(8 * number, number) for number in range(count)]
    model = same_named(count)
    random.Random(5).shuffle(model.symbols)
    random.Random(6).shuffle(model.sections)
    model.write(tmp_path / "one.o")
    again = ElfObject.read(tmp_path / "one.o")
    random.Random(7).shuffle(again.symbols)
    again.write(tmp_path / "two.o")
    subprocess.run(["ld", "-r", tmp_path / "two.o", "-o", tmp_path / "linked.o"], check=True)
    for name in ("one.o", "two.o", "linked.o"):
        assert targets(tmp_path / name) == expected


def test_local_symbols_come_before_the_others(tmp_path: Path) -> None:
    model = same_named(50)
    random.Random(1).shuffle(model.symbols)
    model.write(tmp_path / "a.o")
    symbols = ElfFile.open(tmp_path / "a.o").symbols
    local = [bool(bind == c.STB_LOCAL) for bind in symbols.bind]
    assert local == sorted(local, reverse=True)
    assert symbols.first_global == sum(local)


def test_any_order_of_sections_and_symbols_means_the_same(tmp_path: Path) -> None:
    path = compile_c(SOURCE, tmp_path / "a.o", "-ffunction-sections", "-g")
    for seed in range(5):
        model = ElfObject.read(path)
        shuffle = random.Random(seed).shuffle
        shuffle(model.sections)
        shuffle(model.symbols)
        model.write(tmp_path / "shuffled.o")
        assert meaning(tmp_path / "shuffled.o") == meaning(path)


GROUP = """
.section .text.g,"axG",@progbits,sig,comdat
.weak sig
sig: call other
.section .order,"ao",@progbits,.text.g
.quad 1
.section .text.h,"ax"
.p2align 6
nop
.bss
.p2align 5
.skip 100
"""


def test_groups_link_order_alignment_and_bss_survive(tmp_path: Path) -> None:
    path = assemble(GROUP, tmp_path / "a.o")
    written = round_trip(path, tmp_path)
    assert meaning(written) == meaning(path)
    assert dump(written) == dump(path)
    elf = ElfFile.open(written)
    assert all(s.offset % max(s.align, 1) == 0 for s in elf.sections if s.type != c.SHT_NOBITS)
    first = {elf.sections.type[i]: i for i in reversed(range(len(elf.sections)))}
    assert first[c.SHT_GROUP] < min(member for group in elf.groups() for member in group.members)


def test_new_relocations_of_a_member_join_its_group(tmp_path: Path) -> None:
    model = ElfObject.read(assemble(GROUP.replace("call other", "nop"), tmp_path / "a.o"))
    member = next(section for section in model.sections if section.name == ".text.g")
    symbol = next(symbol for symbol in model.symbols if symbol.name == "sig")
    member.relocate().entries.append(ObjRelocation(0, 2, symbol))
    model.write(tmp_path / "b.o")
    elf = ElfFile.open(tmp_path / "b.o")
    (group,) = elf.groups()
    assert [elf.sections.names[m] for m in group.members] == [".text.g", ".rela.text.g"]


def test_tables_of_address_significant_symbols_follow_their_symbols(tmp_path: Path) -> None:
    path = compile_c(SOURCE + "void *p = entry, *q = soft;", tmp_path / "a.o", "-faddrsig", cc="clang-16")
    model = ElfObject.read(path)
    (table,) = [section for section in model.sections if section.type == c.SHT_LLVM_ADDRSIG]
    assert table.symbols
    wanted = {symbol.name for symbol in table.symbols}
    model.symbols.reverse()
    model.write(tmp_path / "b.o")
    again = next(s for s in ElfObject.read(tmp_path / "b.o").sections if s.type == c.SHT_LLVM_ADDRSIG)
    assert again.symbols is not None
    assert {symbol.name for symbol in again.symbols} == wanted


def test_more_than_65280_sections_are_written(tmp_path: Path) -> None:
    count = 66000
    model = ElfObject(machine=c.EM_X86_64)
    data = ObjSection(".data", flags=c.SHF_ALLOC | c.SHF_WRITE, data=bytes(8 * count), align=8)
    model.sections.append(data)
    for number in range(count):
        text = ObjSection(f".text.f{number}", flags=c.SHF_ALLOC | c.SHF_EXECINSTR, data=b"\xc3")
        symbol = ObjSymbol("f", text, 0, 1, c.STT_FUNC)
        model.sections.append(text)
        model.symbols.append(symbol)
        data.relocate().entries.append(ObjRelocation(8 * number, 1, symbol))
    model.write(tmp_path / "many.o")
    elf = ElfFile.open(tmp_path / "many.o")
    (table,) = elf.relocations_of(elf.sections.find(".data")[0])
    names = elf.sections.names
    assert [names[int(elf.symbols.section[r.symbol])] for r in table] == [f".text.f{n}" for n in range(count)]
    header = output("readelf", "-hW", tmp_path / "many.o")
    assert re.search(rf"Number of section headers: +0 \({len(elf.sections)}\)", header)
    last = output("readelf", "-sW", tmp_path / "many.o").splitlines()[-1].split()
    assert (last[-1], int(last[-2])) == ("f", int(elf.symbols.section[count]))


def stranger(model: ElfObject) -> None:
    model.sections[1].relocate().entries[0].symbol = ObjSymbol("stranger")


def lost_section(model: ElfObject) -> None:
    del model.sections[0]


def twice(model: ElfObject) -> None:
    model.symbols.append(model.symbols[0])


def lost_signature(model: ElfObject) -> None:
    model.groups.append(ObjGroup(ObjSymbol("sig"), [model.sections[0]]))


@pytest.mark.parametrize("damage", [stranger, lost_section, twice, lost_signature])
def test_a_model_that_refers_outside_itself_is_not_written(
    tmp_path: Path, damage: Callable[[ElfObject], None]
) -> None:
    model = same_named(3)
    damage(model)
    with pytest.raises(ValueError, match=r"in the object"):
        model.write(tmp_path / "a.o")
    assert list(tmp_path.glob("*.o")) == []


def test_a_linked_file_is_no_model(tmp_path: Path) -> None:
    program = tmp_path / "program"
    subprocess.run(["gcc", "-x", "c", "-", "-o", program], input=b"int main(void) { return 0; }", check=True)
    with pytest.raises(FormatError, match="not a relocatable"):
        ElfObject.read(program)


def test_an_unwritable_place_is_the_users_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        same_named(1).write(tmp_path / "absent" / "a.o")
    assert list(tmp_path.rglob("*a.o*")) == []
