"""Link-time optimisation: flags at both ends, records kept from compilation to link, the list at the link."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest_driver import Driver, pairs

from klpkit.compilers.driver import ltostore, marking

LEVEL = "-fease-live-patching"
A = """\
int ext(int);
static int early(int x) { return ext(x) + 1; }
int small(int x) { return early(x) * 2; }
int big(int x) { int s = 0; for (int i = 0; i < x; i++) s += small(i) * ext(x); return s; }
"""
B = """\
int big(int); int small(int);
int ext(int x) { return x * 2 + 1; }
int main(int c, char **v) { return big(c) + small(c); }
"""


def compiled(driver: Driver, gcc: str, level: str) -> None:
    driver.write("a.c", A)
    driver.write("b.c", B)
    for name in ("a", "b"):
        driver.good(gcc, "-O2", "-flto", "-c", f"{name}.c", f"{LEVEL}={level}")


def test_the_link_joins_its_own_records_with_those_of_the_compilations(driver: Driver, gcc: str) -> None:
    compiled(driver, gcc, "inline-clone")
    before = {path.name for path in driver.folder.iterdir()}
    done = driver.good(gcc, "-O2", "-flto", "a.o", "b.o", "-o", "prog", LEVEL, "-flive-patching-list")
    found = pairs(done.stdout)
    assert ("early", "small", "inline") in found, "inlined when a.c was compiled"
    assert ("ext", "main", "inline") in found, "inlined across units at the link"
    assert done.stderr == ""
    assert {path.name for path in driver.folder.iterdir()} == before | {"prog"}


@pytest.mark.parametrize("level", ["none", "only-inline-static", "inline"])
def test_a_level_holds_across_units(driver: Driver, gcc: str, level: str) -> None:
    compiled(driver, gcc, level)
    option = f"{LEVEL}={level}"
    done = driver.good(gcc, "-O2", "-flto", "a.o", "b.o", "-o", "prog", option, "-flive-patching-list")
    found = {row for row in pairs(done.stdout) if row[2] != "self"}
    if level == "none":
        assert found == set()
    elif level == "only-inline-static":
        assert {row[0] for row in found} <= {"early"}
    else:
        assert ("ext", "main", "inline") in found
    assert {row[2] for row in found} <= {"inline"}
    assert "level-not-honoured" not in done.stderr


def test_objects_compiled_at_another_level_break_the_promise_of_the_link_and_are_told(
    driver: Driver, gcc12: str
) -> None:
    compiled(driver, gcc12, "inline-clone")
    done = driver.good(gcc12, "-O2", "-flto", "a.o", "b.o", "-o", "prog", f"{LEVEL}=none")
    assert (
        "b.c:2:5: warning: inline 'ext' into 'big', which level 'none' forbids [level-not-honoured]" in done.stderr
    )


def test_records_are_found_in_archives_and_moved_objects(driver: Driver, gcc: str) -> None:
    compiled(driver, gcc, "inline-clone")
    (driver.folder / "a.o").rename(driver.folder / "moved.o")
    ar = gcc.replace("gcc", "gcc-ar")
    if not shutil.which(ar):
        pytest.skip(f"{ar} is not installed")
    driver.good(gcc, "--version")
    assert driver_run(driver, ar, "rc", "liba.a", "moved.o") == 0
    done = driver.good(gcc, "-O2", "-flto", "b.o", "-L.", "-la", "-o", "p", LEVEL, "-flive-patching-list=early")
    assert ("early", "small", "inline") in pairs(done.stdout)
    assert done.stderr == ""


def driver_run(driver: Driver, *words: str) -> int:
    import subprocess

    return subprocess.run(words, cwd=driver.folder, check=False).returncode


def test_objects_without_records_are_told_at_the_link(driver: Driver, gcc12: str) -> None:
    compiled(driver, gcc12, "inline-clone")
    driver.good(gcc12, "-O1", "-flto", "-c", "a.c")
    done = driver.good(gcc12, "-O2", "-flto", "a.o", "b.o", "-o", "p", LEVEL, "-flive-patching-list")
    assert "a.o: no records of its compilation are known here" in done.stderr


def test_a_link_that_does_not_say_flto_is_recognised_by_its_objects(driver: Driver, gcc12: str) -> None:
    compiled(driver, gcc12, "inline-clone")
    done = driver.good(gcc12, "-O2", "a.o", "b.o", "-o", "p", LEVEL, "-flive-patching-list=ext")
    assert ("ext", "main", "inline") in pairs(done.stdout)


def test_a_link_without_the_level_of_its_objects_is_told(driver: Driver, gcc12: str) -> None:
    compiled(driver, gcc12, "none")
    for words in (["-flto"], []):
        done = driver.good(gcc12, "-O2", *words, "a.o", "b.o", "-o", "prog")
        assert "prog: warning: a.o was compiled for LTO at a level, and this link names none" in done.stderr
    driver.good(gcc12, "-O2", "-flto", "-c", "a.c")
    driver.good(gcc12, "-O2", "-flto", "-c", "b.c")
    assert driver.good(gcc12, "-O2", "-flto", "a.o", "b.o", "-o", "prog").stderr == ""


def test_a_link_with_debug_information_makes_no_file_beside_its_inputs(driver: Driver, gcc: str) -> None:
    driver.write("lib/a.c", A)
    driver.write("b.c", B)
    driver.good(gcc, "-O2", "-g", "-flto", "-c", "lib/a.c", "-o", "lib/a.o", LEVEL)
    driver.good(gcc, "-O2", "-g", "-flto", "-c", "b.c", LEVEL)
    subprocess.run(["ar", "rc", "lib/lib.a", "lib/a.o"], cwd=driver.folder, check=True)
    folder = driver.folder / "lib"
    before = folder.stat().st_mtime_ns
    done = driver.good(gcc, "-O2", "-g", "-flto", "b.o", "lib/lib.a", "-o", "prog", LEVEL, "-flive-patching-list")
    assert folder.stat().st_mtime_ns == before, "no file was made there, not even for a moment"
    assert ("early", "small", "inline") in pairs(done.stdout)
    assert ("ext", "main", "inline") in pairs(done.stdout)
    assert done.stderr == ""


def test_a_marked_source_keeps_the_comments_that_warnings_read(driver: Driver, gcc: str) -> None:
    driver.write("a.c", "int f(int a) { switch (a) { case 1: a++; /* fall through */\ndefault: return a; } }\n")
    words = ["-O2", "-Wextra", "-Werror", "-flto", "-c", "a.c", f"{LEVEL}=only-inline-static"]
    assert driver.good(gcc, *words).stderr == ""


def test_one_call_that_compiles_and_links_lists_at_its_link(driver: Driver, gcc12: str) -> None:
    driver.write("a.c", A)
    driver.write("b.c", B)
    done = driver.good(gcc12, "-O2", "-flto", "a.c", "b.c", "-o", "p", LEVEL, "-flive-patching-list")
    assert ("early", "small", "inline") in pairs(done.stdout)
    assert done.stdout.count("# klpkit-list") == 1


def test_statics_of_one_name_in_two_sources_stay_apart(driver: Driver, gcc12: str) -> None:
    for name in ("a", "b"):
        driver.write(
            f"{name}.c",
            f"int ext_{name}(int);\n"
            f"static __attribute__((noinline)) int same(int x) {{ return ext_{name}(x) + 1; }}\n"
            f"int user_{name}(int x) {{ return same(x) * 2; }}\n",
        )
    driver.write("m.c", "int user_a(int); int user_b(int);\n"
                 "int ext_a(int x) { return x; } int ext_b(int x) { return x; }\n"
                 "int main(int c, char **v) { return user_a(c) + user_b(c); }\n")  # fmt: skip
    for name in "abm":
        driver.good(gcc12, "-O2", "-flto", "-c", f"{name}.c", LEVEL)
    done = driver.good(gcc12, "-O2", "-flto", "a.o", "b.o", "m.o", "-o", "p", LEVEL, "-flive-patching-list")
    rows = [line.split("\t") for line in done.stdout.splitlines()[1:]]
    assert not [row for row in rows if row[2].startswith("a.c") and row[1] == "same" and row[3] == "user_b"]


def test_an_lto_object_is_reproducible(driver: Driver, gcc12: str) -> None:
    driver.write("a.c", A)
    objects = []
    for name in ("one.o", "two.o"):
        driver.good(gcc12, "-O2", "-flto", "-frandom-seed=1", "-c", "a.c", "-o", name, LEVEL)
        objects.append((driver.folder / name).read_bytes())
    assert objects[0] == objects[1]


def test_marking_keeps_names_lines_and_dependencies(driver: Driver, gcc: str) -> None:
    driver.write("h.h", "static inline int from_header(int x) { return x + __LINE__; }\n")
    driver.write("a.c", '#include "h.h"\nconst char *file(void) { return __FILE__ ":" __BASE_FILE__; }\n'
                 "inline int plain_inline(int x) { return x; }\n"
                 "int pub(int x) { int unused; return from_header(x); }\n")  # fmt: skip
    words = (gcc, "-O2", "-g", "-flto", "-ffat-lto-objects", "-Wall", "-MD", "-c", "a.c", "-o", "out.o")
    done = driver.good(*words, f"{LEVEL}=only-inline-static")
    assert "a.c:4:22: warning: unused variable" in done.stderr
    assert (driver.folder / "out.d").read_text().startswith("out.o: a.c")
    data = (driver.folder / "out.o").read_bytes()
    assert b"a.c:a.c\0" in data
    assert b"klpkit-cc-" not in data
    names = driver_output(driver, "nm", "out.o")
    assert "T pub" in names
    assert "plain_inline" not in names


def driver_output(driver: Driver, *words: str) -> str:
    import subprocess

    return subprocess.run(words, cwd=driver.folder, check=True, capture_output=True, text=True).stdout


def test_cxx_with_lto_is_refused_at_only_inline_static_with_a_way_out(driver: Driver) -> None:
    if not shutil.which("g++-12"):
        pytest.skip("g++-12 is not installed")
    driver.write("a.cc", "int f(int x) { return x; }\n")
    done = driver("g++-12", "-O2", "-flto", "-c", "a.cc", f"{LEVEL}=only-inline-static")
    assert done.returncode == 1
    assert "can't be marked as not inlinable" in done.stderr
    assert "use level" in done.stderr
    assert not (driver.folder / "a.o").exists()


def test_a_gcc_without_the_native_option_is_held_by_marking(driver: Driver, gcc12: str) -> None:
    driver.program(
        "oldgcc",
        f'case "$*" in *--help*) {gcc12} "$@" | grep -v live-patching;; *-flive-patching*) echo no >&2; exit 1;;'
        f' *) exec {gcc12} "$@";; esac',
    )
    driver.write("a.c", "int small(int x) { return x + 1; }\nint user(int x) { return small(x); }\n")
    option = f"{LEVEL}=only-inline-static"
    done = driver.good("./oldgcc", "-O2", "-c", "a.c", option, "-flive-patching-list")
    assert ("small", "user", "inline") not in pairs(done.stdout)
    assert ("user", "user", "self") in pairs(done.stdout)
    assert done.stderr == ""


def test_redeclarations_mark_every_name() -> None:
    text = marking.redeclarations(["f", "g"])
    assert text.count("__noinline__") == 2
    assert marking.redeclarations([]) == ""


def test_members_of_archives_are_read_with_long_names(tmp_path: Path) -> None:
    import subprocess

    long = "a_very_long_name_of_an_object_file.o"
    for name in (long, "b.o"):
        (tmp_path / name).write_bytes(b"\x7fELF" + b".gnu.lto_x" + name.encode())
    (tmp_path / "c.o").write_bytes(b"\x7fELF odd")
    for kind in ("rcS", "rcST"):
        archive = tmp_path / f"{kind}.a"
        subprocess.run(["ar", kind, archive.name, long, "b.o", "c.o"], cwd=tmp_path, check=True)
        found = dict(ltostore.lto_objects(str(archive)))
        assert {name.rpartition("(")[2] for name in found} == {f"{long})", "b.o)"}
        assert found[f"{archive}({long})"] == (tmp_path / long).read_bytes()
