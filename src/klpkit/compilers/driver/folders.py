# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH103, PTH110, PTH111, PTH118
"""The driver's folders in klpkit's cache, without the start-up cost of `klpkit.cachedir` (same rule: XDG)."""

from __future__ import annotations

import os

from klpkit.compilers.driver.talk import LACKING, DriverError


def cache_base() -> str:
    """klpkit's cache."""
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "klpkit")


def cache_folder(*parts: str) -> str:
    """The folder `parts` below klpkit's cache, made if it does not exist."""
    path = os.path.join(cache_base(), *parts)
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise DriverError(
            f"can't make the cache folder {path}: {error.strerror}",
            status=LACKING,
            hint="set XDG_CACHE_HOME to a folder that you can write to",
        ) from error
    return path


def put(path: str, data: bytes, mode: int = 0o666) -> None:
    """Make `path` hold `data`, whole or not at all."""
    temporary = f"{path}.{os.getpid()}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except OSError as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise DriverError(
            f"can't write {path}: {error.strerror}", status=LACKING, hint="free some space"
        ) from error


def content(path: str) -> bytes | None:
    """What `path` holds; None where there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        chunks = []
        while chunk := os.read(descriptor, 1 << 20):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(descriptor)


def program(name: str, text: str) -> str:
    """An executable file that runs the shell command `text`, for tools that take one word for a program."""
    path = os.path.join(cache_folder("driver"), name)
    if " " in path or "," in path:
        raise DriverError(
            f"the compiler's tools can't run a program in a folder with a space or comma in its name: {path}",
            hint="set XDG_CACHE_HOME to another folder",
        )
    data = f"#!/bin/sh\n{text}\n".encode(errors="surrogateescape")
    if content(path) != data or not os.access(path, os.X_OK):
        put(path, data, mode=0o777)
    return path
