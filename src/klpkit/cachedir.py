"""Where klpkit keeps what it can compute again, and how a file there becomes visible: whole or not at all.

Follows the XDG base directory specification: `$XDG_CACHE_HOME/klpkit`, else `~/.cache/klpkit`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Literal, overload

from klpkit.errors import EnvironmentLackError

# An open stream under a name: even where it is a file, others hold it open and go on writing to it.
_STREAMS = ("/dev/std", "/dev/fd/", "/proc/")


def cache_dir(*parts: str) -> Path:
    """The folder `parts` below klpkit's cache, made if it does not exist.

    Raises `EnvironmentLackError` where the folder can't be made.
    """
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(base, "klpkit", *parts)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentLackError(
            f"can't make the cache folder {path}: {error.strerror}",
            hint="set XDG_CACHE_HOME to a folder that you can write to",
        ) from error
    return path


@overload
def atomic_write(path: Path, mode: Literal["w"] = "w") -> AbstractContextManager[IO[str]]: ...


@overload
def atomic_write(path: Path, mode: Literal["wb"]) -> AbstractContextManager[IO[bytes]]: ...


def atomic_write(path: Path, mode: str = "w") -> AbstractContextManager[IO[Any]]:
    """Open a new file that takes the place of `path` only when the block ends without an error.

    The content is flushed to disk first, so that neither a full disk, a crash nor an interrupt can leave half
    a result under the final name.  A link stays one: the file that it leads to is replaced.  What is no regular
    file (a device, a pipe) is written to as it is.  Raises `EnvironmentLackError` where writing fails.
    """
    if (path.exists() and not path.is_file()) or str(path).startswith(_STREAMS):
        return _plain_write(path, mode)
    return _atomic_write(path.resolve(), mode)


@contextmanager
def _plain_write(path: Path, mode: str) -> Iterator[IO[Any]]:
    try:
        with open(path, mode) as stream:
            yield stream
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritable(path, error) from error


@contextmanager
def _atomic_write(path: Path, mode: str) -> Iterator[IO[Any]]:
    temporary = ""
    inside = False
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, mode) as stream:
            inside = True
            yield stream
            inside = False
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_UMASK)
        os.replace(temporary, path)
        temporary = ""
    except OSError as error:
        # A failed write names no file; an error about some other file is the caller's own.
        if inside and error.filename is not None:
            raise
        raise _unwritable(path, error) from error
    finally:
        if temporary:
            os.unlink(temporary)


def _unwritable(path: Path, error: OSError) -> EnvironmentLackError:
    return EnvironmentLackError(
        f"can't write {path}: {error.strerror}", hint="free some space or choose another place"
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# Asked once, when no thread can be making a file at the same moment.
_UMASK = _umask()
