"""`klpkit-cc` behaves as the compiler: streams, statuses, signals, files, every kind of call."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest_driver import PROGRAM, Driver, pairs

SOURCE = """\
int ext(int);
static int twice(int x) { return ext(x) + ext(x); }
int pub(int x) { return twice(x) + 1; }
"""
LEVEL = "-fease-live-patching"

# What a call of a compiler can be, and the files that it must leave behind.
CALLS = [
    "--version",
    "-dumpversion",
    "-print-file-name=plugin",
    "-v",
    "-E a.c",
    "-E -dM -x c /dev/null",
    "-S a.c -o -",
    "-M a.c",
    "-MM -MT x a.c",
    "-fsyntax-only a.c",
    "-### -c a.c",
    "-c a.c",
    "-c a.c -o dir/o.o -MD",
    "-c a.c -MMD -MF d.d -MT t",
    "-c a.c -Wp,-MMD,x.d",
    "-c a.c main.c",
    "-c a.c s.S",
    "-c a.c main.c -o o.o",
    "a.c main.c -o prog",
    "a.c main.c",
    "a.c main.c -MD -o prog",
    "a.c main.c -g -gsplit-dwarf -o prog",
    "a.c main.c s.S -o prog -lm",
    "-c a.c -save-temps",
    "a.c main.c -save-temps -o prog",
    "-c a.c --coverage",
    "a.c main.c --coverage -o prog",
    "-flto -c a.c",
    "-flto a.c main.c -o prog",
    "-flto a.c main.c -save-temps -o prog",
    "-c a.c -pipe -gsplit-dwarf -g -o dir/x.o",
    "-c a.c -fstack-usage -g -gsplit-dwarf",
    "-c a.c -fdump-tree-optimized",
    "-c s.S",
    "-c h.h",
    "-x c a.txt -x none -c",
    "-include h.h -c a.c",
    "@words -c a.c",
    "-c bad.c",
    "-c nowhere.c",
    "-c a.c -fno-such-option",
    "-c bad.c a.c",
    "",
]


def fill(driver: Driver) -> None:
    driver.write("a.c", SOURCE)
    driver.write("a.txt", SOURCE)
    driver.write("main.c", "int pub(int); int ext(int x) { return x; } int main(void) { return pub(1) - 3; }\n")
    driver.write("s.S", '.globl asm_thing\nasm_thing: nop\n.section .note.GNU-stack,"",@progbits\n')
    driver.write("h.h", "int from_header(int);\n")
    driver.write("bad.c", "int f(\n")
    driver.write("words", "-DA='1 2' -Wall")
    (driver.folder / "dir").mkdir()


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "home" not in path.parts}


@pytest.mark.parametrize("line", CALLS)
def test_a_call_ends_and_leaves_what_the_compiler_alone_does(
    line: str, tmp_path: Path, driver_cache: Path, gcc12: str
) -> None:
    words = ["-O2", *line.split()] if line else []
    ours, theirs = Driver(tmp_path / "ours", driver_cache), Driver(tmp_path / "theirs", driver_cache)
    for each in (ours, theirs):
        each.folder.mkdir()
        fill(each)
    done = ours(gcc12, *words, LEVEL)
    plain = subprocess.run(
        [gcc12, *words],
        cwd=theirs.folder,
        env=theirs.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == plain.returncode, done.stderr
    assert tree(ours.folder) == tree(theirs.folder)
    for name in tree(ours.folder):
        if name.endswith(".d"):
            assert (ours.folder / name).read_text() == (theirs.folder / name).read_text()
    if "-E" in words or "-M" in words or "print" in line or "--version" in words:
        stripped = done.stdout.replace("#define __NO_INLINE__ 1\n", "")
        assert stripped == plain.stdout
    if plain.returncode and "bad.c a.c" not in line:
        assert done.stderr == plain.stderr


def test_without_a_level_the_driver_becomes_the_compiler(driver: Driver) -> None:
    driver.program("cc", 'echo "$@"; echo $PPID; exit 7')
    process = subprocess.Popen(
        [*PROGRAM, str(driver.folder / "cc"), "-c", "a.c"], stdout=subprocess.PIPE, text=True, env=driver.env
    )
    out, _ = process.communicate(timeout=30)
    assert out.splitlines() == ["-c a.c", str(os.getpid())]
    assert process.returncode == 7


def test_the_list_option_alone_is_told_to_have_no_effect(driver: Driver, gcc12: str) -> None:
    driver.write("a.c", SOURCE)
    done = driver.good(gcc12, "-O2", "-c", "a.c", "-flive-patching-list=all,list")
    assert "'-flive-patching-list' has no effect without '-fease-live-patching'" in done.stderr
    assert (driver.folder / "a.o").exists()
    assert not (driver.folder / "list").exists()


def test_standard_input_reaches_the_compiler(driver: Driver, gcc: str) -> None:
    done = driver(gcc, "-O2", "-c", "-x", "c", "-", "-o", "a.o", LEVEL, "-flive-patching-list", stdin=SOURCE)
    assert done.returncode == 0, done.stderr
    assert ("twice", "pub", "inline") in pairs(done.stdout)


def test_options_in_a_long_response_file_reach_the_compiler(driver: Driver, gcc12: str) -> None:
    driver.write("a.c", SOURCE + "int last(void) { return D5999; }\n")
    driver.write("words", f"{LEVEL} -flive-patching-list " + " ".join(f"-DD{n}={n}" for n in range(6000)))
    done = driver.good(gcc12, "@words", "-O2", "-c", "a.c")
    assert ("last", "last", "self") in pairs(done.stdout)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_compiler_and_driver(driver: Driver, gcc12: str, number: signal.Signals) -> None:
    driver.good(gcc12, "-c", "-x", "c", "/dev/null", "-o", "x.o", LEVEL)
    os.mkfifo(driver.folder / "slow.c")
    process = subprocess.Popen(
        [*PROGRAM, gcc12, "-c", "slow.c", LEVEL, "-flive-patching-list=all,list"],
        cwd=driver.folder,
        env=driver.env,
    )
    child = first_child(process.pid)
    process.send_signal(number)
    # The compiler proper waits for the other end of the pipe; GCC's driver leaves it to that.
    with open(driver.folder / "slow.c", "w") as pipe:
        pipe.write("")
    assert process.wait(timeout=30) == -number
    assert not Path(f"/proc/{child}").exists()
    assert not (driver.folder / "list").exists()


def test_a_signal_that_comes_while_the_compiler_starts_is_passed_on() -> None:
    script = """
import os, signal
from klpkit.compilers.driver import run
spawn = os.posix_spawnp
def spawned(*words, **options):
    child = spawn(*words, **options)
    os.kill(os.getpid(), signal.SIGTERM)
    return child
os.posix_spawnp = spawned
run.end(run.run(["sleep", "1000"]))
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        assert process.wait(timeout=30) == -signal.SIGTERM
    finally:
        process.kill()


def first_child(pid: int) -> int:
    """The first child of `pid` that has a child of its own: the compiler's driver, when it has started."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if Path(f"/proc/{child}/task/{child}/children").read_text().strip():
                return int(child)
        time.sleep(0.02)
    raise AssertionError("the compiler did not start")


def test_a_compiler_that_dies_by_a_signal_takes_the_driver_along(driver: Driver, gcc12: str) -> None:
    driver.write("a.c", SOURCE)
    driver.program("cc", f'case "$*" in *-fdump-ipa-clones*) kill -SEGV $$;; *) exec {gcc12} "$@";; esac')
    done = driver("./cc", "-c", "a.c", LEVEL)
    assert done.returncode == -signal.SIGSEGV


def test_ignored_signals_are_not_passed_down_by_python(driver: Driver) -> None:
    driver.program("cc", "grep SigIgn /proc/self/status")
    done = driver("./cc", "-c", "a.c")
    ignored = int(done.stdout.split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1))


def test_what_is_no_compiler_is_told(driver: Driver) -> None:
    driver.program("cc", "exit 0")
    done = driver("./cc", "-c", "a.c", LEVEL)
    assert done.returncode in (2, 3)
    assert "neither GCC nor Clang" in done.stderr


def test_too_few_descriptors_are_told(driver: Driver, gcc12: str) -> None:
    driver.write("a.c", SOURCE)
    driver.good(gcc12, "-c", "a.c", LEVEL)
    shell = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *PROGRAM, gcc12, "-c", "a.c", LEVEL]
    done = subprocess.run(shell, cwd=driver.folder, env=driver.env, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "ulimit" in done.stderr


def test_a_dump_that_cannot_be_read_fails_the_call_and_leaves_no_object(driver: Driver, gcc12: str) -> None:
    driver.write("a.c", SOURCE.replace("int pub(", 'int pub(int x) __asm__("odd;name");\nint pub('))
    done = driver(gcc12, "-O2", "-c", "a.c", LEVEL, "-Wa,--noexecstack", "-S", "-o", "a.s")
    assert done.returncode == 0
    driver.program(
        "cc", f'case "$*" in *-fdump-ipa*) {gcc12} "$@" && echo junk >/dev/fd/197;; *) exec {gcc12} "$@";; esac'
    )
    driver.write("a.c", SOURCE)
    done = driver("./cc", "-O2", "-c", "a.c", LEVEL + "=inline")
    assert done.returncode == 2
    assert "clone dump of a.c: line 1" in done.stderr
    assert not (driver.folder / "a.o").exists()


def test_a_missing_compiler_is_an_environment_error(driver: Driver) -> None:
    done = driver("no-such-cc", "-c", "a.c")
    assert done.returncode == 3
    assert "no-such-cc: program not found" in done.stderr


def test_a_bad_level_ends_like_a_bad_option_of_the_compiler(driver: Driver, gcc12: str) -> None:
    done = driver(gcc12, "-c", "a.c", "-fease-live-patching=most")
    assert done.returncode == 1
    assert "valid arguments" in done.stderr


def test_the_users_own_clone_dump_stays_where_he_expects_it(driver: Driver, gcc: str) -> None:
    driver.write("a.c", SOURCE)
    (driver.folder / "dir").mkdir()
    done = driver.good(
        gcc, "-O2", "-c", "a.c", "-o", "dir/a.o", "-fdump-ipa-clones", LEVEL, "-flive-patching-list"
    )
    assert "inlining to" in (driver.folder / "dir/a.c.000i.ipa-clones").read_text()
    assert ("twice", "pub", "inline") in pairs(done.stdout)
    done = driver.good(gcc, "-O2", "-c", "a.c", "-fdump-ipa-clones=mine", LEVEL, "-flive-patching-list")
    assert "inlining to" in (driver.folder / "mine").read_text()
    assert ("twice", "pub", "inline") in pairs(done.stdout)


def test_an_object_is_the_same_byte_for_byte_each_time(driver: Driver, gcc: str) -> None:
    driver.write("a.c", SOURCE)
    for name in ("one.o", "two.o"):
        driver.good(gcc, "-O2", "-g", "-frecord-gcc-switches", "-c", "a.c", "-o", name, LEVEL)
    assert (driver.folder / "one.o").read_bytes() == (driver.folder / "two.o").read_bytes()


def test_a_wrapper_that_leaves_no_dump_costs_one_more_compilation_and_no_record(
    driver: Driver, gcc12: str
) -> None:
    driver.write("a.c", SOURCE)
    (driver.folder / "bin").mkdir()
    driver.program(
        "bin/sccache", 'for w; do case $w in -fdump*) ;; *) set -- "$@" "$w";; esac; shift; done; exec "$@"'
    )
    path = f"{driver.folder}/bin:{os.environ['PATH']}"
    done = driver.good("sccache", gcc12, "-O2", "-c", "a.c", LEVEL, "-flive-patching-list", PATH=path)
    assert ("twice", "pub", "inline") in pairs(done.stdout)


def test_the_launcher_starts_the_same_driver(driver: Driver, gcc12: str) -> None:
    command = driver.good("--launcher").stdout.split()
    done = subprocess.run([*command, gcc12, "-dumpversion"], capture_output=True, text=True, check=True)
    plain = subprocess.run([gcc12, "-dumpversion"], capture_output=True, text=True, check=True)
    assert done.stdout == plain.stdout
    assert "-flive-patching-list" in driver.good("--help").stdout
    assert driver.good("--version").stdout.startswith("klpkit-cc ")


@pytest.mark.skipif(not shutil.which("cmake"), reason="cmake is not installed")
def test_cmake_takes_the_driver_as_its_compiler(driver: Driver, gcc12: str) -> None:
    driver.write(
        "CMakeLists.txt",
        "cmake_minimum_required(VERSION 3.16)\nproject(demo C)\nadd_executable(prog sub/a.c)\n",
    )
    driver.write("sub/a.c", "static int f(int x) { return x; }\nint main(int c, char **v) { return f(c); }\n")
    listing = driver.folder / "list"
    flags = f"-O2 -fease-live-patching -flive-patching-list=all,{listing}"
    env = {**driver.env, "CC": shlex.join([*PROGRAM, gcc12])}
    make = ["cmake", "-S", ".", "-B", "out", f"-DCMAKE_C_FLAGS={flags}", "-G", "Unix Makefiles"]
    for words in (make, ["cmake", "--build", "out"]):
        done = subprocess.run(words, cwd=driver.folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    units = {line.split("\t")[1] for line in listing.read_text().splitlines() if line.startswith("#")}
    assert "out/CMakeFiles/prog.dir/sub/a.c.o" in units


def test_the_installed_script_is_one_that_installers_give_an_interpreter(driver: Driver) -> None:
    script = Path(__file__).parents[2] / "scripts" / "klpkit-cc"
    assert script.read_text().startswith("#!python\n")
    done = subprocess.run(
        [sys.executable, script, "--version"], env=driver.env, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("klpkit-cc "), done.stderr


def test_an_interrupt_while_standard_input_is_awaited_ends_without_a_traceback(driver: Driver, gcc12: str) -> None:
    words = [*PROGRAM, gcc12, "-c", "-x", "c", "-", "-o", "a.o", LEVEL]
    process = subprocess.Popen(
        words, cwd=driver.folder, env=driver.env, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    listing = ["ls", "-l", f"/proc/{process.pid}/fd"]
    for _ in range(500):
        if "klpkit-input" in subprocess.run(listing, capture_output=True, text=True, check=False).stdout:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert said == b""
