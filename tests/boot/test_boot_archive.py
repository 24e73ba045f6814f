"""Archives for guests, held against busybox's own cpio; and modules in the order in which they can be loaded."""

from __future__ import annotations

import gzip
import lzma
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klpkit.boot.cpio import Archive
from klpkit.boot.initramfs import busybox, initramfs
from klpkit.boot.modules import read_module, with_needs
from klpkit.errors import EnvironmentLackError, FormatError, UserError

MakeModule = Callable[..., Path]


@pytest.fixture
def make_module(tmp_path: Path) -> MakeModule:
    """A file with the section `.modinfo` of a kernel module."""

    def make(name: str, depends: str = "", *, livepatch: bool = False, file: str = "") -> Path:
        info = [f"name={name}", f"depends={depends}", "vermagic=6.12 SMP"] + ["livepatch=Y"] * livepatch
        lines = "".join(f'.asciz "{entry}"\n' for entry in info)
        path = tmp_path / "modules" / (file or f"{name}.ko")
        path.parent.mkdir(exist_ok=True)
        source = f'.section .modinfo, "a"\n{lines}'.encode()
        subprocess.run(["as", "--64", "-o", path, "-"], input=source, check=True)
        return path

    return make


def unpacked(archive: bytes, folder: Path) -> None:
    if not Path("/bin/busybox").exists():
        pytest.skip("busybox-static is not installed")
    folder.mkdir(exist_ok=True)
    subprocess.run(["/bin/busybox", "cpio", "-id", "--quiet"], input=archive, cwd=folder, check=True)


def test_what_is_put_in_comes_out(tmp_path: Path) -> None:
    archive = Archive()
    archive.file("a/b/c.txt", b"text\n")
    archive.file("run", b"#!/bin/sh\n", executable=True)
    archive.folder("empty")
    unpacked(archive.packed(), tmp_path / "out")
    out = tmp_path / "out"
    assert (out / "a/b/c.txt").read_bytes() == b"text\n"
    assert (out / "run").stat().st_mode & 0o777 == 0o755
    assert (out / "a/b/c.txt").stat().st_mode & 0o777 == 0o644
    assert (out / "empty").is_dir()


def test_one_name_is_never_packed_twice() -> None:
    archive = Archive()
    archive.file("a", b"1")
    with pytest.raises(ValueError, match="twice"):
        archive.file("/a", b"2")


@given(st.lists(st.binary(max_size=9), max_size=6))
def test_every_entry_starts_at_a_multiple_of_four(contents: list[bytes]) -> None:
    archive = Archive()
    for number, content in enumerate(contents):
        archive.file(f"f{'x' * number}", content)
    packed = archive.packed()
    place = 0
    for content in [*contents, b""]:
        assert packed[place : place + 6] == b"070701"
        size = int(packed[place + 54 : place + 62], 16)
        name = int(packed[place + 94 : place + 102], 16)
        data = (place + 110 + name + 3) & ~3
        assert packed[data : data + size] == content
        place = (data + size + 3) & ~3
    assert place == len(packed)


def test_the_same_guest_is_the_same_archive(make_module: MakeModule) -> None:
    try:
        busybox()
    except EnvironmentLackError as error:
        pytest.skip(str(error))
    module = read_module(make_module("one"))
    first = initramfs({"patch": "it's"}, (4, 65), [module], b"true\n", {"data": b"1"})
    assert first == initramfs({"patch": "it's"}, (4, 65), [module], b"true\n", {"data": b"1"})
    assert b"patch='it'\"'\"'s'\n" in gzip.decompress(first)


def test_a_module_is_named_as_it_names_itself(make_module: MakeModule) -> None:
    module = read_module(make_module("live_patch", livepatch=True, file="live-patch.ko"))
    assert (module.name, module.vermagic, module.livepatch) == ("live_patch", "6.12 SMP", True)


def test_a_packed_module_is_unpacked(make_module: MakeModule, tmp_path: Path) -> None:
    plain = make_module("one")
    packed = tmp_path / "one.ko.xz"
    packed.write_bytes(lzma.compress(plain.read_bytes()))
    assert read_module(packed).content == plain.read_bytes()


@pytest.mark.parametrize("middle", ["mid_dle", "mid-dle"])
def test_modules_come_after_what_they_need(make_module: MakeModule, middle: str) -> None:
    """Kbuild writes files' names with their hyphens."""
    make_module("base")
    make_module("mid_dle", "base", file="mid-dle.ko")
    top = make_module("top", f"{middle},base")
    assert [module.name for module in with_needs([top], top.parent)] == ["base", "mid_dle", "top"]


def test_a_module_that_is_needed_and_missing_is_named(make_module: MakeModule) -> None:
    top = make_module("top", "nowhere")
    with pytest.raises(UserError, match=r"top needs module nowhere(.|\n)*--modules"):
        with_needs([top], None)


def test_what_is_no_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.o"
    subprocess.run(["as", "--64", "-o", path, "-"], input=b"nop\n", check=True)
    with pytest.raises(FormatError, match="no kernel module"):
        read_module(path)
