"""What an object is linked into: vmlinux or a module, from the lists that Kbuild keeps.

Kbuild collects built-in code in thin archives (`built-in.a`, `vmlinux.a`, `lib.a`; the ar format with the magic
`!<thin>`, GNU binutils' binary file descriptor library) and writes the objects of a module into its `.mod` file.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from klpkit.build.cmdfile import SOME_MODULE
from klpkit.build.dependencies import read_bytes
from klpkit.build.index import Entry
from klpkit.errors import FormatError

VMLINUX = "vmlinux"
# Code that is compiled like the kernel's and never becomes part of it or of a module.
_OTHER_PROGRAMS = re.compile(
    r"^(scripts|tools)/|^arch/[^/]+/(boot|realmode/rm|tools)/|/(vdso|vdso32|vdso64|purgatory|libstub)/"
)
_MEMBER_HEADER = 60


def is_other_program(target: str) -> bool:
    """Whether the object `target`, relative to the tree, is of a program beside the kernel: boot loader, vDSO…"""
    return _OTHER_PROGRAMS.search(target) is not None


def thin_members(content: bytes, path: Path) -> list[str]:
    """The member names of a thin archive as written in it; empty for an ordinary archive.

    Raises `FormatError` where `content` is no archive or is cut off.
    """
    if content.startswith(b"!<arch>\n"):
        return []
    if not content.startswith(b"!<thin>\n"):
        raise FormatError(path, "offset 0", "not an archive", hint="build the tree again")
    names, offset, members = b"", 8, []
    while offset < len(content):
        header = content[offset : offset + _MEMBER_HEADER]
        if len(header) < _MEMBER_HEADER or header[58:60] != b"`\n" or not header[48:58].strip().isdigit():
            raise FormatError(path, f"offset {offset}", "a broken member header", hint="build the tree again")
        name, size = header[:16].rstrip(), int(header[48:58])
        offset += _MEMBER_HEADER
        if name in (b"/", b"//", b"/SYM64/"):
            # Only the symbol table and the name table have a content in a thin archive.
            if name == b"//":
                names = content[offset : offset + size]
            offset += size + size % 2
        else:
            members.append(_member_name(name, names, path, offset))
    return members


def _member_name(name: bytes, names: bytes, path: Path, offset: int) -> str:
    if not name.startswith(b"/"):
        return os.fsdecode(name.removesuffix(b"/"))
    # Some versions of ar leave other characters behind the number.
    digits = re.split(rb"[^0-9]", name[1:], maxsplit=1)[0]
    start = int(digits) if digits.isdigit() else len(names)
    end = names.find(b"/\n", start)
    if end < 0:
        raise FormatError(path, f"offset {offset}", "a member without a name", hint="build the tree again")
    return os.fsdecode(names[start:end])


class Owners:
    """Answers what each object of one build tree is linked into."""

    def __init__(self, root: Path, lists: Iterable[str], entries: Iterable[Entry]) -> None:
        self._root = root
        self._lists = list(lists)
        self._entries = {_normal(entry.target): entry for entry in entries}

    def owner(self, target: str) -> str:
        """`vmlinux`, the module or modules (joined by `, `), or "" where nothing tells.  `target` is relative."""
        target = _normal(target)
        if owners := self._modules.get(target):
            return ", ".join(sorted(owners))
        if target in self._built_in:
            return VMLINUX
        if f"{target.removesuffix('.o')}.mod" in self._mod_files:
            return target.removesuffix(".o")  # the module's own object, linked from several
        entry = self._entries.get(target)
        if entry is None or not entry.kernel or is_other_program(target):
            return ""
        if entry.module == SOME_MODULE:
            return ""
        if entry.module:
            return _normal(posixpath.relpath(entry.module, self._root) if entry.module[0] == "/" else entry.module)
        # A finished tree has said all in its archives; an unfinished one will link built-in code into vmlinux.
        return "" if self._finished else VMLINUX

    @cached_property
    def _mod_files(self) -> frozenset[str]:
        return frozenset(name for name in self._lists if name.endswith(".mod"))

    @property
    def _finished(self) -> bool:
        return "vmlinux.a" in self._lists

    @cached_property
    def _modules(self) -> dict[str, set[str]]:
        """Object → the modules that list it."""
        owners: dict[str, set[str]] = defaultdict(set)
        for name in self._mod_files:
            for target in self._mod_objects(name):
                owners[target].add(name.removesuffix(".mod"))
        return owners

    def _mod_objects(self, name: str) -> list[str]:
        """The objects in a `.mod` file, which are relative to the tree, or absolute in an external module."""
        words = os.fsdecode(read_bytes(self._root / name)).split()
        objects = [word for word in words if word.endswith(".o")]
        return [_normal(posixpath.relpath(o, self._root) if o.startswith("/") else o) for o in objects]

    @cached_property
    def _built_in(self) -> frozenset[str]:
        """The objects in the archives that vmlinux is linked from."""
        archives = [n for n in self._lists if n.endswith(".a") and not is_other_program(n)]
        if self._finished:
            archives = [n for n in archives if n == "vmlinux.a" or posixpath.basename(n) == "lib.a"]
        found: set[str] = set()
        for name in archives:
            folder = posixpath.dirname(name)
            for member in thin_members(read_bytes(self._root / name), self._root / name):
                found.add(_normal(posixpath.join(folder, member)))
        return frozenset(found)


def _normal(name: str) -> str:
    return posixpath.normpath(name)
