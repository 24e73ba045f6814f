"""Branches by opcode: every form of every architecture, assembled and found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from elf_samples import assemble
from hypothesis import given
from hypothesis import strategies as st

from klpkit.elf import ElfFile
from klpkit.elf.arch import architecture, named
from klpkit.elf.branches import branches_to
from klpkit.records.lightelf import branches

# Local labels in one section: what follows is resolved by the assembler and leaves no relocation.
FORMS = {
    "x86_64": ("gcc", (), "call T\njmp T\nje T\njmp N\njne N\nlea T(%rip),%rax\nloop N\n"),
    "aarch64": (
        "aarch64-linux-gnu-gcc",
        (),
        "bl T\nb T\nb.eq T\ncbz x0,T\ncbnz w1,T\ntbz x2,#3,T\ntbnz x2,#40,T\nadr x3,T\n",
    ),
    "ppc64le": ("powerpc64le-linux-gnu-gcc", (), "bl T\nb T\nbeq T\nbnel T\n"),
    "s390x": ("s390x-linux-gnu-gcc", (), "brasl %r14,T\njg T\nje T\nbras %r14,T\nlarl %r1,T\nj T\njgne T\n"),
    "loongarch64": (
        "clang-19",
        ("--target=loongarch64-linux-gnu", "-mno-relax"),
        "bl T\nb T\nbeq $a0,$a1,T\nbne $a0,$a1,T\nbgeu $a0,$a1,T\nbeqz $a0,T\nbnez $a0,T\npcaddi $a0,16\n",
    ),
}


@pytest.mark.parametrize("arch", FORMS)
@pytest.mark.parametrize("backwards", [True, False])
def test_every_form_is_found(tmp_path: Path, arch: str, backwards: bool) -> None:
    cc, flags, forms = FORMS[arch]
    nop = "nopr %r0" if arch == "s390x" else "nop"
    target = f"T: N: {nop}\n{nop}\n{nop}\n{nop}\n"
    if arch == "loongarch64" and not backwards:
        forms = forms.replace("pcaddi $a0,16\n", "pcaddi $a0,1\n")
    elif arch == "loongarch64":
        forms = forms.replace("pcaddi $a0,16\n", "pcaddi $a0,-11\n")
    source = f".text\n{target}{forms}" if backwards else f".text\n{forms}{target}"
    elf = ElfFile.open(assemble(source, tmp_path / "a.o", *flags, cc=cc))
    facts = architecture(elf.machine, elf.byte_order)
    assert facts is named(arch)
    (text,) = elf.sections.find(".text")
    goal = int(elf.symbols.value[elf.symbols.find("T")[0]])
    assert not [row for table in elf.relocations_of(text) for row in table]
    sites, goals = branches_to(elf.content(text), np.array([goal]), facts)
    assert len(set(sites.tolist())) >= len(forms.splitlines())
    assert set(goals.tolist()) == {goal}
    assert branches(bytes(elf.content(text)), facts, {goal: []}, set()) == sorted(
        zip(sites.tolist(), goals.tolist(), strict=True)
    )


@pytest.mark.parametrize("arch", FORMS)
@given(st.binary(max_size=200), st.sets(st.integers(-20, 220), max_size=30), st.sets(st.integers(0, 200)))
def test_both_scanners_agree_on_any_bytes(arch: str, code: bytes, goals: set[int], resolved: set[int]) -> None:
    facts = named(arch)
    sites, found = branches_to(
        code, np.array(sorted(goals), np.int64), facts, np.array(sorted(resolved), np.int64)
    )
    plain = branches(code, facts, {goal: [] for goal in goals}, resolved)
    assert sorted(zip(sites.tolist(), found.tolist(), strict=True)) == plain


def test_a_second_entry_is_known_on_ppc64le() -> None:
    assert named("ppc64le").entries(0x100, 3 << 5) == (0x100, 0x108)
    assert named("ppc64le").entries(0x100, 1 << 5) == (0x100,)
    assert named("x86_64").entries(0x100, 3 << 5) == (0x100,)


def test_machines_without_a_table_are_none() -> None:
    assert architecture(40, "<") is None
    assert architecture(21, ">") is None
    with pytest.raises(KeyError):
        named("vax")
