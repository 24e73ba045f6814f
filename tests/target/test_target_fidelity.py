"""Recompiled units against a shipped kernel: equal where they are, and no difference is missed."""

from __future__ import annotations

from pathlib import Path

import pytest
from fidelity_samples import ONE, SOURCES, THREE, TWO, Kernel, make_kernel, make_module
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from target_samples import compile_units, link

from klpkit.elf import ElfFile
from klpkit.target.fidelity import Fidelity, Verdict
from klpkit.target.module import Module
from klpkit.target.shipped import InModule, Linked


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    return make_kernel(tmp_path_factory.mktemp("kernel"))


def odd(answer: Fidelity) -> dict[str, str]:
    """The functions that are not equal, with what they are."""
    return {f.name: str(f.verdict) for f in answer.functions if f.verdict is not Verdict.EQUAL}


def recompiled(folder: Path, text: str, *flags: str) -> Path:
    return compile_units(folder, flags, unit=text)["unit"]


@pytest.mark.parametrize("sizes", [True, False])
@pytest.mark.parametrize("unit", [*SOURCES, *(f"{name}/sections" for name in SOURCES)])
def test_what_is_shipped_is_recognised(kernel: Kernel, unit: str, sizes: bool) -> None:
    answer = kernel.check(unit, kernel.shipped(sizes=sizes))
    assert odd(answer) == ({"soft": "overridden"} if unit.startswith("one") else {})
    assert answer.faithful
    assert answer.first is None


def test_functions_of_one_name_are_told_apart_by_their_unit(kernel: Kernel) -> None:
    found = [
        f.symbol.source
        for unit in ("one", "two")
        for f in kernel.check(unit).functions
        if f.name == "helper" and f.symbol
    ]
    assert found == ["one.c", "two.c"]


def test_each_unit_finds_its_own_data(kernel: Kernel) -> None:
    one = kernel.check("one").shipped_symbol(".bss", "state", 4)
    one = one or kernel.check("one").shipped_symbol(".bss", "state", 0)
    two = kernel.check("two").shipped_symbol(".data", "state", 0)
    assert one is not None
    assert two is not None
    assert (one.source, two.source) == ("one.c", "two.c")


@pytest.mark.parametrize(
    ("before", "after", "function"),
    [
        ("x ^ 0x55", "x ^ 0x56", "last"),
        ("*size = 42", "*size = 41", "name_one"),
        ('"unit " text', '"unix " text', "text_of"),
        ("count * other(x)", "count * outside(x)", "tally"),
        ("count += x; return count", "state += x; return state", "tally"),
        ("if (x > 3)", "if (x > 4)", "tail"),
        ("return last(x + 1)", "return soft(x + 1)", "tail"),
        ("return x < 0 ?", "return x >= 0 ?", "tail"),
        ("x - 1", "x - 1", ""),
    ],
)
@pytest.mark.parametrize("flags", ["", "-ffunction-sections -fdata-sections"])
def test_an_edited_function_is_named(
    kernel: Kernel, tmp_path: Path, before: str, after: str, function: str, flags: str
) -> None:
    assert before in ONE
    answer = kernel.check(recompiled(tmp_path, ONE.replace(before, after), *flags.split()))
    assert odd(answer) == ({function: "differs"} if function else {}) | {"soft": "overridden"}
    assert answer.faithful is not bool(function)


@pytest.mark.parametrize("flags", ["", "-fdata-sections"])
@pytest.mark.parametrize(
    ("text", "before", "after", "name"),
    [(ONE, "{3, 1, 4, 1, 5,", "{3, 1, 4, 1, 7,", "table"), (TWO, "state = 5", "state = 6", "state")],
)
def test_changed_contents_of_data_are_noticed(
    kernel: Kernel, tmp_path: Path, text: str, before: str, after: str, name: str, flags: str
) -> None:
    assert text.count(before) == 1
    answer = kernel.check(recompiled(tmp_path, text.replace(before, after), *flags.split()))
    assert [each.name for each in answer.data if each.verdict is not Verdict.EQUAL] == [name]
    assert answer.first is not None
    assert answer.first.name == name


def test_callers_of_a_function_that_grew_are_equal(kernel: Kernel, tmp_path: Path) -> None:
    grown = ONE.replace("return outside(x) + state++", "return outside(x * 3) / 7 + (state++ ^ x)")
    answer = kernel.check(recompiled(tmp_path, grown))
    # `name_one` jumps to a function whose name another unit has too: that stays doubtful.
    assert odd(answer) == {"soft": "overridden", "helper": "differs", "name_one": "differs"}
    assert answer.first is not None
    assert answer.first.name == "helper"


def test_the_first_difference_has_its_place(kernel: Kernel, tmp_path: Path) -> None:
    bad = kernel.check(recompiled(tmp_path, ONE.replace("x ^ 0x55", "x ^ 0x56"))).first
    assert bad is not None
    assert bad.difference is not None
    at = bad.difference.offset
    assert (bad.original[at], bad.shipped[at]) == (0x56, 0x55)


def test_a_reference_to_another_string_is_told_by_content(kernel: Kernel, tmp_path: Path) -> None:
    bad = kernel.check(recompiled(tmp_path, ONE.replace('note("one")', 'note("two")'))).first
    assert bad is not None
    assert bad.name == "text_of"
    assert bad.difference is not None
    assert "refers to" in bad.difference.why


def test_a_new_function_is_absent(kernel: Kernel, tmp_path: Path) -> None:
    answer = kernel.check(recompiled(tmp_path, TWO + "int fresh(int x) { return x / 3; }\n"))
    assert odd(answer) == {"fresh": "absent"}
    assert not answer.faithful


@pytest.mark.parametrize("flag", ["-O1", "-Os", "-fno-omit-frame-pointer", "-DEXTRA -fcf-protection=branch"])
def test_other_flags_are_noticed(kernel: Kernel, tmp_path: Path, flag: str) -> None:
    assert not kernel.check(recompiled(tmp_path, ONE, *flag.split())).faithful


def test_a_longer_shipped_function_is_noticed_without_sizes(kernel: Kernel, tmp_path: Path) -> None:
    # The original ends where the shipped one goes on: `last` without its last instruction would be a prefix.
    shipped = kernel.shipped(sizes=False)
    assert isinstance(shipped, Linked)
    content = bytearray(kernel.path.read_bytes())
    (last,) = shipped.named("last")
    extent = next(f for f in kernel.check("one").functions if f.name == "last")
    content[kernel.file_place(last[0][1]) + extent.size] ^= 0xFF
    answer = kernel.check("one", kernel.shipped(sizes=False, content=bytes(content)))
    room, exact = shipped.room(last[0])
    if room == extent.size:
        pytest.skip("this linker leaves no padding after it")
    assert not exact
    assert odd(answer) == {"soft": "overridden", "last": "differs"}


def test_a_jump_label_without_the_flag_must_stay_a_jump(kernel: Kernel, tmp_path: Path) -> None:
    answer = kernel.check(recompiled(tmp_path, THREE.replace("FLAG", "0")))
    assert odd(answer) == {"jumpy": "differs"}


def test_a_no_op_that_the_image_does_not_list_is_noticed(kernel: Kernel) -> None:
    shipped = kernel.shipped()
    assert isinstance(shipped, Linked)
    assert len(shipped.jump_sites) == 1
    shipped.__dict__["jump_sites"] = frozenset()
    assert odd(kernel.check("three", shipped)) == {"jumpy": "differs"}


@settings(max_examples=60)
@given(data=st.data())
def test_no_changed_byte_of_shipped_code_is_missed(kernel: Kernel, data: st.DataObject) -> None:
    unit = data.draw(st.sampled_from(sorted(kernel.units)))
    functions = [f for f in kernel.check(unit).functions if f.symbol]
    function = data.draw(st.sampled_from(functions))
    assert function.symbol is not None
    offset = data.draw(st.integers(0, function.size - 1))
    content = bytearray(kernel.path.read_bytes())
    assume(offset < (function.symbol.size or 0))
    content[kernel.file_place(function.symbol.address) + offset] ^= data.draw(st.integers(1, 255))
    answer = kernel.check(unit, kernel.shipped(sizes=data.draw(st.booleans()), content=bytes(content)))
    assert function.name in odd(answer)


def test_a_module_is_compared_by_its_relocations(tmp_path: Path) -> None:
    shipped, units = make_module(tmp_path)
    kernel = Kernel(tmp_path, units)
    assert odd(kernel.check("one", shipped)) == {"soft": "overridden"}
    assert odd(kernel.check("two", shipped)) == {}
    for before, after, function in (
        ("count * other(x)", "count * outside(x)", "tally"),
        ("count += x; return count", "state += x; return state", "tally"),
        ('"unit " text', '"unix " text', "text_of"),
        ("x ^ 0x55", "x ^ 0x56", "last"),
    ):
        answer = kernel.check(recompiled(tmp_path, ONE.replace(before, after)), shipped)
        assert odd(answer) == {"soft": "overridden", function: "differs"}


def test_a_call_is_one_whether_the_assembler_knew_the_callee_or_not(tmp_path: Path) -> None:
    # PC32 to a local symbol of another section, PLT32 to one that it does not know.
    callee = "__attribute__((noinline)) static int callee(int x) { return x * outside(x); }\n"
    other = "__attribute__((noinline)) static int another(int x) { return x - outside(x); }\n"
    user = "int caller(int x) { return callee(x) + 1; } int user(int x) { return another(x) * 3; }\n"
    outside = "int outside(int);\n"
    folder = tmp_path / "shipped"
    folder.mkdir()
    units = compile_units(folder, ("-ffunction-sections",), unit=outside + callee + other + user)
    elf = ElfFile.open(units["unit"])
    code = [table for index in elf.sections.executable for table in elf.relocations_of(index)]
    assert {entry.type for table in code for entry in table} >= {2, 4}
    shipped = InModule(Module.read(link(folder / "toy.ko", list(units.values()), relocatable=True)))
    text = f"{outside}int callee(int), another(int);\n{user}"
    right = recompiled(tmp_path, text, "-ffunction-sections")
    assert odd(Kernel(tmp_path, {}).check(right, shipped)) == {}
    wrong = recompiled(tmp_path, text.replace("another(x) * 3", "callee(x) * 3"), "-ffunction-sections")
    assert odd(Kernel(tmp_path, {}).check(wrong, shipped)) == {"user": "differs"}


def test_a_kernel_that_lists_no_data_is_checked_for_one_place(tmp_path: Path) -> None:
    text = (
        "extern int shared; int get(void) { return shared; } void put(int x) { shared = x; }"
        "static int own; int own_get(void) { return own; } void own_put(int x) { own = x; }"
    )
    folder = tmp_path / "shipped"
    folder.mkdir()
    units = compile_units(folder, unit=text, data="int other, shared;")
    small = Kernel(link(folder / "vmlinux", list(units.values())), units)
    shipped = small.shipped()
    assert isinstance(shipped, Linked)
    vmlinux = shipped._vmlinux
    code = [row for row, kind in enumerate(vmlinux.columns.kinds) if kind in "tT"]
    columns = vmlinux.columns
    vmlinux.columns = type(columns)(
        columns.addresses[code], "".join(columns.kinds[r] for r in code), [columns.names[r] for r in code]
    )
    assert odd(small.check("unit", shipped)) == {}
    changed = text.replace("{ shared = x", "{ extern int other; other = x")
    assert odd(small.check(recompiled(tmp_path, changed), shipped)) == {"put": "differs"}
