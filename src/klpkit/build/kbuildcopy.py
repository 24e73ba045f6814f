"""The copy of a prepared build tree that Kbuild is run in: in the user's cache, by the content of the preparation.

A tree that was prepared again, with other options or generated headers, has another copy: programs may still be
compiling with the one before.  A few copies of each tree are kept, the latest used.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from klpkit.cachedir import cache_dir

# What `make modules_prepare` makes that Kbuild needs for a single object; `arch/*/include/generated` and the
# assembler files with offsets come on top.
_PREPARED = (
    ".config",
    "include/config",
    "include/generated",
    "scripts",
    "tools/objtool",
    "tools/bpf/resolve_btfids",
)
_NOT_COPIED = shutil.ignore_patterns("*.ko", "vmlinux*", "*.a", "built-in*", "*.dwo", "*.i", "*.rmeta")
KEPT_COPIES = 3  # of each tree


@contextmanager
def prepared_copy(build: Path, source: Path) -> Iterator[Path]:
    """The copy of `build`, prepared from `source`, made when it is first needed; nobody else asks Kbuild in it."""
    tree = _hash(os.fsencode(build.resolve()), os.fsencode(source.resolve()))[:12]
    facts = [(os.fsencode(path.relative_to(build)), _digest(path)) for path in _compiled_with(build)]
    name = f"{tree}-{_hash(*(word for fact in facts for word in fact))[:24]}"
    home = cache_dir("build", "kbuild")
    with open(home / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        copy = home / name
        if not _is_whole(copy, build):
            shutil.rmtree(copy, ignore_errors=True)
            part = home / f"{name}.part"
            shutil.rmtree(part, ignore_errors=True)
            _copy_prepared(build, part)
            part.rename(copy)
        os.utime(copy)
        _prune(home, tree)
        yield copy


def _prune(home: Path, tree: str) -> None:
    """Remove the copies of a tree that were used longest ago, with what lies beside them."""
    copies = sorted((path for path in home.glob(f"{tree}-*") if not path.suffix), key=_age, reverse=True)
    for old in copies[KEPT_COPIES:]:
        for path in (old, old.with_suffix(".view"), old.with_suffix(".bin")):
            shutil.rmtree(path, ignore_errors=True)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _hash(*words: bytes) -> str:
    return hashlib.sha256(b"\0".join(words)).hexdigest()


def _is_whole(scratch: Path, build: Path) -> bool:
    """Whether a copy is there with all of its configuration: a failure of Kbuild may have taken it away."""
    names = ("include/config/auto.conf", "include/generated/autoconf.h")
    return scratch.exists() and all((scratch / name).exists() for name in names if (build / name).exists())


def _compiled_with(build: Path) -> Iterator[Path]:
    """What decides in a prepared tree how a unit is compiled: configuration, generated headers, GCC's plugins."""
    yield from (build / ".config", build / "include/config/auto.conf")
    yield from sorted((build / "scripts/gcc-plugins").glob("*.so"))
    for folder in (build / "include/generated", *sorted(build.glob("arch/*/include/generated"))):
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b""


def _copy_prepared(build: Path, part: Path) -> None:
    """Copy what Kbuild needs of a prepared tree, times included: Make must find nothing to do."""
    part.mkdir(parents=True)
    for name in _PREPARED:
        _copy(build / name, part / name)
    for generated in build.glob("arch/*/include/generated"):
        _copy(generated, part / generated.relative_to(build))
    for offsets in [
        *build.glob("arch/*/kernel/*.s"),
        *build.glob("arch/*/kernel/.*.cmd"),
        *build.glob("kernel/bounds.s"),
    ]:
        _copy(offsets, part / offsets.relative_to(build))


def _copy(original: Path, copy: Path) -> None:
    if original.is_dir():
        shutil.copytree(original, copy, symlinks=True, ignore=_NOT_COPIED, dirs_exist_ok=True)
    elif original.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(original, copy)
