"""The table of a set of clone dumps, kept on disk: raw columns that are mapped, not read.

The key is a digest of every dump's path, size and time of change, so a stale table has another name and is
never found.  A file is a line of JSON, which says how long each column is, and then the columns; it becomes
visible whole (`cachedir.atomic_write`), and one whose length or head is not as announced is not used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from klpkit.cachedir import atomic_write, cache_dir
from klpkit.errors import EnvironmentLackError, UserError
from klpkit.records.causes import CAUSES
from klpkit.records.model import EffectTable, Strings

log = logging.getLogger("klpkit.records")

# Part of every key: another number makes all older files unfindable.
VERSION = 1
ALIGNMENT = 64
COLUMNS = {
    "unit": np.int32,
    "symbol": np.int32,
    "order": np.int32,
    "file": np.int32,
    "line": np.int32,
    "column": np.int32,
    "removed": np.bool_,
    "body": np.int32,
    "user": np.int32,
    "cause": np.uint8,
}
_EQUALLY_LONG = (list(COLUMNS)[:7], list(COLUMNS)[7:])
STRING_COLUMNS = {"string_starts": np.int64, "string_bytes": np.uint8}
# Tables kept; each is about 60 MB for 1,000,000 clone records.
KEPT = 16


def key_of(dumps: Sequence[str], *, lenient: bool) -> str:
    """The name of the table of `dumps` as they are now; UserError where one can't be looked at."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{VERSION} {lenient} {[cause.slug for cause in CAUSES]}".encode())
    for path in dumps:
        try:
            status = os.stat(path)  # noqa: PTH116 - thousands of them, each query
        except OSError as error:
            raise UserError(f"can't read the clone dump {path}: {error.strerror}") from error
        about = (status.st_size, status.st_mtime_ns, status.st_ino)
        # A relative path is part of the table (`unit`), its absolute form tells two folders apart.
        digest.update(os.fsencode(f"\n{path}\0{about}"))
    digest.update(os.fsencode(Path.cwd()))
    return digest.hexdigest()


def load(key: str) -> EffectTable | None:
    """The table kept under `key`; None where there is none, or one that can't be trusted."""
    path = _path(key)
    try:
        with path.open("rb") as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("the kept table %s can't be used (%s); the dumps are read again", path, error)
        return None
    columns = _columns(data)
    if columns is None:
        log.warning("the kept table %s is damaged; the dumps are read again", path)
    return _table(*columns) if columns else None


def _path(key: str) -> Path:
    return cache_dir("records") / f"{key}.clones"


def _columns(data: mmap.mmap) -> tuple[dict[str, npt.NDArray[Any]], list[str]] | None:
    """The columns in `data` and the table's warnings; None where they don't add up to its length."""
    try:
        head = json.loads(data[: data.find(b"\n") + 1])
        lengths, warnings, at = head["lengths"], head["warnings"], int(head["start"])
        columns = {}
        for name, dtype in (COLUMNS | STRING_COLUMNS).items():
            columns[name] = np.frombuffer(data, dtype=dtype, count=lengths[name], offset=at)
            at += _padded(columns[name].nbytes)
    except (ValueError, KeyError, TypeError):
        return None
    whole = at == len(data) and all(len({lengths[name] for name in names}) == 1 for names in _EQUALLY_LONG)
    return (columns, warnings) if whole else None


def _table(columns: dict[str, npt.NDArray[Any]], warnings: list[str]) -> EffectTable:
    effects = len(columns["body"])
    strings = Strings.from_bytes(columns.pop("string_bytes").tobytes(), columns.pop("string_starts"))
    return EffectTable(
        strings=strings,
        where_file=np.full(effects, -1, dtype=np.int32),
        where_line=np.zeros(effects, dtype=np.int32),
        warnings=warnings,
        **columns,
    )


def store(key: str, table: EffectTable) -> None:
    """Keep `table` under `key`; a full disk or the like costs only the next reading's time."""
    blob, starts = table.strings.to_bytes()
    columns = {name: getattr(table, name) for name in COLUMNS}
    columns |= {"string_starts": starts, "string_bytes": np.frombuffer(blob, dtype=np.uint8)}
    head = _head({name: len(column) for name, column in columns.items()}, table.warnings)
    try:
        path = _path(key)
        with atomic_write(path, "wb") as stream:
            stream.write(head)
            for column in columns.values():
                stream.write(column.tobytes())
                stream.write(bytes(_padded(column.nbytes) - column.nbytes))
        _drop_old(path.parent)
    except EnvironmentLackError as error:
        log.warning("the table of the clone dumps was not kept: %s", error)


def _head(lengths: dict[str, int], warnings: list[str]) -> bytes:
    """The line of JSON, filled up so that the first column starts where a number may."""
    start = 0
    while True:
        text = json.dumps({"start": start, "lengths": lengths, "warnings": warnings}).encode()
        needed = _padded(len(text) + 1)
        if needed == start:
            return text.ljust(start - 1) + b"\n"
        start = needed


def _padded(size: int) -> int:
    return (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def _drop_old(folder: Path) -> None:
    """Keep the `KEPT` tables that were made last."""
    tables = sorted(folder.glob("*.clones"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in tables[KEPT:]:
        path.unlink(missing_ok=True)
