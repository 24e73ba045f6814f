"""Copies of prepared trees: another preparation has another copy, and only a few are kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from klpkit.build.kbuildcopy import KEPT_COPIES, prepared_copy

GENERATED = "arch/x86/include/generated/asm/syscalls.h"
FILES = (".config", "include/config/auto.conf", "include/generated/autoconf.h", GENERATED)


def prepared(folder: Path) -> Path:
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("first")
    return folder


def copied(build: Path, name: str = GENERATED) -> tuple[Path, str]:
    """The copy, and what it has as `name`."""
    with prepared_copy(build, build.parent / "linux") as copy:
        return copy, (copy / name).read_text()


@pytest.mark.parametrize(
    "name", [".config", "include/config/auto.conf", "include/generated/autoconf.h", GENERATED]
)
def test_a_file_of_the_preparation_that_changed_is_copied_again(tmp_path: Path, name: str) -> None:
    build = prepared(tmp_path / "build")
    copy, _ = copied(build)
    assert copied(build, name) == (copy, "first")
    old = (build / name).stat()
    (build / name).write_text("other")
    os.utime(build / name, ns=(old.st_atime_ns, old.st_mtime_ns))
    again, text = copied(build, name)
    assert (again != copy, text) == (True, "other")


def test_a_compiler_s_plugin_that_changed_is_copied_again(tmp_path: Path) -> None:
    build = prepared(tmp_path / "build")
    plugin = build / "scripts/gcc-plugins/latent.so"
    plugin.parent.mkdir(parents=True)
    plugin.write_text("first")
    copy, _ = copied(build)
    plugin.write_text("other")
    assert copied(build, "scripts/gcc-plugins/latent.so")[1] == "other"
    assert copy != copied(build)[0]


def test_the_copies_used_last_are_kept_of_each_tree(tmp_path: Path) -> None:
    build, other = prepared(tmp_path / "build"), prepared(tmp_path / "other")
    elsewhere, _ = copied(other)
    copies = []
    for number in range(KEPT_COPIES + 2):
        (build / GENERATED).write_text(f"number {number}")
        copies.append(copied(build)[0])
        (copies[-1].with_suffix(".bin")).mkdir()
        os.utime(copies[-1], (number + 1, number + 1))
    (build / GENERATED).write_text("last")
    last, text = copied(build)
    assert text == "last"
    kept = [*copies[-KEPT_COPIES + 1 :], last]
    assert [path for path in [*copies, last] if path.exists()] == kept
    assert [path for path in copies if path.with_suffix(".bin").exists()] == copies[-KEPT_COPIES + 1 :]
    assert elsewhere.exists()
    shutil.rmtree(last)
    assert copied(build) == (last, "last")
