"""Effects from objects against objdump's idea of who calls a clone, and the light reader against the full one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from klpkit.errors import FormatError, RefusedError
from klpkit.records.lightelf import read_light
from klpkit.records.objects import read_object

SHARED = Path(__file__).parents[3] / "shared" / "objs"

SOURCE = """
struct s { int a, b, c[100]; };
extern int other(int); extern void fail(void) __attribute__((cold, noreturn));
static __attribute__((noinline)) int sra(struct s *p, int unused) { return p->a * 3 + other(p->b); }
static __attribute__((noinline)) int prop(int x, int k) { while (k--) x = other(x) ^ k; return x; }
int one(struct s *p) { return sra(p, 1) + 7; }
int two(struct s *p) { if (p->a == 77) fail(); return sra(p, 2) + sra(p + 1, 3); }
int tail(struct s *p) { return sra(p, 9); }
int three(int x) { return prop(x, 9) + 1; }
int four(int x) { return prop(x + 3, 9); }
int maybe(struct s *p) { return p ? sra(p, 4) : 0; }
int alone(int x) { return other(x) + 1; }
static __attribute__((noinline)) int same_a(int x) { return other(x) * 19 + 4; }
static __attribute__((noinline)) int same_b(int x) { return other(x) * 19 + 4; }
int use_a(int x) { return same_a(x) + 1; }
int use_b(int x) { return same_b(x) + 2; }
"""

CROSS = {
    "x86_64": ("gcc", "objdump"),
    "aarch64": ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-objdump"),
    "ppc64le": ("powerpc64le-linux-gnu-gcc", "powerpc64le-linux-gnu-objdump"),
    "s390x": ("s390x-linux-gnu-gcc", "s390x-linux-gnu-objdump"),
}


def build(arch: str, output: Path, *flags: str, source: str = SOURCE) -> Path:
    cc = CROSS[arch][0]
    if not shutil.which(cc):
        pytest.skip(f"{cc} is not installed")
    command = [cc, "-O2", "-fno-partial-inlining", *flags, "-c", "-x", "c", "-", "-o", str(output)]
    subprocess.run(command, input=source.encode(), check=True)
    return output


def callers_seen_by_objdump(arch: str, path: Path) -> set[tuple[str, str]]:
    """(clone, function with an instruction or relocation that names it), read off a disassembly."""
    text = subprocess.run([CROSS[arch][1], "-dr", path], check=True, capture_output=True, text=True).stdout
    symbol, starts = "", section_starts(arch, path)
    found: set[tuple[str, str]] = set()
    for line in text.splitlines():
        if header := re.fullmatch(r"[0-9a-f]+ <(.*)>:", line):
            symbol = header[1]
        elif target := re.search(r"<([\w.]+\.(?:isra|constprop)\.\d+)>", line):
            found.add((target[1], symbol))
        elif target := re.search(r"R_\w+\s+(\.text\S*?)([+-]0x[0-9a-f]+)?$", line):
            addend = int(target[2] or "0", 16) + {"x86_64": 4, "s390x": -2}.get(arch, 0)
            if name := starts.get((target[1], addend)):
                found.add((name, symbol))
        elif target := re.search(r"R_\w+\s+([\w.]+\.(?:isra|constprop)\.\d+)", line):
            found.add((target[1], symbol))
    return {(clone, user) for clone, user in found if clone != user}


def section_starts(arch: str, path: Path) -> dict[tuple[str, int], str]:
    lines = subprocess.run([CROSS[arch][1], "-t", path], check=True, capture_output=True, text=True).stdout
    fields = [line.split() for line in lines.splitlines() if re.search(r"\.(isra|constprop)\.\d+$", line)]
    return {(f[-3], int(f[0], 16)): f[-1] for f in fields if "F" in f}


def effects_of(path: Path) -> set[tuple[str, str, str]]:
    return {(e.body.symbol, e.user.symbol, e.cause) for e in read_object(path).effects()}


@pytest.mark.parametrize("flags", [(), ("-ffunction-sections",), ("-g",), ("-O3",), ("-Os",)], ids=" ".join)
@pytest.mark.parametrize("arch", CROSS)
def test_callers_of_clones_are_those_that_objdump_shows(tmp_path: Path, arch: str, flags: tuple[str, ...]) -> None:
    path = build(arch, tmp_path / "a.o", *flags)
    mine = {(body, user) for body, user, cause in effects_of(path) if cause == "calls-clone"}
    assert mine == callers_seen_by_objdump(arch, path)
    assert flags != () or ("sra.constprop.0.isra.0", "maybe") in mine


@pytest.mark.parametrize("arch", CROSS)
def test_a_local_call_without_a_relocation_is_found(tmp_path: Path, arch: str) -> None:
    path = build(arch, tmp_path / "a.o")
    found = effects_of(path)
    assert ("sra.constprop.0.isra.0", "one", "calls-clone") in found
    assert ("sra.constprop.0.isra.0", "tail", "calls-clone") in found
    assert ("sra", "sra.constprop.0.isra.0", "isra") in found
    assert not any(user == "alone" for _, user, _ in found)


def test_folded_functions_depend_on_each_other(tmp_path: Path) -> None:
    found = effects_of(build("x86_64", tmp_path / "a.o", "-fno-inline"))
    assert {("same_a", "same_b", "icf"), ("same_b", "same_a", "icf")} <= found


COLD = """
.text
.type sra.isra.0,@function
sra.isra.0: ret
.size sra.isra.0,.-sra.isra.0
.globl chilly
.type chilly,@function
chilly: je chilly.cold
.Lback: ret
.size chilly,.-chilly
.section .text.unlikely,"ax"
.type chilly.cold,@function
chilly.cold: call sra.isra.0
 jmp .Lback
.size chilly.cold,.-chilly.cold
"""


def test_a_cold_part_is_no_caller_of_its_function_but_its_callees_are_the_functions(tmp_path: Path) -> None:
    path = assembled(COLD, tmp_path)
    assert effects_of(path) == {
        ("sra", "sra.isra.0", "isra"),
        ("chilly", "chilly.cold", "cold"),
        ("sra.isra.0", "chilly.cold", "calls-clone"),
        ("sra.isra.0", "chilly", "calls-clone"),
    }
    readers_agree(path)


def assembled(source: str, folder: Path) -> Path:
    path = folder / "assembled.o"
    subprocess.run(["gcc", "-c", "-x", "assembler", "-", "-o", path], input=source.encode(), check=True)
    return path


def test_callers_are_found_in_a_linked_image(tmp_path: Path) -> None:
    path = build("x86_64", tmp_path / "a.o", "-fPIC")
    image = tmp_path / "a.so"
    subprocess.run(["gcc", "-shared", "-nostdlib", path, "-o", image], check=True)
    calls = {effect for effect in effects_of(path) if effect[2] == "calls-clone"}
    assert calls
    assert calls <= effects_of(image)


@pytest.mark.parametrize("flags", [(), ("-ffunction-sections", "-g"), ("-O3",)], ids=" ".join)
@pytest.mark.parametrize("arch", CROSS)
def test_both_readers_agree_on_compiled_objects(tmp_path: Path, arch: str, flags: tuple[str, ...]) -> None:
    readers_agree(build(arch, tmp_path / "a.o", *flags))


def test_both_readers_agree_on_the_shared_objects() -> None:
    paths = sorted(SHARED.glob("*/*.original.o"))
    if not paths:
        pytest.skip(f"no object pairs in {SHARED}")
    found = [readers_agree(path) for path in paths]
    assert sum(found) > 200


def readers_agree(path: Path) -> int:
    table = read_object(path)
    light = read_light(path.read_bytes(), path)
    full = {(e.body.symbol, e.user.symbol, e.cause) for e in table.effects()}
    assert set(light.effects) == full
    assert [f"{path}: {warning}" for warning in light.warnings] == table.warnings
    assert {name for name, _ in light.functions} <= {table.function(i).symbol for i in range(table.function_count)}
    return len(full)


def test_a_clone_kept_in_data_is_a_warning(tmp_path: Path) -> None:
    source = ".text\n.type f.isra.0,@function\nf.isra.0: ret\n.size f.isra.0,1\n.data\n.quad f.isra.0\n"
    path = assembled(source, tmp_path)
    (warning,) = read_object(path).warnings
    assert "f.isra.0 is kept in data, at .data+0x0" in warning
    readers_agree(path)


def test_a_clone_whose_parent_has_no_symbol_still_has_it(tmp_path: Path) -> None:
    source = ".type g.part.0.isra.0,@function\ng.part.0.isra.0: ret\n.size g.part.0.isra.0,1\n"
    path = assembled(source, tmp_path)
    assert effects_of(path) == {("g", "g.part.0.isra.0", "isra")}


def test_prefix_symbols_are_no_functions(tmp_path: Path) -> None:
    labels = ("__pfx_f", "f", "__pfx_lone")
    source = "".join(f".type {label},@function\n{label}: ret\n" for label in labels)
    path = assembled(source, tmp_path)
    table = read_object(path)
    assert {table.function(i).symbol for i in range(table.function_count)} == {"f", "__pfx_lone"}
    readers_agree(path)


def test_intermediate_code_is_refused(tmp_path: Path) -> None:
    path = build("x86_64", tmp_path / "a.o", "-flto", "-fno-fat-lto-objects")
    with pytest.raises(RefusedError) as caught:
        read_object(path)
    assert caught.value.slug == "lto-object"
    assert read_light(path.read_bytes()).lto
    fat = build("x86_64", tmp_path / "fat.o", "-flto", "-ffat-lto-objects")
    assert ("sra", "sra.constprop.0.isra.0", "isra") in effects_of(fat)


@pytest.mark.parametrize("keep", [0, 10, 64, 500, 2000])
def test_a_cut_object_is_an_error_of_the_light_reader_too(tmp_path: Path, keep: int) -> None:
    data = build("x86_64", tmp_path / "a.o").read_bytes()
    with pytest.raises(FormatError, match=r"cut\.o"):
        read_light(data[:keep], "cut.o")
