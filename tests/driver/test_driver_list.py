"""The list: its lines, its file under parallel compilers, and what happens when it can't be written."""

from __future__ import annotations

import itertools
import subprocess
from concurrent.futures import ThreadPoolExecutor

from conftest_driver import PROGRAM, Driver, pairs

from klpkit.compilers.driver import listing
from klpkit.compilers.driver.effects import Effects, is_clone
from klpkit.records.clonelines import parse_dump

LEVEL = "-fease-live-patching"
CHAIN = """\
int ext(int);
static int f(int x) { return ext(x); }
static int g(int x) { return f(x) + 1; }
int h(int x) { return g(x); }
"""


def test_every_function_is_listed_with_all_that_depend_on_it(driver: Driver, gcc: str) -> None:
    driver.write("a.c", CHAIN)
    done = driver.good(gcc, "-O2", "-c", "a.c", LEVEL, "-flive-patching-list")
    lines = done.stdout.splitlines()
    assert lines[0] == "# klpkit-list 1\ta.o\tinline-clone"
    assert "a.o\tf\ta.c:2\tf\ta.c:2\tself\tgone\t-" in lines
    assert "a.o\tf\ta.c:2\th\ta.c:4\tinline\tsymbol\tg" in lines or (
        "a.o\tf\ta.c:2\th\ta.c:4\tinline\tsymbol\t-" in lines
    )
    assert {row[1] for row in pairs(done.stdout) if row[0] == "f"} == {"f", "g", "h"}
    assert {row[1] for row in pairs(done.stdout) if row[0] == "h"} == {"h"}


def test_one_function_can_be_asked_for_also_with_its_file(driver: Driver, gcc12: str) -> None:
    driver.write("dir/a.c", CHAIN)
    for function in ("g", "a.c:g", "dir/a.c:g"):
        done = driver.good(gcc12, "-O2", "-c", "dir/a.c", LEVEL, f"-flive-patching-list={function}")
        assert {row[0] for row in pairs(done.stdout)} == {"g"}
    for function in ("nobody", "b.c:g"):
        assert driver.good(gcc12, "-O2", "-c", "dir/a.c", LEVEL, f"-flive-patching-list={function}").stdout == ""


def test_a_function_without_a_place_is_found_by_its_source(driver: Driver, gcc12: str) -> None:
    driver.write("dir/v.c", "int alone(int a) { return a + 1; }\n")
    whole = str(driver.folder / "dir" / "v.c")
    for file in ("v.c", "dir/v.c", whole, "some.h"):
        done = driver.good(gcc12, "-O2", "-c", "dir/v.c", LEVEL, f"-flive-patching-list={file}:alone")
        assert pairs(done.stdout) == {("alone", "alone", "self")}, file
    done = driver.good(gcc12, "-O2", "-c", "dir/v.c", LEVEL, "-flive-patching-list=w.c:alone")
    assert done.stdout == ""


def test_a_file_is_found_by_its_path_from_another_folder(driver: Driver, gcc12: str) -> None:
    driver.write("dir/a.c", CHAIN)
    driver.folder /= "dir"
    for file in ("a.c", "dir/a.c", str(driver.folder / "a.c")):
        done = driver.good(gcc12, "-O2", "-c", "a.c", LEVEL, f"-flive-patching-list={file}:g")
        assert {row[0] for row in pairs(done.stdout)} == {"g"}, file


def test_objects_of_one_name_in_two_folders_are_two_units(driver: Driver, gcc12: str) -> None:
    top = driver.folder
    for name in ("one", "two"):
        driver.write(f"{name}/v.c", f"int {name}(int a) {{ return a + 1; }}\n")
        driver.folder = top / name
        driver.good(gcc12, "-O2", "-c", "v.c", LEVEL, f"-flive-patching-list=all,{top / 'list'}")
        driver.good(gcc12, "-O2", "-c", "v.c", LEVEL, "-flive-patching-list=all,../sub.list")
        driver.folder = top
    for file in ("list", "sub.list"):
        lines = (top / file).read_text().splitlines()
        assert [line.split("\t")[1] for line in lines if line.startswith("#")] == ["one/v.o", "two/v.o"]
    driver.good(gcc12, "-O2", "-c", "one/v.c", LEVEL, "-flive-patching-list=all,one/list")
    assert (top / "one" / "list").read_text().splitlines()[0].split("\t")[1] == str((top / "v.o").resolve())


def test_a_program_of_several_sources_is_called_from_the_lists_folder(driver: Driver, gcc12: str) -> None:
    driver.write("dir/a.c", "int f(void) { return 1; }\n")
    driver.write("b.c", "int f(void); int main(void) { return f(); }\n")
    driver.good(gcc12, "-O1", "dir/a.c", "b.c", "-o", "dir/prog", LEVEL, "-flive-patching-list=all,list")
    heads = [line for line in (driver.folder / "list").read_text().splitlines() if line.startswith("#")]
    assert [line.split("\t")[1] for line in heads] == ["dir/prog(dir/a.c)", "dir/prog(b.c)"]


def test_parallel_compilers_lose_and_mix_no_line(driver: Driver, gcc12: str) -> None:
    driver.good(gcc12, "-c", "-x", "c", "/dev/null", "-o", "x.o", LEVEL)
    count, functions = 16, 120
    for unit in range(count):
        text = "".join(
            f"static int f{unit}_{i}(int x) {{ return x + {i}; }}\n"
            f"int g{unit}_{i}(int x) {{ return f{unit}_{i}(x); }}\n"
            for i in range(functions)
        )
        driver.write(f"u{unit}.c", text)

    def compiled(unit: int) -> int:
        words = [gcc12, "-O1", "-c", f"u{unit}.c", LEVEL, "-flive-patching-list=all,list"]
        return subprocess.run([*PROGRAM, *words], cwd=driver.folder, env=driver.env, check=False).returncode

    with ThreadPoolExecutor(count) as pool:
        assert set(pool.map(compiled, range(count))) == {0}
    lines = (driver.folder / "list").read_text().splitlines()
    expected = {(f"f{u}_{i}", f"g{u}_{i}") for u in range(count) for i in range(functions)}
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert {(row[1], row[3]) for row in rows if row[1] != row[3]} == expected
    assert all(len(row) == 8 for row in rows)
    units = [row[0] for row in rows]
    changes = sum(1 for one, other in itertools.pairwise(units) if one != other)
    assert changes == count - 1


def test_many_calls_that_race_for_the_probe_ask_the_compiler_once(
    driver: Driver, gcc12: str, tmp_path: object
) -> None:
    driver.env["XDG_CACHE_HOME"] = str(driver.folder / "fresh")
    driver.program("cc", f'case "$*" in *--help*) echo asked >> asked;; esac\nexec {gcc12} "$@"')
    driver.write("a.c", CHAIN)

    def compiled(unit: int) -> int:
        return driver("./cc", "-c", "a.c", "-o", f"{unit}.o", LEVEL).returncode

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(compiled, range(6))) == {0}
    assert (driver.folder / "asked").read_text().count("asked") == 1


def test_a_failing_compilation_writes_nothing(driver: Driver, gcc12: str) -> None:
    driver.write("a.c", CHAIN + "int broken(\n")
    done = driver(gcc12, "-O2", "-c", "a.c", LEVEL, "-flive-patching-list=all,list")
    assert done.returncode == 1
    assert not (driver.folder / "list").exists()


def test_a_list_that_cannot_be_written_fails_the_call_and_leaves_no_object(driver: Driver, gcc12: str) -> None:
    driver.write("a.c", CHAIN)
    for file in ("/dev/full", "no/such/folder/list"):
        done = driver(gcc12, "-O2", "-c", "a.c", LEVEL, f"-flive-patching-list=all,{file}")
        assert done.returncode == 3
        assert f"can't write the list to {file}" in done.stderr
        assert not (driver.folder / "a.o").exists()


def test_a_second_compilation_adds_a_new_block(driver: Driver, gcc12: str) -> None:
    driver.write("a.c", CHAIN)
    words = (gcc12, "-O2", "-c", "a.c", LEVEL, "-flive-patching-list=all,list")
    driver.good(*words)
    once = (driver.folder / "list").read_text()
    driver.good(*words)
    assert (driver.folder / "list").read_text() == once * 2


def test_a_kind_of_record_that_nobody_knows_is_kept_and_told(driver: Driver) -> None:
    effects = Effects()
    effects.add_dump(parse_dump(b"Callgraph clone;f;1;a.c;1;5;f.new;2;a.c;1;5;newkind\n", "d"))
    text = listing.text("a.o", "inline-clone", effects, None, "f", [])
    assert "a.o\tf\ta.c:1\tf.new\ta.c:1\tclone\tunknown\t-" in text
    assert effects.unknown_words == {"newkind": 1}


def test_a_name_with_a_tab_stays_one_field() -> None:
    effects = Effects()
    effects.add(("a\tb", "x\ty.c", 1, 1), ("c", "d.c", 1, 1), "inline")
    for line in listing.text("u", "inline", effects, None, "all", []).splitlines()[1:]:
        assert line.count("\t") == 7


def test_a_long_chain_of_effects_is_closed_without_recursion() -> None:
    effects = Effects()
    keys = [(f"f{i}", "a.c", i, 1) for i in range(3000)]
    for one, other in itertools.pairwise(keys):
        effects.add(one, other, "inline")
    found = [user for user, _, _, _ in effects.impacted(keys[0])]
    assert found == keys[1:]


def test_suffixes_tell_clones_from_pieces() -> None:
    assert is_clone("f.isra.0")
    assert is_clone("f.part.0.constprop.1")
    assert not is_clone("f.cold")
    assert not is_clone("f.lto_priv.0")
    assert not is_clone("plain")
