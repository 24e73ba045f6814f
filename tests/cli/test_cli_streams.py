"""The command line among other programs: closed and full streams, pipes, signals, and no orphan."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

KLPKIT = (sys.executable, "-c", "from klpkit.cli.main import main; main()")
# As KLPKIT, with every signal as a terminal's shell hands it down; the tests may run under nohup.
ANSWERING = (
    sys.executable,
    "-c",
    "import signal as s; s.signal(s.SIGHUP, s.SIG_DFL); s.signal(s.SIGINT, s.default_int_handler);" + KLPKIT[-1],
)
UNIT = "static int h(int x) { return x * 3; }\nint f(int x) { return h(x) + 1; }\n"
# A compiler that says who it is and then never ends, with a child as a compiler driver has.
HANGING = """#!/bin/sh
case "$*" in
*" -c "*) echo $$ >>"$PIDS"; sleep 300 & echo $! >>"$PIDS"; wait ;;
*) exec gcc "$@" ;;
esac
"""


def database(folder: Path, compiler: str, units: int = 1) -> None:
    """A compilation database in `folder` for `units` sources that each have a function `h`."""
    entries = []
    for number in range(units):
        name = f"u{number}.c"
        (folder / name).write_text(UNIT.replace("f(", f"f{number}("))
        argv = [compiler, "-O2", "-c", "-o", f"u{number}.o", name]
        entries.append({"directory": str(folder), "file": name, "arguments": argv})
    (folder / "compile_commands.json").write_text(json.dumps(entries))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    database(folder, "gcc")
    return folder


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `line` in a shell in which `klpkit` is the command under test."""
    argv = " ".join(f"'{word}'" for word in KLPKIT)
    script = f'klpkit() {{ {argv} "$@"; }}\n{line}'
    return subprocess.run(["bash", "-c", script], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words",
    ["impact h >/dev/full", "impact h --json >&-", "audit --json >/dev/full", "--help >/dev/full", "--help >&-"],
)
def test_an_answer_that_can_not_be_written_is_no_success(project: Path, words: str) -> None:
    done = shell(f"klpkit {words}", project)
    assert done.returncode == 3
    assert "can't write the answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_ends_it_quietly(project: Path) -> None:
    done = shell("klpkit impact h | true; echo ${PIPESTATUS[0]}", project)
    assert (done.stdout.strip(), done.stderr) == ("141", "")


@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full", "<&-"])
def test_the_other_streams_do_not_matter(project: Path, stream: str) -> None:
    assert shell(f"klpkit impact h {stream}", project).returncode == 0
    assert shell(f"klpkit impact absent {stream}", project).returncode == 2


def test_a_device_is_written_to_and_not_replaced(project: Path) -> None:
    done = shell("klpkit impact h --html /dev/stdout", project)
    assert done.returncode == 0
    assert "<html" in done.stdout
    assert Path("/dev/stdout").is_symlink()


def started(argv: Sequence[str], folder: Path, pids: Path, programs: int) -> subprocess.Popen[str]:
    """klpkit once its compilers run; `pids` lists their processes."""
    process = subprocess.Popen(
        [*ANSWERING, *argv],
        cwd=folder,
        env={**os.environ, "PIDS": str(pids), "TMPDIR": str(folder.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for _ in range(3000):
        if pids.exists() and len(pids.read_text().split()) == programs:
            return process
        time.sleep(0.01)
    process.kill()
    raise AssertionError(f"the compilers did not start: {process.communicate()}")


def alive(pid: int) -> bool:
    """Whether a process still runs: one that ended and was not yet waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("number", "status", "group"),
    [
        (signal.SIGINT, 130, False),
        (signal.SIGINT, 130, True),
        (signal.SIGTERM, 143, False),
        (signal.SIGHUP, 129, False),
    ],
)
def test_a_signal_in_a_parallel_replay_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals, status: int, group: bool
) -> None:
    folder, pids = tmp_path / "project", tmp_path / "pids"
    folder.mkdir()
    compiler = folder / "hangs"
    compiler.write_text(HANGING)
    compiler.chmod(0o755)
    database(folder, str(compiler), units=3)
    process = started(["impact", "h", "-j", "2", "--html", "page.html"], folder, pids, 4)
    (os.killpg if group else os.kill)(process.pid, number)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (status, "")
    assert "Traceback" not in stderr
    assert [pid for pid in map(int, pids.read_text().split()) if alive(pid)] == []
    assert not (folder / "page.html").exists()
    assert list(tmp_path.glob("klpkit-impact-*")) == []


@pytest.mark.parametrize(
    ("moment", "status", "said"),
    [
        pytest.param("main.run = interrupt", 130, "klpkit: interrupted\n", id="before the command begins"),
        pytest.param("main.cli.main = main._say = interrupt", -signal.SIGINT, "", id="again when it has ended"),
    ],
)
def test_an_interrupt_at_any_moment_is_no_traceback(moment: str, status: int, said: str) -> None:
    script = f"""
import os, signal
from klpkit.cli import entry, main
signal.signal(signal.SIGINT, signal.default_int_handler)
def interrupt(*words, **options):
    os.kill(os.getpid(), signal.SIGINT)
{moment}
entry.main()
"""
    done = subprocess.run([sys.executable, "-c", script, "doctor"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)


@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_that_comes_twice_lets_klpkit_clean_up(number: str, status: int) -> None:
    script = f"""
import os, signal
from klpkit.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
def command(**options):
    try:
        os.kill(os.getpid(), signal.{number})
    finally:
        os.kill(os.getpid(), signal.{number})
        print("cleaned up")
main.cli.main = command
main.main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "cleaned up\n")
