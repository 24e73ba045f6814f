# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH116, PTH118, PTH120
"""What the compiler is and which level flags it knows: asked of it once, then read from a small file.

A file `compilers/<path>-<size>-<mtime>` in klpkit's cache holds the kind, then one line a combination of level,
stage and LTO with the flags that mean it.  A parallel make asks once: the first call holds a lock, the others
wait for its answer.
"""

from __future__ import annotations

import os

from klpkit.compilers.driver.folders import cache_folder, content, put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from klpkit.compilers.levels import Level

FORMAT = "klpkit-driver 2"


class Features:
    """`kind` is `gcc` or `clang`; `flags[level, stage, lto]` are the words to add."""

    __slots__ = ("flags", "kind", "marked")

    def __init__(self, lines: list[str]) -> None:
        self.kind, marked = lines[1].split(" ")
        self.marked = marked == "1"
        self.flags: dict[tuple[str, str, bool], list[str]] = {}
        for line in lines[2:]:
            level, stage, lto, *words = line.split(" ")
            self.flags[level, stage, lto == "lto"] = words

    def flags_for(self, level: Level, stage: str, lto: bool) -> list[str]:
        return self.flags[str(level), stage, lto]

    def needs_marking(self, level: Level, lto: bool) -> bool:
        """Whether a TU's public functions must be marked as not inlinable when it is compiled."""
        return self.kind == "gcc" and level == "only-inline-static" and (lto or self.marked)


def of(path: str) -> Features:
    """The features of the compiler in the file `path`."""
    name = os.path.join(cache_folder("compilers"), _key(path))
    known = _read(name)
    if known:
        return known
    return _asked_once(path, name)


def _key(path: str) -> str:
    """A file name that changes with the compiler and with klpkit's tables."""
    real = os.path.realpath(path)
    here = os.path.dirname(os.path.dirname(__file__))
    stamps = []
    for part in (real, f"{here}/gcc.py", f"{here}/clang.py", f"{here}/levels.py"):
        try:
            stat = os.stat(part)
            stamps.append(f"{stat.st_size:x}.{stat.st_mtime_ns:x}")
        except OSError:
            stamps.append("0")
    return f"{real.replace('%', '%%').replace('/', '%')[-120:]}-{'-'.join(stamps)}"


def _read(name: str) -> Features | None:
    data = content(name)
    if data is None:
        return None
    lines = data.decode().splitlines()
    return Features(lines[:-1]) if len(lines) > 2 and lines[0] == FORMAT and lines[-1] == "end" else None


def _asked_once(path: str, name: str) -> Features:
    import fcntl

    lock = os.open(f"{name}.lock", os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = _read(name)
        if known is None:
            lines = _asked(path)
            put(name, "\n".join([*lines, "end", ""]).encode())
            known = Features(lines)
        return known
    finally:
        os.close(lock)


def _asked(path: str) -> list[str]:
    """The lines to keep for the compiler in the file `path`."""
    from klpkit.compilers import gcc, probe
    from klpkit.compilers.levels import LEVELS, Level, flags_for

    found = probe.identify([path])
    supported = found.supported
    marked = found.kind == "gcc" and gcc.needs_marking(Level.ONLY_INLINE_STATIC, supported, False)
    lines = [FORMAT, f"{found.kind} {int(marked)}"]
    for level in LEVELS:
        for stage in ("compile", "link"):
            for lto in (False, True):
                words = flags_for(found.kind, level, supported=supported, stage=stage, lto=lto)
                lines.append(" ".join([str(level), stage, "lto" if lto else "plain", *words]))
    return lines
