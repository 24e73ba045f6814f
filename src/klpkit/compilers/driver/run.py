"""Runs the compiler as itself: same streams, same working folder, same end.

The compiler stays in the driver's process group, so that a terminal's Ctrl-C reaches both and job control works;
a signal that reaches the driver alone is passed on, and a driver whose compiler died by a signal dies by it too.
"""

from __future__ import annotations

import os

from klpkit.compilers.driver.talk import LACKING, DriverError, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    # The module `signal` is this one dressed in enums, which cost 4 ms a call.
    import _signal as signal

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# Python ignores these; a compiler must not inherit that.
_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)

_child = 0
_received = 0
_kept_input = False


def die_of_interrupts() -> None:
    """Until a compiler runs, Ctrl-C ends the driver as it ends a compiler, without Python's traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def replace(argv: list[str]) -> int:
    """Become `argv`; returns only where that fails, by raising `DriverError`."""
    for number in _PYTHON_IGNORES:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        raise _no_start(argv, error) from error


def run(
    argv: list[str],
    *,
    stderr: int | None = None,
    env: dict[str, str] | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> int:
    """Run `argv` to its end and return its wait status.

    `stderr` is a descriptor to use in place of the own; `meanwhile` is called while `argv` runs.
    """
    child = start(argv, stderr=stderr, env=env)
    if meanwhile:
        meanwhile()
    return wait(child)


def start(argv: list[str], *, stderr: int | None = None, env: dict[str, str] | None = None) -> int:
    """Start `argv`; its process id."""
    global _child
    actions = [(os.POSIX_SPAWN_DUP2, stderr, 2)] if stderr is not None else []
    if not _child:
        _pass_signals_on()
    try:
        _child = os.posix_spawnp(argv[0], argv, env or os.environ, file_actions=actions, setsigdef=_PYTHON_IGNORES)
    except OSError as error:
        raise _no_start(argv, error) from error
    if _received:  # before the name of whom to pass it on to was known
        _pass_on(_received, None)
    return _child


def keep_input() -> None:
    """Put a file in memory that holds all of standard input in its place: more than one program can read it."""
    global _kept_input
    try:
        os.fstat(0)
    except OSError:
        # It is closed; the compiler says so.
        return
    kept = os.memfd_create("klpkit-input")
    while chunk := os.read(0, 1 << 20):
        write_all(kept, chunk)
    os.lseek(kept, 0, os.SEEK_SET)
    os.dup2(kept, 0)
    os.close(kept)
    _kept_input = True


def rewind_input() -> None:
    """Have the next program read what `keep_input` kept from its start; nothing where nothing was kept."""
    if _kept_input:
        os.lseek(0, 0, os.SEEK_SET)


def wait(child: int) -> int:
    """The wait status of `child`, when it has ended."""
    return os.waitpid(child, 0)[1]


def interrupted() -> bool:
    """Whether a signal asked the driver to end."""
    return bool(_received)


def end(status: int) -> int:
    """The exit status for a wait status; where a signal ended the compiler, the driver ends by it here."""
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else _received
    if number:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return os.WEXITSTATUS(status)


def _pass_signals_on() -> None:
    for number in _PASSED_ON:
        # What the caller ignores (nohup, background jobs) stays ignored, for the compiler too.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _pass_on)


def _pass_on(number: int, frame: object) -> None:
    global _received
    _received = number
    if _child:
        try:
            os.kill(_child, number)
        except ProcessLookupError:
            return


def _no_start(argv: list[str], error: OSError) -> DriverError:
    return DriverError(f"{argv[0]}: {error.strerror}", status=LACKING, hint="install it or put it on PATH")
