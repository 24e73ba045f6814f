"""What the driver says on stderr, in the form that compilers use, and the error that ends a call."""

from __future__ import annotations

import os

NAME = "klpkit-cc"

BAD_OPTION = 1  # what GCC and Clang end with when they don't like an option
USAGE = 2
LACKING = 3
BUG = 70


class DriverError(Exception):
    """Ends the call with `status` after `message`, before the compiler runs or after it has."""

    def __init__(self, message: str, *, status: int = BAD_OPTION, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.hint = hint


def say(text: str) -> None:
    """Write `text` and a newline to stderr in one call, so that parallel compilers don't mix lines."""
    write_all(2, f"{text}\n".encode(errors="surrogateescape"))


def warn(message: str, where: str = NAME) -> None:
    say(f"{where}: warning: {message}")


def report(error: DriverError) -> None:
    say(f"{NAME}: error: {error.message}")
    if error.hint:
        say(f"{NAME}: note: {error.hint}")


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`; a plain `os.write` may stop early on a pipe or a full disk."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
