"""Functions narrowed in place, read from dumps that the compilers at hand really write."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from klpkit.errors import FormatError
from klpkit.records.narrowing import CpDump, Fact, is_clone, narrowed_functions, parse_cp_dump, read_cp_dump

SOURCE = """
extern int sink(int);
__attribute__((noinline)) static int bits(unsigned x) { return (x & 3) ? sink(1) : sink(2); }
int b1(unsigned y) { return bits(y * 8) + 1; }
int b2(unsigned y) { return bits(y * 4) + 2; }
__attribute__((noinline)) static int rest(int u, int x) { return u + (x < 6 ? sink(x) : sink(2)); }
int r1(int y) { return rest(y, y != 0) + 1; }
int r2(int y) { return rest(y, y > 4 || y < 0 ? 4 : y) + 2; }
__attribute__((noinline)) static int pointed(char *p) { return ((unsigned long)p & 7) ? sink(1) : sink(p[3]); }
long g1, g2[4];
int a1(void) { return pointed((char *)&g1) + 1; }
int a2(void) { return pointed((char *)g2) + 3; }
__attribute__((noinline)) static int full(int x) { return sink(x) + 1; }
int f1(int y) { return full(y) + 1; }
__attribute__((noinline)) static int constant(int x, int y) { return sink(x) + y; }
int c1(int y) { return constant(y, 3) + 1; }
int c2(int y) { return constant(y + 4, 3) + 1; }
static int state;
int get(void) { return state; }
void set(int x) { state = x; }
static int leaked;
int *where(void) { return &leaked; }
static int taken(int x) { return sink(x); }
int (*hook)(int) = taken;
int visible;
"""


def _dump(compiler: str, folder: Path, *flags: str, suffix: str = ".c", text: str = SOURCE) -> Path:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    source = folder / f"unit{suffix}"
    source.write_text(text)
    path = folder / "unit.cp"
    words = [compiler, "-O2", *flags, f"-fdump-ipa-cp={path}", "-c", "-o", str(folder / "unit.o"), str(source)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{compiler} can't compile {suffix}: {done.stderr[:80]}")
    return path


def _facts(dump: CpDump, symbol: str) -> list[str]:
    return [str(fact) for row in dump.narrowings for fact in row.facts if row.symbol == symbol]


@pytest.fixture(params=["gcc-11", "gcc-12"])
def dump(request: pytest.FixtureRequest, tmp_path: Path) -> CpDump:
    return read_cp_dump(_dump(request.param, tmp_path))


def test_each_kind_of_fact_is_told_with_the_parameter_s_name(dump: CpDump) -> None:
    assert _facts(dump, "bits") == ["parameter 1 (x) is assumed to have no bits outside 0xfffffffc"]
    assert "parameter 2 (x) is assumed to be in [0, 4]" in _facts(dump, "rest")
    assert not [fact for fact in _facts(dump, "rest") if "parameter 1" in fact]
    assert _facts(dump, "pointed") == [
        "parameter 1 (p) is assumed to be a multiple of 8",
        "parameter 1 (p) is assumed not to be null",
    ]


def test_a_function_that_is_called_with_anything_is_not_narrowed(dump: CpDump) -> None:
    assert not _facts(dump, "full")
    assert not _facts(dump, "taken")
    assert not _facts(dump, "b1")


def test_callers_whose_arguments_were_looked_at_are_named(dump: CpDump) -> None:
    callers = {row.symbol: set(row.callers) for row in dump.narrowings}
    assert callers["bits"] == {"b1", "b2"}
    assert callers["pointed"] == {"a1", "a2"}


def test_local_called_and_defined_functions_are_told_apart(dump: CpDump) -> None:
    assert {"bits", "rest", "pointed", "full"} <= dump.local
    assert not {"taken", "b1", "sink"} & dump.local
    assert {"full", "bits"} <= dump.called
    assert "f1" not in dump.called
    assert {"taken", "f1"} <= dump.functions
    assert "sink" not in dump.functions


def test_only_static_variables_whose_address_is_not_taken_are_told(dump: CpDump) -> None:
    users = {row.symbol: set(row.users) for row in dump.variables}
    assert users["state"] == {"get", "set"}
    assert not {"leaked", "g1", "g2", "visible", "hook"} & set(users)


def test_clones_are_told_by_their_assembler_name_and_are_not_narrowed_functions(tmp_path: Path) -> None:
    path = _dump("gcc-12", tmp_path)
    names = {row.symbol for row in read_cp_dump(path).narrowings}
    answer = narrowed_functions([path])
    assert set(answer) == {name for name in names if not is_clone(name)}
    assert set(answer) >= {"bits", "rest", "pointed"}
    assert not [name for name in answer if "." in name]


def test_switches_off_means_nothing_narrowed(tmp_path: Path) -> None:
    flags = ("-fno-ipa-vrp", "-fno-ipa-bit-cp")
    assert not [name for name in narrowed_functions([_dump("gcc-12", tmp_path, *flags)]) if name != "constant"]


def test_cxx_functions_are_known_by_their_assembler_names(tmp_path: Path) -> None:
    text = (
        "extern int sink(int); namespace n { struct S { int f(int x); };"
        " __attribute__((noinline)) static int g(int x) { return x < 6 ? sink(x) : 2; }"
        " int S::f(int x) { return g(x != 0); } int h(int x) { return g(x == 0) + 1; } }"
    )
    answer = narrowed_functions([_dump("g++", tmp_path, suffix=".cc", text=text)])
    assert list(answer) == ["_ZN1nL1gEi"]
    assert "(x) is assumed to be in [0, 1]" in answer["_ZN1nL1gEi"]


def test_an_unknown_kind_of_change_still_counts_as_narrowing() -> None:
    text = (
        "IPA constant propagation start:\n;; Function f (f, funcdef_no=0, decl_uid=1, symbol_order=7)\n\n"
        "Modification phase of node f/7\nSetting something new for param 0\nint f (int x)\n{\n}\n"
    )
    (row,) = parse_cp_dump(text).narrowings
    assert (row.symbol, row.order) == ("f", 7)
    assert row.facts == (Fact(-1, "", "what the dump calls “Setting something new for param 0”"),)


def test_newer_spelling_of_the_range_is_read() -> None:
    text = "Modification phase of node f/7\nSetting value range of param 0 (now 2) [irange] int [0, 1]\n{\n"
    (row,) = parse_cp_dump(text).narrowings
    assert str(row) == "parameter 1 is assumed to be in [irange] int [0, 1]"


def test_the_body_of_a_function_is_not_taken_for_facts() -> None:
    text = "Modification phase of node f/7\nint f (int x)\n{\nSetting nonnull for 0\n"
    assert not parse_cp_dump(text).narrowings


def test_a_file_that_is_no_dump_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.cp"
    path.write_text("int main;\n")
    with pytest.raises(FormatError, match="not an IPA-CP dump"):
        read_cp_dump(path)
    with pytest.raises(FormatError, match="can't be read"):
        read_cp_dump(tmp_path / "missing.cp")
