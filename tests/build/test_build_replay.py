"""Replays: the same object, elsewhere; nothing in the tree; failures that leave nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from kbuild_samples import snapshot, write_source

from klpkit.build.command import TranslationUnit
from klpkit.build.outputs import redirected
from klpkit.build.replays import include_line, replay, replay_many
from klpkit.errors import UserError
from klpkit.programs import ProgramFailedError

SOURCE = '#include "near.h"\nint twice(int a) { return a * 2; }\nconst char *where(void) { return __FILE__; }\n'


def make_unit(
    tree: Path, *flags: str, compiler: tuple[str, ...] = ("gcc",), name: str = "sub/a"
) -> TranslationUnit:
    source = write_source(tree, f"{name}.c", SOURCE)
    write_source(tree, "sub/near.h", "int twice(int a);\n")
    arguments = ("-O2", *flags, "-c", "-o", f"{name}.o", f"{name}.c")
    return TranslationUnit(tree / f"{name}.o", source, tree, compiler, arguments)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    path.mkdir()
    return path


def test_a_replay_without_changes_makes_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    unit = make_unit(tree)
    subprocess.run(unit.argv, cwd=tree, check=True)
    assert replay(unit, workdir=tmp_path / "w").object.read_bytes() == unit.object.read_bytes()


@pytest.mark.parametrize(
    "flags",
    [
        ("-Wp,-MMD,sub/.a.o.d",),
        ("-MD",),
        ("-MMD", "-MF", "sub/a.d"),
        ("-MD", "-MFsub/a.d"),
        ("-save-temps",),
        ("-save-temps=cwd",),
        ("-g", "-gsplit-dwarf"),
        ("-dumpdir", "sub/dumps-"),
        ("-dumpbase", "other"),
        ("-fdump-tree-optimized",),
        ("-fdump-ipa-clones=sub/clones.txt",),
        ("-fopt-info-inline-optimized=sub/info.txt",),
        ("-fstack-usage", "-fcallgraph-info"),
        ("-ftest-coverage", "-fprofile-arcs"),
        ("-aux-info", "sub/a.aux"),
        ("-Wa,-al=sub/a.lst",),
        ("-fsave-optimization-record",),
    ],
    ids=" ".join,
)
def test_no_option_of_the_command_makes_a_replay_write_into_the_tree(
    tree: Path, tmp_path: Path, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = make_unit(tree, *flags)
    before = snapshot(tree)
    monkeypatch.chdir(tmp_path)
    done = replay(unit, workdir=tmp_path / "w")
    assert done.object.is_file()
    assert snapshot(tree) == before
    assert all(dump.is_file() and dump.parent == tmp_path / "w" for dump in done.dumps)
    assert {path.name for path in tmp_path.iterdir()} <= {"tree", "w", "home"}


def test_the_drivers_list_file_is_not_appended_to() -> None:
    words = ("klpkit-cc", "-flive-patching-list=all,impact.txt", "-fease-live-patching")
    assert redirected(words, str.upper) == ["klpkit-cc", "-fease-live-patching"]


def test_dumps_are_told_apart_from_the_object(tree: Path, tmp_path: Path) -> None:
    done = replay(make_unit(tree), workdir=tmp_path / "w", extra=["-fdump-ipa-clones"])
    assert [dump.name for dump in done.dumps] == ["a.c.000i.ipa-clones"]


def test_flags_are_added_and_removed(tree: Path, tmp_path: Path) -> None:
    unit = make_unit(tree, "-Werror", "-DBAD")
    done = replay(unit, workdir=tmp_path, extra=["-DGOOD"], remove={"-DBAD"})
    assert done.completed is not None
    assert "-DBAD" not in done.completed.argv
    assert "-DGOOD" in done.completed.argv


def test_a_wrapped_source_sees_the_same_headers_and_file_name(tree: Path, tmp_path: Path) -> None:
    unit = make_unit(tree)
    wrapper = tmp_path / "wrapper.c"
    wrapper.write_text("int before;\n" + include_line(unit))
    done = replay(unit, workdir=tmp_path / "w", source=wrapper)
    content = done.object.read_bytes()
    assert b"sub/a.c\0" in content
    assert str(tree).encode() not in content


def test_a_caching_wrapper_is_left_out(tree: Path, tmp_path: Path) -> None:
    done = replay(make_unit(tree, compiler=("ccache", "gcc")), workdir=tmp_path / "w")
    assert done.completed is not None
    assert done.completed.argv[0] == "gcc"


def test_the_callers_environment_does_not_change_the_result(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPENDENCIES_OUTPUT", str(tmp_path / "deps"))
    monkeypatch.setenv("CPATH", str(tmp_path))
    write_source(tmp_path, "near.h", "#error the wrong header\n")
    replay(make_unit(tree), workdir=tmp_path / "w")
    assert not (tmp_path / "deps").exists()


def test_a_deleted_source_is_named(tree: Path, tmp_path: Path) -> None:
    unit = make_unit(tree)
    unit.source.unlink()
    with pytest.raises(UserError, match=r"sub/a\.c: the source is gone"):
        replay(unit, workdir=tmp_path / "w")


def fake_compiler(path: Path, script: str) -> tuple[str, ...]:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return (str(path),)


def test_a_compiler_that_crashes_is_reported_and_leaves_nothing(tree: Path, tmp_path: Path) -> None:
    unit = make_unit(tree, compiler=fake_compiler(tmp_path / "cc", "echo half >$0.out; kill -SEGV $$"))
    with pytest.raises(ProgramFailedError, match="SIGSEGV"):
        replay(unit, workdir=tmp_path / "w")
    assert list((tmp_path / "w").iterdir()) == []


def test_a_compiler_that_fails_shows_its_message(tree: Path, tmp_path: Path) -> None:
    unit = make_unit(tree)
    unit.source.write_text("int broken(\n")
    with pytest.raises(ProgramFailedError, match="error: expected"):
        replay(unit, workdir=tmp_path / "w")
    assert list((tmp_path / "w").iterdir()) == []


def test_a_compiler_that_writes_nothing_is_an_error(tree: Path, tmp_path: Path) -> None:
    unit = make_unit(tree, compiler=("true",))
    with pytest.raises(Exception, match=r"wrote no a\.o"):
        replay(unit, workdir=tmp_path / "w")


def test_a_compiler_that_hangs_is_ended_with_its_children(tree: Path, tmp_path: Path) -> None:
    unit = make_unit(tree, compiler=fake_compiler(tmp_path / "cc", f"sleep 1000 & echo $! >{tmp_path}/pid; wait"))
    with pytest.raises(ProgramFailedError, match="without an end"):
        replay(unit, workdir=tmp_path / "w", timeout=2)
    gone_soon(int((tmp_path / "pid").read_text()))


def runs(pid: int) -> bool:
    """Whether the process `pid` still runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone_soon(pid: int) -> None:
    """The kernel ends a killed process after the signal, not with it."""
    end = time.monotonic() + 20
    while runs(pid):
        assert time.monotonic() < end, f"{pid} still runs"
        time.sleep(0.02)


def test_many_replays_keep_order_places_and_failures_apart(tree: Path, tmp_path: Path) -> None:
    units = [make_unit(tree, name=f"sub/{name}") for name in ("a", "b", "c")]
    units[1].source.write_text("int broken(\n")
    seen: list[str] = []
    done = replay_many(
        units, workdir=tmp_path / "w", keep_going=True, done=lambda unit, _: seen.append(unit.source.name)
    )
    assert [result.unit for result in done] == units
    assert [result.error is None for result in done] == [True, False, True]
    assert (tmp_path / "w/sub/c.o").is_file()
    assert not (tmp_path / "w/sub/b.o").exists()
    assert sorted(seen) == ["a.c", "b.c", "c.c"]
    with pytest.raises(ProgramFailedError):
        replay_many(units, workdir=tmp_path / "w")


def test_an_interrupt_ends_all_compilers_and_leaves_no_half_written_object(tree: Path, tmp_path: Path) -> None:
    slow = f'sleep 0.05; for a; do o=$a; done; echo half >"$o"; echo $$ >>{tmp_path}/pids; sleep 1000'
    fake_compiler(tmp_path / "cc", slow)
    make_unit(tree)
    script = tmp_path / "many.py"
    script.write_text(
        textwrap.dedent(
            f"""
            from pathlib import Path
            from klpkit.build.command import TranslationUnit
            from klpkit.build.replays import replay_many
            tree = Path({str(tree)!r})
            units = [
                TranslationUnit(tree / f"{{i}}.o", tree / "sub/a.c", tree, ({str(tmp_path / "cc")!r},),
                                ("-c", "-o", f"{{i}}.o", "sub/a.c"))
                for i in range(20)
            ]
            replay_many(units, workdir=Path({str(tmp_path / "w")!r}), jobs=3)
            """
        )
    )
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE)
    wait_for(lambda: len(read_lines(tmp_path / "pids")) >= 3)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in stderr
    for pid in read_lines(tmp_path / "pids"):
        gone_soon(int(pid))
    assert list((tmp_path / "w").iterdir()) == []


def read_lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def wait_for(condition: object, limit: float = 20) -> None:
    end = time.monotonic() + limit
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def test_a_unit_without_its_folder_is_an_error(tree: Path, tmp_path: Path) -> None:
    unit = make_unit(tree)
    gone = TranslationUnit(unit.object, unit.source, tmp_path / "gone", unit.compiler, unit.arguments)
    with pytest.raises(UserError, match="build folder is gone"):
        replay(gone, workdir=tmp_path / "w")
