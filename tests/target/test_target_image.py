"""Boot images of every compression, the cache of unpacked ones, and files that are no image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from target_samples import BASE, bzimage, compressed, linked_elf, many_symbols, toy_image

from klpkit.errors import FormatError, RefusedError, UserError
from klpkit.target import imagecache, open_target
from klpkit.target.bzimage import unpack_image
from klpkit.target.vmlinux import Vmlinux

HOW = ["gzip", "xz", "lzma", "bzip2", "zstd", "lz4"]
ELF = linked_elf([(".text", BASE, bytes(range(256)) * 40)])
HERE = Path("toy")


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def addresses(vmlinux: Vmlinux, name: str) -> list[int]:
    return [symbol.address for symbol in vmlinux.positions(name)]


@pytest.mark.parametrize("how", HOW)
def test_the_payload_is_unpacked(how: str) -> None:
    image = unpack_image(bzimage(ELF, how), HERE)
    assert image.vmlinux == ELF
    assert image.release == "6.12.0-toy"


@pytest.mark.parametrize("how", HOW[1:])
def test_another_size_than_the_appended_one_is_noticed(how: str) -> None:
    stored = compressed(ELF, how)
    wrong = stored[:-4] + (len(ELF) + 8).to_bytes(4, "little")
    with pytest.raises(FormatError, match="that should be"):
        unpack_image(bzimage(b"", payload=wrong), HERE)


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_payload_is_refused(how: str) -> None:
    stored = bytearray(compressed(ELF, how))
    del stored[len(stored) // 2 : -4]
    with pytest.raises(FormatError):
        unpack_image(bzimage(b"", payload=bytes(stored)), HERE)


def test_a_payload_past_the_end_is_refused() -> None:
    whole = bzimage(ELF)
    with pytest.raises(FormatError, match="reaches past the end"):
        unpack_image(whole[:-200], HERE)
    with pytest.raises(FormatError, match="cut short"):
        unpack_image(whole[:0x240], HERE)


def test_a_protocol_without_payload_is_refused() -> None:
    with pytest.raises(FormatError, match=r"protocol 2\.07"):
        unpack_image(bzimage(ELF, protocol=0x207), HERE)


def test_an_unknown_compression_is_named_by_its_first_bytes() -> None:
    with pytest.raises(FormatError, match=r"unknown compression \(begins 01 02"):
        unpack_image(bzimage(b"", payload=b"\1\2\3\4\5\6\7\x08"), HERE)


@pytest.mark.parametrize("content", [b"", b"MZ" + bytes(600), b"#!/bin/sh\n" * 90])
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(RefusedError, match="no bzImage and no vmlinux") as caught:
        unpack_image(content, HERE)
    assert caught.value.slug == "image-format"


def test_a_payload_that_is_no_elf_file_is_refused() -> None:
    with pytest.raises(RefusedError, match="no ELF file"):
        unpack_image(bzimage(b"flat image " * 50), HERE)


def test_an_image_tells_symbols_and_bytes(tmp_path: Path) -> None:
    symbols = many_symbols()
    target = open_target(image=written(tmp_path / "vmlinuz", toy_image(symbols)))
    twice = [address for address, _, name in symbols if name == "twice_7"]
    assert len(twice) == 2
    assert addresses(target.vmlinux, "twice_7") == twice
    assert [target.vmlinux.sympos(symbol) for symbol in target.vmlinux.positions("twice_7")] == [1, 2]
    (only,) = target.vmlinux.positions("function_number_0001.isra.0")
    assert (target.vmlinux.sympos(only), only.size, only.exact) == (0, 16, False)
    assert target.vmlinux.code(only) == bytes(16)


def test_an_image_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "vmlinuz", toy_image(many_symbols()))
    first = open_target(image=path).vmlinux.columns
    monkeypatch.setattr(imagecache, "unpack_image", None)
    monkeypatch.setattr(imagecache, "read_kallsyms", None)
    again = open_target(image=path).vmlinux.columns
    assert (again.names, again.kinds) == (first.names, first.kinds)
    assert (again.addresses == first.addresses).all()


def test_another_image_of_the_same_name_is_unpacked_anew(tmp_path: Path) -> None:
    path = written(tmp_path / "vmlinuz", toy_image(many_symbols()))
    before = open_target(image=path)
    after = open_target(image=written(path, toy_image(many_symbols(600))))
    assert (len(before.vmlinux.columns), len(after.vmlinux.columns)) == (700, 600)


def test_damage_in_the_cache_is_mended(tmp_path: Path, isolated_home: Path) -> None:
    path = written(tmp_path / "vmlinuz", toy_image(many_symbols()))
    names = open_target(image=path).vmlinux.columns.names
    (stored,) = (isolated_home / ".cache/klpkit/target").glob("*.symbols")
    for damage in (stored.read_bytes()[:-40], b"", stored.read_bytes()[:100]):
        stored.write_bytes(damage)
        assert open_target(image=path).vmlinux.columns.names == names


def test_few_kernels_stay_in_the_cache(tmp_path: Path, isolated_home: Path) -> None:
    folder = isolated_home / ".cache/klpkit/target"
    for number in range(imagecache.KEPT_KERNELS + 2):
        path = written(tmp_path / "vmlinuz", toy_image(many_symbols(300 + number)))
        open_target(image=path)
        for file in folder.iterdir():
            os.utime(file, (file.stat().st_mtime - 100,) * 2)
    assert len(list(folder.glob("*.vmlinux"))) == imagecache.KEPT_KERNELS
    assert len(list(folder.glob("*.symbols"))) == imagecache.KEPT_KERNELS


def test_a_missing_image_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        open_target(image=tmp_path / "vmlinuz")


def test_an_image_without_kallsyms_is_refused_with_a_way_out(tmp_path: Path) -> None:
    content = bzimage(linked_elf([(".text", BASE, bytes(64)), (".rodata", BASE + 4096, bytes(4096))]))
    with pytest.raises(FormatError, match="no kallsyms tables") as caught:
        open_target(image=written(tmp_path / "vmlinuz", content))
    assert "debug vmlinux" in caught.value.hint
