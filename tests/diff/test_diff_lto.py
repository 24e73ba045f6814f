"""Link-time optimisation: promoted locals that are renamed everywhere, and GCC's bytecode."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from klpkit.diff import ObjectDiff, Verdict, diff_files
from klpkit.errors import RefusedError

MAIN = """
extern int shared(int), twice(int);
extern int sink;
int __attribute__((section(".init.text"), noinline)) start(int x) { return shared(x) + 1; }
int run(int x) { return shared(x) * twice(x); }
"""
SHARED = """
int sink;
static int state;
static __attribute__((noinline)) int bump(int x) { state += x; return state * 3; }
int shared(int x) { return bump(x) + sink; }
int twice(int x) { return bump(x) + bump(x + 1); }
"""
FLAGS = ["-O2", "-pg", "-mfentry", "-fno-pic"]


def _run(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def _need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def _thin(folder: Path, clang: str, shared: str) -> Path:
    """The relocatable object of a ThinLTO link."""
    version = clang.rpartition("-")[2]
    linker = f"ld.lld-{version}"
    _need(clang, linker)
    folder.mkdir()
    for name, text in (("main", MAIN), ("shared", shared)):
        (folder / f"{name}.c").write_text(text)
        _run(folder, clang, *FLAGS, "-flto=thin", "-c", f"{name}.c")
    _run(folder, linker, "-r", "-o", "linked.o", "main.o", "shared.o")
    return folder / "linked.o"


CLANGS = pytest.mark.parametrize("clang", ["clang-16", "clang-19"])


def _thin_diff(tmp_path: Path, clang: str, shared: str) -> ObjectDiff:
    return diff_files(_thin(tmp_path / "before", clang, SHARED), _thin(tmp_path / "after", clang, shared))


@CLANGS
def test_only_the_changed_body_is_reported(tmp_path: Path, clang: str) -> None:
    diff = _thin_diff(tmp_path, clang, SHARED.replace("state * 3", "state * 7 + x"))
    assert [name.split(".")[0] for name in diff.changed] == ["bump"]
    assert not diff.new
    assert not diff.gone
    assert diff.verdict is Verdict.PATCHABLE


PROMOTED_MAIN = """
extern int shared(int), other(int);
int __attribute__((section(".init.text"))) start(int x) { return shared(x) + 1; }
int run(int x) { return shared(x) * other(x); }
"""
PROMOTED = """
static int state;
static __attribute__((noinline)) int bar(int x) { state += x; return state * 3; }
int shared(int x) { return bar(x) + 5; }
int other(int x) { return x * 2; }
"""


def _backend_objects(folder: Path, clang: str, shared: str) -> Path:
    """The native objects of a distributed ThinLTO build, linked: locals that are imported are promoted."""
    linker = f"ld.lld-{clang.rpartition('-')[2]}"
    _need(clang, linker)
    folder.mkdir()
    for name, text in (("main", PROMOTED_MAIN), ("shared", shared)):
        (folder / f"{name}.c").write_text(text)
        _run(folder, clang, *FLAGS, "-flto=thin", "-c", f"{name}.c")
    _run(folder, linker, "-shared", "--thinlto-index-only", "-o", "index", "main.o", "shared.o")
    for name in ("main", "shared"):
        index = f"-fthinlto-index={name}.o.thinlto.bc"
        _run(folder, clang, *FLAGS, "-x", "ir", f"{name}.o", index, "-c", "-o", f"{name}.native.o")
    _run(folder, "ld", "-r", "-o", "whole.o", "main.native.o", "shared.native.o")
    return folder / "whole.o"


@CLANGS
def test_promoted_locals_with_other_hashes_are_the_same(tmp_path: Path, clang: str) -> None:
    before = _backend_objects(tmp_path / "before", clang, PROMOTED)
    # Another global changes the module's hash and so the suffix of everything promoted.
    after = _backend_objects(tmp_path / "after", clang, PROMOTED.replace("x * 2", "x * 7"))
    diff = diff_files(before, after)
    assert _promoted(before)
    assert _promoted(before).isdisjoint(_promoted(after))
    assert diff.verdict is Verdict.PATCHABLE
    assert (diff.changed, diff.new, diff.gone) == (["other", "run"], [], [])


def _promoted(path: Path) -> set[str]:
    from klpkit.elf import ElfFile

    return {name for name in ElfFile.open(path).symbols.names if ".llvm." in name}


@CLANGS
def test_a_promoted_local_with_another_body_is_the_only_change(tmp_path: Path, clang: str) -> None:
    before = _backend_objects(tmp_path / "before", clang, PROMOTED)
    after = _backend_objects(tmp_path / "after", clang, PROMOTED.replace("state * 3", "state * 11 - x"))
    diff = diff_files(before, after)
    assert [name.split(".")[0] for name in diff.changed] == ["bar"]
    assert (diff.new, diff.gone) == ([], [])
    assert diff.verdict is Verdict.PATCHABLE


@CLANGS
def test_backend_objects_alone_tell_the_changed_body_from_its_renamed_callers(tmp_path: Path, clang: str) -> None:
    before = _backend_objects(tmp_path / "before", clang, PROMOTED).parent
    after = _backend_objects(tmp_path / "after", clang, PROMOTED.replace("state * 3", "state * 11 - x")).parent
    main, shared = (diff_files(before / name, after / name) for name in ("main.native.o", "shared.native.o"))
    assert _promoted(before / "main.native.o").isdisjoint(_promoted(after / "main.native.o"))
    assert _promoted(before / "main.native.o")
    assert main.verdict is Verdict.NO_CHANGE
    assert [name.split(".")[0] for name in shared.changed] == ["bar"]
    assert (shared.verdict, shared.new, shared.gone) == (Verdict.PATCHABLE, [], [])


def test_bytecode_is_refused_and_the_linked_object_is_compared(tmp_path: Path) -> None:
    _need("gcc-12")
    linked = []
    for number, text in enumerate((SHARED, SHARED.replace("state * 3", "state * 5 - x"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, source in (("main", MAIN), ("shared", text)):
            (folder / f"{name}.c").write_text(source)
            _run(folder, "gcc-12", *FLAGS, "-mrecord-mcount", "-flto", "-fno-fat-lto-objects", "-c", f"{name}.c")
        command = [
            "gcc-12",
            *FLAGS,
            "-r",
            "-flto",
            "-flinker-output=nolto-rel",
            "-o",
            "linked.o",
            "main.o",
            "shared.o",
        ]
        _run(folder, *command, "-mrecord-mcount", "-nostdlib")
        linked.append(folder / "linked.o")
    with pytest.raises(RefusedError, match="lto-object") as refusal:
        diff_files(tmp_path / "0" / "shared.o", tmp_path / "1" / "shared.o")
    assert "diff the linked objects" in refusal.value.hint
    diff = diff_files(*linked)
    assert [name.split(".")[0] for name in diff.changed] == ["bump"]
