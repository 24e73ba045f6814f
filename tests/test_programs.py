"""Running programs: nothing outlives its caller, and a failure says what was run."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from klpkit import programs
from klpkit.errors import EnvironmentLackError, UserError
from klpkit.programs import NoSpaceError, ProgramFailedError, background, parallel, run


def runs(pid: int) -> bool:
    """Whether the process `pid` still runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition: Callable[[], bool], limit: float = 20) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def read_pids(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def test_output_and_status_are_returned() -> None:
    done = run(("sh", "-c", "cat; echo err >&2; exit 3"), stdin=b"in", check=False)
    assert (done.status, done.stdout, done.stderr) == (3, b"in", b"err\n")


def test_a_failure_shows_the_command_and_the_end_of_its_output() -> None:
    with pytest.raises(ProgramFailedError) as caught:
        run(("sh", "-c", "seq 100 >&2; exit 3"))
    assert "ended with status 3" in caught.value.message
    assert "| 100" in caught.value.message
    assert "| 50" not in caught.value.message
    assert "sh -c 'seq 100 >&2; exit 3'" in caught.value.hint


def test_a_death_by_signal_names_the_signal() -> None:
    with pytest.raises(ProgramFailedError, match="SIGSEGV"):
        run(("sh", "-c", "kill -SEGV $$"))


@pytest.mark.parametrize("where", ["", ">&2"])
def test_a_full_disk_is_told_from_bad_input(where: str) -> None:
    said = "x.s: Fatal error: can't write 3 bytes: 'No space left on device'"
    with pytest.raises(NoSpaceError) as caught:
        run(("sh", "-c", f'echo one; echo "{said}" {where}; seq 40 >&2; exit 1'))
    assert caught.value.exit_code == 3
    assert caught.value.message == f"sh: the disk is full\n  | {said}"
    assert "TMPDIR" in caught.value.hint
    assert run(("sh", "-c", f'echo "{said}" {where}')).status == 0


def test_a_missing_program_is_told_from_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLackError, match="klpkit-absent: program not found"):
        run(("klpkit-absent",))
    with pytest.raises(EnvironmentLackError, match="folder not found"):
        run(("true",), cwd=tmp_path / "absent")


def test_a_time_limit_ends_children_too(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailedError, match="without an end"):
        run(("sh", "-c", f"sleep 1000 & echo $! >{tmp_path}/pid; wait"), timeout=2)
    (pid,) = read_pids(tmp_path / "pid")
    wait_for(lambda: not runs(pid))


def test_a_child_left_behind_does_not_outlive_the_call(tmp_path: Path) -> None:
    run(("sh", "-c", f"sleep 1000 >/dev/null 2>&1 </dev/null & echo $! >{tmp_path}/pid"))
    (pid,) = read_pids(tmp_path / "pid")
    wait_for(lambda: not runs(pid))


@pytest.mark.parametrize("fails", [False, True])
def test_leaving_the_block_ends_what_runs_beside_it(tmp_path: Path, fails: bool) -> None:
    shell = f"sleep 1000 & echo $! >{tmp_path}/pid; wait"
    try:
        with background() as pool:
            left = pool.submit(run, ("sh", "-c", shell))
            wait_for((tmp_path / "pid").exists)
            if fails:
                raise LookupError
    except LookupError:
        assert fails
    (pid,) = read_pids(tmp_path / "pid")
    wait_for(lambda: not runs(pid))
    assert isinstance(left.exception(), ProgramFailedError)
    assert run(("true",)).status == 0


def test_results_come_in_the_order_of_the_items() -> None:
    seen: list[int] = []
    slow_first = parallel(
        lambda n: (time.sleep(0.05 / (n + 1)), n)[1], range(8), jobs=4, done=lambda i, _: seen.append(i)
    )
    assert slow_first == list(range(8))
    assert sorted(seen) == list(range(8))


def test_the_first_error_ends_what_runs_and_starts_nothing_more(tmp_path: Path) -> None:
    def work(number: int) -> None:
        if number == 0:
            wait_for(lambda: len(read_pids(tmp_path / "pids")) >= 2)
            raise UserError("stop")
        run(("sh", "-c", f"echo $$ >>{tmp_path}/pids; exec sleep 1000"))

    with pytest.raises(UserError, match="stop"):
        parallel(work, range(50), jobs=3)
    pids = read_pids(tmp_path / "pids")
    assert 2 <= len(pids) <= 4
    wait_for(lambda: not any(map(runs, pids)))


def test_programs_run_again_after_an_error() -> None:
    with pytest.raises(ProgramFailedError):
        parallel(lambda _: run(("false",)), range(3), jobs=2)
    assert run(("echo", "again")).stdout == b"again\n"


def test_an_error_in_the_progress_callback_ends_everything(tmp_path: Path) -> None:
    def broken(item: str, result: object) -> None:
        raise UserError("callback")

    commands = ["true", f"echo $$ >>{tmp_path}/pids; exec sleep 1000"]
    with pytest.raises(UserError, match="callback"):
        parallel(lambda text: run(("sh", "-c", text)), commands, jobs=2, done=broken)
    wait_for(lambda: not any(map(runs, read_pids(tmp_path / "pids"))))


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_process_behind(tmp_path: Path, signal_number: signal.Signals) -> None:
    script = textwrap.dedent(
        f"""
        import signal, sys
        from klpkit.programs import parallel, run
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        shell = "sleep 1000 & echo $$ $! >>{tmp_path}/pids; wait"
        parallel(lambda _: run(("sh", "-c", shell)), range(20), jobs=3)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    wait_for(lambda: len(read_pids(tmp_path / "pids")) >= 6)
    process.send_signal(signal_number)
    _, stderr = process.communicate(timeout=30)
    pids = read_pids(tmp_path / "pids")
    assert process.returncode != 0
    assert stderr.count(b"Traceback") <= 1
    assert len(pids) == 6
    wait_for(lambda: not any(map(runs, pids)))


HANDED_OUT = """
submit = programs.ThreadPoolExecutor.submit
def submitted(pool, work, item):
    if item == 3:
        raise KeyboardInterrupt
    return submit(pool, work, item)
programs.ThreadPoolExecutor.submit = submitted
"""
TWICE = """
stop_all, asked = programs.stop_all, []
def stopped():
    asked.append(1)
    if len(asked) == 1:
        raise KeyboardInterrupt
    stop_all()
programs.stop_all = stopped
"""
# The signal wakes the thread that gets it, not the main one: like one that comes just before the main one waits.
UNNOTICED = """
def interrupt():
    time.sleep(0.5)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
threading.Thread(target=interrupt).start()
"""


@pytest.mark.parametrize(
    ("moment", "interrupts"),
    [
        pytest.param(HANDED_OUT, 0, id="while work is handed out"),
        pytest.param(TWICE, 1, id="again while programs are ended"),
        pytest.param(UNNOTICED, 0, id="before a wait begins"),
    ],
)
def test_an_interrupt_at_any_moment_ends_everything(tmp_path: Path, moment: str, interrupts: int) -> None:
    script = f"""
import signal, threading, time
from klpkit import programs
{moment}
shell = "echo $$ >>{tmp_path}/pids; exec sleep 1000"
programs.parallel(lambda _: programs.run(("sh", "-c", shell)), range(20), jobs=3)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    for _ in range(interrupts):
        wait_for(lambda: len(read_pids(tmp_path / "pids")) == 3)
        process.send_signal(signal.SIGINT)
    try:
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT
    assert b"KeyboardInterrupt" in stderr
    wait_for(lambda: not any(map(runs, read_pids(tmp_path / "pids"))))


def test_stopping_refuses_new_programs_until_all_is_wound_down() -> None:
    started = threading.Event()

    def work(number: int) -> bytes:
        started.set()
        return run(("sleep", "1000") if number < 2 else ("echo", "late")).stdout

    def stop() -> None:
        started.wait()
        wait_for(lambda: len(programs._live) == 2)
        programs.stop_all()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(ProgramFailedError, match="SIGKILL"):
        parallel(work, range(3), jobs=2)
    thread.join()
    assert run(("echo", "on")).stdout == b"on\n"
