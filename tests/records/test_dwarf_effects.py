"""Inlining read from DWARF, against what pyelftools finds by walking every entry."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

from klpkit.records import _dwarfwalk
from klpkit.records.dwarf import read_dwarf, scan_dwarf
from klpkit.records.model import Effect, EffectTable

C_SOURCE = """
#include "helpers.h"
int g, h;
static inline __attribute__((always_inline)) int leaf(int x) { g += x; return x * g + 3; }
static inline __attribute__((always_inline)) int middle(int x) { return leaf(x) + leaf(g + x); }
__attribute__((noinline)) int direct(int x) { return leaf(x) * 2; }
int nested(int x) { return middle(x) + from_header(x); }
int recursive(int x) { return x < 2 ? leaf(x) : recursive(x - 1) + recursive(x - 2); }
struct big { int a, b, c[20]; };
static __attribute__((noinline)) int shrunk(struct big *p, int unused) { return p->a * g + leaf(p->b); }
int caller(struct big *p) { return shrunk(p, 1) + shrunk(p + 1, 2); }
static __attribute__((noinline)) int constant(int a, int b)
{ for (int i = 0; i < b; i++) g += a * leaf(i); return g; }
int user_of_constant(int x) { return constant(x, 7) + constant(x + 1, 7); }
__attribute__((cold, noinline)) void unlikely(void) { h++; }
int hot(int x) { if (__builtin_expect(x > 100, 0)) { unlikely(); return leaf(h); } return leaf(x); }
static int same(int x) { return x + g; }
int uses_same(int x) { return same(x) * same(x + 1); }
"""

SECOND_C_SOURCE = """
#include "helpers.h"
extern int h;
static int same(int x) { return x - h; }
int other_uses_same(int x) { return same(x) + from_header(x); }
"""

HEADER = "static inline int from_header(int x) { return x * 17 + 4; }\n"

CXX_SOURCE = """
#include "helpers.h"
extern "C" int printf(const char *, ...);
int g;
namespace space {
struct Base { int v; Base(int x) : v(x * g) {} virtual ~Base() { g--; } inline int get() const { return v + g; } };
template <class T> inline T twice(T x) { return x + x * g; }
int in_namespace(int x) { Base b(x); return b.get() + twice(x) + (int)twice((long)x); }
}
struct Outer {
  struct Inner { static int deep(int x) { return x * g + from_header(x); } };
  int method(int x);
};
int Outer::method(int x) { auto f = [x](int y) { return y * x + g; }; return Inner::deep(x) + f(x) + f(g); }
int with_local(int x) {
  struct Local { static int work(int y) { return y * 3 + g; } };
  return Local::work(x) + Local::work(g);
}
"""

COMPILERS = ("gcc-11", "gcc-12", "clang-16", "clang-19")
CROSS = ("s390x-linux-gnu-gcc", "aarch64-linux-gnu-gcc", "powerpc64le-linux-gnu-gcc")

Record = tuple[str, str, str, int]


def built(folder: Path, command: str, sources: dict[str, str], output: str) -> Path:
    """`output`, made by `command` (words `SRC` and `OUT` stand for files) from `sources` in `folder`."""
    words = command.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {**sources, "helpers.h": HEADER}.items():
        (folder / name).write_text(text)
    argv = [part for word in words for part in (list(sources) if word == "SRC" else [word.replace("OUT", output)])]
    subprocess.run(argv, cwd=folder, check=True, capture_output=True)
    return folder / output


def records(table: EffectTable) -> Counter[Record]:
    """The distinct inline effects as (body, user without clone suffixes, file name of the call, line)."""

    def record(effect: Effect) -> Record:
        where = effect.where
        assert where is not None
        return (effect.body.symbol, effect.user.symbol.split(".")[0], where.file.rpartition("/")[2], where.line)

    return Counter({record(effect) for effect in table.effects() if effect.cause == "inline"})


def resolved(die: DIE, attribute: str) -> str | None:
    """`attribute` of `die` or of what it refers to."""
    while True:
        if attribute in die.attributes:
            return str(die.attributes[attribute].value.decode())
        for link in ("DW_AT_abstract_origin", "DW_AT_specification"):
            if link in die.attributes:
                die = die.get_DIE_from_attribute(link)
                break
        else:
            return None


def symbol(die: DIE) -> str:
    name = resolved(die, "DW_AT_linkage_name") or resolved(die, "DW_AT_name")
    assert name
    return name


def oracle(path: Path) -> Counter[Record]:
    """What pyelftools says, in the form of `records`."""
    found: set[Record] = set()
    with path.open("rb") as stream:
        dwarf = ELFFile(stream).get_dwarf_info()
        for unit in dwarf.iter_CUs():
            program = dwarf.line_program_for_CU(unit)
            first = 0 if program["version"] >= 5 else 1
            files = program["file_entry"]

            def visit(die: DIE, container: str | None, files=files, first=first) -> None:  # type: ignore[no-untyped-def]
                if die.tag == "DW_TAG_subprogram":
                    coded = {"DW_AT_low_pc", "DW_AT_ranges"} & die.attributes.keys()
                    container = symbol(die).split(".")[0] if coded else container
                if die.tag == "DW_TAG_inlined_subroutine":
                    body = symbol(die.get_DIE_from_attribute("DW_AT_abstract_origin"))
                    file = files[die.attributes["DW_AT_call_file"].value - first].name.decode()
                    assert container
                    where = file.rpartition("/")[2], die.attributes["DW_AT_call_line"].value
                    found.add((body, container, *where))
                for child in die.iter_children():
                    visit(child, container)

            visit(unit.get_top_DIE(), None)
    return Counter(found)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_inlined_calls_of_an_object_are_those_of_pyelftools(tmp_path: Path, compiler: str, version: int) -> None:
    command = f"{compiler} -O2 -g -gdwarf-{version} -ffunction-sections -c SRC -o OUT"
    path = built(tmp_path, command, {"one.c": C_SOURCE}, "one.o")
    found = records(read_dwarf(path))
    assert found == oracle(path)
    assert {("leaf", "nested"), ("middle", "nested"), ("leaf", "direct")} <= {record[:2] for record in found}


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("compiler", ["g++-12", "clang++-16", "clang++-19"])
def test_inlined_calls_of_cxx_are_those_of_pyelftools(tmp_path: Path, compiler: str, version: int) -> None:
    command = f"{compiler} -O2 -g -gdwarf-{version} -c SRC -o OUT"
    path = built(tmp_path, command, {"one.cc": CXX_SOURCE}, "one.o")
    found = records(read_dwarf(path))
    assert found == oracle(path)
    assert ("_ZN5Outer5Inner4deepEi", "_ZN5Outer6methodEi") in {record[:2] for record in found}


@pytest.mark.parametrize("compiler", CROSS)
def test_other_architectures_and_big_endian_read_alike(tmp_path: Path, compiler: str) -> None:
    path = built(tmp_path, f"{compiler} -O2 -g -c SRC -o OUT", {"one.c": C_SOURCE}, "one.o")
    found = records(read_dwarf(path))
    assert found == oracle(path)
    assert len(found) > 5


@pytest.mark.parametrize(
    "flags",
    [
        "-gz=zlib",
        "-gdwarf-2",
        "-gdwarf-3",
        "-O1",
        "-O3",
        "-Os",
        "-gno-strict-dwarf -gdescribe-dies",
        "-fno-function-sections -freorder-blocks-and-partition",
    ],
)
def test_variants_of_the_format_are_those_of_pyelftools(tmp_path: Path, flags: str) -> None:
    path = built(tmp_path, f"gcc-12 -O2 -g {flags} -c SRC -o OUT", {"one.c": C_SOURCE}, "one.o")
    found = records(read_dwarf(path))
    assert found == oracle(path)
    assert found


@pytest.mark.parametrize(
    "flags", ["-gdwarf64", "-fdebug-types-section", "-fdebug-types-section -gdwarf-4", "-gz=zlib -gdwarf64"]
)
def test_variants_that_pyelftools_can_not_read_are_like_the_plain_format(tmp_path: Path, flags: str) -> None:
    for compiler, source in (("gcc-12", C_SOURCE), ("g++-12", CXX_SOURCE)):
        plain = built(tmp_path, f"{compiler} -O2 -g -c SRC -o OUT", {"one.cc": source}, "plain.o")
        other = built(tmp_path, f"{compiler} -O2 -g {flags} -c SRC -o OUT", {"one.cc": source}, "other.o")
        assert set(read_dwarf(other).effects()) == set(read_dwarf(plain).effects())
        assert len(read_dwarf(plain)) > 5


@pytest.mark.parametrize("compiler", ["gcc-12", "clang-19"])
def test_a_linked_image_keeps_static_functions_of_two_units_apart(tmp_path: Path, compiler: str) -> None:
    sources = {"one.c": C_SOURCE, "two.c": SECOND_C_SOURCE}
    path = built(tmp_path, f"{compiler} -O2 -g -shared -fPIC SRC -o OUT", sources, "both.so")
    table = read_dwarf(path)
    assert records(table) == oracle(path)
    users = {(e.body.unit, e.user.symbol) for e in table.effects() if e.body.symbol == "same"}
    assert users == {("one.c", "uses_same"), ("two.c", "other_uses_same")}


MANY_SHAPES = """
#include <map>
#include <string>
std::map<std::string, int> table;
int user(const char *name) { table[name] = 3; return (int)table.size(); }
"""


@pytest.mark.parametrize("compiler", ["g++-12", "clang++-19"])
def test_lockstep_and_one_by_one_find_what_pyelftools_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    sources = {"one.cc": CXX_SOURCE, "two.cc": MANY_SHAPES}
    path = built(tmp_path, f"{compiler} -O2 -g -shared -fPIC SRC -o OUT", sources, "both.so")
    expected = oracle(path)
    assert len(expected) > 50
    for few in (0, 1 << 30):
        monkeypatch.setattr(_dwarfwalk, "FEW", few)
        assert records(read_dwarf(path)) == expected


def test_one_source_compiled_twice_is_two_units(tmp_path: Path) -> None:
    flags = "gcc-12 -O2 -g -I.. -c SRC -o OUT"
    sources = {"two.c": SECOND_C_SOURCE}
    first = built(tmp_path / "a", flags, sources, "two.o")
    renamed = {"two.c": SECOND_C_SOURCE.replace("other_uses_same", "third")}
    second = built(tmp_path / "b", flags, renamed, "two.o")
    joined = tmp_path / "joined.o"
    subprocess.run(["ld", "-r", str(first), str(second), "-o", str(joined)], check=True)
    bodies = {(e.body.unit, e.user.symbol) for e in read_dwarf(joined).effects() if e.body.symbol == "same"}
    assert bodies == {(f"{tmp_path}/a/two.c", "other_uses_same"), (f"{tmp_path}/b/two.c", "third")}


def test_clones_have_their_symbols_and_depend_on_their_source(tmp_path: Path) -> None:
    path = built(tmp_path, "gcc-12 -O2 -g -c SRC -o OUT", {"one.c": C_SOURCE}, "one.o")
    effects = list(read_dwarf(path).effects())
    clones = {(e.body.symbol, e.user.symbol, e.cause) for e in effects if e.cause != "inline"}
    assert clones == {
        ("shrunk", "shrunk.constprop.0.isra.0", "isra"),
        ("shrunk", "shrunk.constprop.0.isra.0", "constprop"),
        ("constant", "constant.constprop.0", "constprop"),
    }
    assert "constant.constprop.0" in {e.user.symbol for e in effects if e.body.symbol == "leaf"}


def test_the_user_is_the_code_around_the_call_however_deep(tmp_path: Path) -> None:
    path = built(tmp_path, "gcc-12 -O2 -g -c SRC -o OUT", {"one.c": C_SOURCE}, "one.o")
    users = {e.user.symbol for e in read_dwarf(path).effects() if e.body.symbol == "leaf"}
    assert "nested" in users
    assert "middle" not in users


def test_a_function_in_a_function_that_was_inlined_keeps_its_inlined_calls(tmp_path: Path) -> None:
    source = """
    int g;
    static inline __attribute__((always_inline)) int leaf(int x) { return x * g + 3; }
    static inline __attribute__((always_inline)) int outer(int a) {
      int __attribute__((noinline)) inner(int b) { return leaf(a + b) * g; }
      g++;
      return inner(a) + inner(g);
    }
    int user(int x) { return outer(x) + 1; }
    """
    path = built(tmp_path, "gcc-12 -O2 -g -c SRC -o OUT", {"one.c": source}, "one.o")
    assert records(read_dwarf(path)) == oracle(path)
    assert "inner.0" in {e.user.symbol for e in read_dwarf(path).effects() if e.body.symbol == "leaf"}


def test_facts_tell_code_from_what_is_gone(tmp_path: Path) -> None:
    path = built(tmp_path, "gcc-12 -O2 -g -c SRC -o OUT", {"one.c": C_SOURCE}, "one.o")
    facts = scan_dwarf(path)
    names = [facts.effects.function(row).symbol for row in range(facts.effects.function_count)]
    gone = {name for name, flag in zip(names, facts.gone, strict=True) if flag}
    coded = {name for name, flag in zip(names, facts.coded, strict=True) if flag}
    assert gone == {"leaf", "middle", "from_header", "same"}
    assert {"nested", "direct", "shrunk.constprop.0.isra.0", "constant.constprop.0", "hot"} <= coded
    assert "shrunk" not in coded | gone


def test_locations_are_those_of_the_declarations(tmp_path: Path) -> None:
    for version in (4, 5):
        command = f"gcc-12 -O2 -g -gdwarf-{version} -c SRC -o OUT"
        path = built(tmp_path, command, {"one.c": C_SOURCE}, "one.o")
        bodies = {e.body.symbol: e.body.location for e in read_dwarf(path).effects()}
        places = {name: (place.file.rpartition("/")[2], place.line) for name, place in bodies.items() if place}
        assert places["leaf"] == ("one.c", 4)
        assert places["from_header"] == ("helpers.h", 1)


def test_lto_finds_the_source_units_of_inlined_functions(tmp_path: Path) -> None:
    sources = {"one.c": C_SOURCE, "two.c": SECOND_C_SOURCE}
    path = built(tmp_path, "gcc-12 -O2 -g -flto -shared -fPIC SRC -o OUT", sources, "both.so")
    table = read_dwarf(path)
    assert records(table) == oracle(path)
    assert {e.body.unit for e in table.effects() if e.body.symbol == "leaf"} == {"one.c"}


def test_code_that_the_linker_dropped_is_no_user(tmp_path: Path) -> None:
    command = "gcc-12 -O2 -g -ffunction-sections -Wl,--gc-sections -Wl,-e,direct -nostdlib -static SRC -o OUT"
    path = built(tmp_path, command, {"one.c": C_SOURCE}, "one")
    table = read_dwarf(path)
    assert {e.user.symbol for e in table.effects()} == {"direct"}
    assert any("code is not in the file" in warning for warning in table.warnings)
