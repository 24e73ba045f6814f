"""Archives in the format that the kernel unpacks into its first root file system.

The format is `newc`, as the kernel's Documentation/driver-api/early-userspace/buffer-format.rst tells.  Archives
are reproducible: no times, no owners but root, entries in the order given.
"""

from __future__ import annotations

import stat

_MAGIC = b"070701"
_END = "TRAILER!!!"


class Archive:
    """An archive under construction; folders that a path needs are added by themselves."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._known: set[str] = set()

    def folder(self, path: str) -> None:
        """A folder, and those above it."""
        names = path.strip("/").split("/")
        for depth in range(1, len(names) + 1):
            name = "/".join(names[:depth])
            if name and name not in self._known:
                self._add(name, stat.S_IFDIR | 0o755)

    def file(self, path: str, content: bytes, *, executable: bool = False) -> None:
        """A regular file; `ValueError` when the archive already has something of that name."""
        self._parent(path)
        self._add(path.strip("/"), stat.S_IFREG | (0o755 if executable else 0o644), content)

    def device(self, path: str, major: int, minor: int) -> None:
        """A character device."""
        self._parent(path)
        self._add(path.strip("/"), stat.S_IFCHR | 0o600, device=(major, minor))

    def packed(self) -> bytes:
        """The whole archive, with its end mark."""
        return b"".join([*self._parts, _entry(0, _END, 0, b"", (0, 0))])

    def _parent(self, path: str) -> None:
        above = path.strip("/").rpartition("/")[0]
        if above:
            self.folder(above)

    def _add(self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        if name in self._known:
            raise ValueError(f"the archive has {name} twice")
        self._known.add(name)
        self._parts.append(_entry(len(self._known), name, mode, content, device))


def _entry(number: int, name: str, mode: int, content: bytes, device: tuple[int, int]) -> bytes:
    """Header, name and content of one entry, each part padded to four bytes."""
    path = name.encode() + b"\0"
    # inode, mode, uid, gid, links, time, size, file system (2), device (2), size of the name, check sum
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
    header = _MAGIC + b"".join(b"%08x" % field for field in fields)
    return _padded(header + path) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
