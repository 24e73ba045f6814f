"""Marks of what Kbuild read: they hold while nothing has changed, and no longer."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from klpkit.build.kbuildseen import Seen


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = [tmp_path / name for name in ("a.c", "a.h", "Makefile")]
    for path in found:
        path.write_text("old")
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return found


def marked(folder: Path, files: list[Path]) -> Path:
    mark = folder / "a.o.seen"
    Seen(folder).note(mark, files, time.time_ns())
    assert Seen(folder).holds(mark, files)
    return mark


@pytest.mark.parametrize("number", range(3))
def test_new_content_with_an_old_time_is_a_change(tmp_path: Path, files: list[Path], number: int) -> None:
    mark = marked(tmp_path, files)
    files[number].write_text("newer")
    os.utime(files[number], (1_000_000_000, 1_000_000_000))
    assert not Seen(tmp_path).holds(mark, files)


def test_another_time_is_a_change(tmp_path: Path, files: list[Path]) -> None:
    mark = marked(tmp_path, files)
    os.utime(files[1], (900_000_000, 900_000_000))
    assert not Seen(tmp_path).holds(mark, files)


def test_a_file_that_is_gone_or_new_is_a_change(tmp_path: Path, files: list[Path]) -> None:
    absent = tmp_path / "Kbuild"
    mark = marked(tmp_path, [*files, absent])
    absent.write_text("")
    assert not Seen(tmp_path).holds(mark, [*files, absent])
    absent.unlink()
    assert Seen(tmp_path).holds(mark, [*files, absent])
    files[0].unlink()
    assert not Seen(tmp_path).holds(mark, [*files, absent])


def test_a_folder_that_became_a_file_is_a_change(tmp_path: Path) -> None:
    header = tmp_path / "include/a.h"
    header.parent.mkdir()
    header.write_text("old")
    os.utime(header, (1_000_000_000, 1_000_000_000))
    mark = marked(tmp_path, [header])
    header.unlink()
    header.parent.rmdir()
    header.parent.write_text("")
    assert not Seen(tmp_path).holds(mark, [header])


def test_what_changed_while_it_was_read_gets_no_mark(tmp_path: Path, files: list[Path]) -> None:
    mark = tmp_path / "a.o.seen"
    begun = time.time_ns() - 10**9
    files[1].write_text("while Kbuild reads")
    Seen(tmp_path).note(mark, files, begun)
    assert not Seen(tmp_path).holds(mark, files)


def test_makefiles_are_those_up_to_the_top(tmp_path: Path) -> None:
    found = list(Seen(tmp_path).makefiles("fs/proc/cmdline.o"))
    folders = [tmp_path / "fs/proc", tmp_path / "fs", tmp_path]
    assert found == [folder / name for folder in folders for name in ("Makefile", "Kbuild")]
