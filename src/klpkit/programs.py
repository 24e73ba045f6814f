"""The one place that runs other programs: compilers, linkers, make, QEMU.

Every program gets a process group of its own, so that an interrupt, a time limit or a failure elsewhere ends
the whole tree and leaves no orphan.  The exact quoted command goes to the log `klpkit.programs` (shown by
`--verbose`); the output of a failure stays in the error.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from klpkit.errors import EnvironmentLackError, KlpkitError

log = logging.getLogger("klpkit.programs")

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_live: set[int] = set()
_live_lock = threading.Lock()
_stopping = threading.Event()

OUTPUT_TAIL_LINES = 20
# What programs say where a disk is full: the C library's words for ENOSPC, EDQUOT and EFBIG, and Kbuild's fixdep.
_NO_SPACE = re.compile(rb"No space left on device|Disk quota exceeded|File too large|not all data was written")
_LITTLE = 1 << 20  # bytes
_ASK_AGAIN = 0.2  # seconds


@dataclass(frozen=True, slots=True)
class Completed:
    """A finished program: its command, exit status (negative for a signal) and what it printed."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes


class ProgramFailedError(KlpkitError):
    """A program ended with a status that its caller can't use; `completed` keeps all of its output."""

    exit_code = 2

    def __init__(self, completed: Completed, why: str, *, hint: str = "") -> None:
        tail = completed.stderr.decode(errors="replace").strip().splitlines()[-OUTPUT_TAIL_LINES:]
        message = "\n  | ".join([f"{completed.argv[0]}: {why}", *tail])
        super().__init__(message, hint=hint or f"the command was: {quoted(completed.argv)}")
        self.completed = completed


class NoSpaceError(ProgramFailedError):
    """A program could not write what it made: nothing is wrong with its input."""

    exit_code = 3

    def __init__(self, completed: Completed) -> None:
        super().__init__(completed, "the disk is full", hint="free some space, or set TMPDIR to another place")
        said = (completed.stderr + b"\n" + completed.stdout).splitlines()
        lines = [line.decode(errors="replace").strip() for line in said if _NO_SPACE.search(line)]
        self.message = "\n  | ".join([f"{completed.argv[0]}: the disk is full", *lines[:1]])


class StoppedError(KlpkitError):
    """A program was not started because another one's failure or an interrupt is ending everything."""


def quoted(argv: Sequence[str]) -> str:
    """`argv` as a line that a shell reads back as the same words."""
    return shlex.join(argv)


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    timeout: float | None = None,
    check: bool = True,
) -> Completed:
    """Run `argv` to its end and return what it printed.

    `env` replaces the whole environment.  `timeout` is in seconds.  With `check`, a status other than 0 raises
    `ProgramFailedError` (`NoSpaceError` where it says that the disk is full); a time limit or a death by signal
    raises it always.  A missing program raises `EnvironmentLackError`.  No program outlives this call.
    """
    log.debug("%s%s", f"cd {shlex.quote(str(cwd))} && " if cwd else "", quoted(argv))
    with _started(argv, cwd, env) as process:
        try:
            stdout, stderr = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill_group(process.pid)
            stdout, stderr = process.communicate()
            done = Completed(tuple(argv), process.returncode, stdout, stderr)
            raise ProgramFailedError(done, f"stopped after {timeout:g} s without an end") from None
    done = Completed(tuple(argv), process.returncode, stdout, stderr)
    if done.status < 0 and (check or _stopping.is_set()):
        raise ProgramFailedError(done, f"killed by {signal.Signals(-done.status).name}")
    if check and done.status:
        if _lacked_space(done, env):
            raise NoSpaceError(done)
        raise ProgramFailedError(done, f"ended with status {done.status}")
    return done


def _lacked_space(done: Completed, env: Mapping[str, str] | None) -> bool:
    """Whether a full disk made a program fail: it says so, or next to nothing is left for temporary files.

    Not every program says why it can't write: to a shell's `printf` it is an I/O error.
    """
    if _NO_SPACE.search(done.stderr) or _NO_SPACE.search(done.stdout):
        return True
    folder = (os.environ if env is None else env).get("TMPDIR") or "/tmp"
    return Path(folder).is_dir() and shutil.disk_usage(folder).free < _LITTLE


@contextmanager
def _started(
    argv: Sequence[str], cwd: Path | None, env: Mapping[str, str] | None
) -> Iterator[subprocess.Popen[bytes]]:
    """A started program, killed with its whole group when the block is left before the program ended."""
    try:
        with _live_lock:
            if _stopping.is_set():
                raise StoppedError("klpkit is stopping", hint="see the error that came first")
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            _live.add(process.pid)
    except FileNotFoundError as error:
        raise EnvironmentLackError(
            f"{argv[0]}: program not found" if str(error.filename) != str(cwd) else f"{cwd}: folder not found",
            hint="install it or put it on PATH",
        ) from error
    try:
        yield process
    finally:
        with _live_lock:
            _live.discard(process.pid)
        # The leader may be gone while a child of it still runs: the group is what must end.
        _kill_group(process.pid)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        log.debug("process group %d has already ended", pid)


def stop_all() -> None:
    """Kill every program that is running and refuse new ones until `parallel` has wound down."""
    with _live_lock:
        _stopping.set()
        for pid in _live:
            _kill_group(pid)


def default_jobs() -> int:
    """How many programs to run at once: the processors that this process may use."""
    return len(os.sched_getaffinity(0))


def parallel(
    work: Callable[[_Item], _Result],
    items: Iterable[_Item],
    *,
    jobs: int | None = None,
    done: Callable[[_Item, _Result], None] | None = None,
) -> list[_Result]:
    """`work` on each of `items`, `jobs` at a time, results in the order of `items`.

    `done` is called in the calling thread as each result arrives, for progress.  The first error, or an
    interrupt, kills every program that is still running, and is raised when all of them are gone.
    """
    todo = list(items)
    results: dict[int, _Result] = {}
    futures: dict[Future[_Result], int] = {}
    finished: SimpleQueue[Future[_Result]] = SimpleQueue()
    pool = ThreadPoolExecutor(max_workers=jobs or default_jobs())
    try:
        for index, item in enumerate(todo):
            future = pool.submit(work, item)
            futures[future] = index
            future.add_done_callback(finished.put)
        while len(results) < len(todo):
            future = _next(finished)
            index = futures[future]
            results[index] = future.result()
            if done:
                done(todo[index], results[index])
    except BaseException as error:
        try:
            _wind_down(pool)
        except BaseException:  # a second interrupt, with programs that may still run
            stop_all()
            raise
        if isinstance(error, StoppedError) and (cause := _first_cause(futures)):
            raise cause from None
        raise
    pool.shutdown()
    return [results[i] for i in range(len(todo))]


def _next(finished: SimpleQueue[_Item]) -> _Item:
    """What comes next, asked for again and again: a signal just before a wait does not end that wait."""
    while True:
        try:
            return finished.get(timeout=_ASK_AGAIN)
        except Empty:
            continue


def _wind_down(pool: ThreadPoolExecutor) -> None:
    """End every program and wait for the threads; what `pool` has not begun is never begun."""
    stop_all()
    pool.shutdown(wait=True, cancel_futures=True)
    _stopping.clear()


@contextmanager
def background() -> Iterator[Executor]:
    """Threads for work beside the block; leaving it ends every program that is still running, and waits for them.

    Not for use inside of `parallel` or of another such block, whose programs it would end too.
    """
    pool = ThreadPoolExecutor()
    try:
        yield pool
    finally:
        try:
            _wind_down(pool)
        except BaseException:  # as in `parallel`
            stop_all()
            raise


def _first_cause(futures: Iterable[Future[_Result]]) -> BaseException | None:
    """What stopped everything, where some calls only say that something did."""
    errors = (future.exception() for future in futures if not future.cancelled())
    return next((error for error in errors if error and not isinstance(error, StoppedError)), None)
