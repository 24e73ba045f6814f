"""The kept table: used when nothing changed, never when anything did, never when it is not whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from klpkit.cachedir import cache_dir
from klpkit.errors import FormatError
from klpkit.records import clonebulk, clonecache, read_clone_dumps
from klpkit.records.model import EffectTable

LINE = "Callgraph clone;leaf;1;a.c;2;3;{};4;a.c;5;6;{}\nCallgraph removal;leaf;1;a.c;2;3\n"


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "a.c.000i.ipa-clones"
    path.write_text(LINE.format("mid", "odd"))
    return path


def same(one: EffectTable, other: EffectTable) -> bool:
    return list(one.effects()) == list(other.effects()) and one.removed.tolist() == other.removed.tolist()


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_dumps(*_: object, **__: object) -> EffectTable:
        raise AssertionError("the dumps were read again")

    monkeypatch.setattr(clonebulk, "read_dumps", read_dumps)


def kept() -> list[Path]:
    return sorted(cache_dir("records").iterdir())


def test_the_second_reading_does_not_touch_the_dumps(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_clone_dumps(dump)
    forbid_reading(monkeypatch)
    second = read_clone_dumps(dump)
    assert same(first, second)
    assert second.warnings == first.warnings != []
    assert second.rows_of("leaf").tolist() == first.rows_of("leaf").tolist() == [0]


def test_a_changed_dump_is_read_again(dump: Path) -> None:
    read_clone_dumps(dump)
    dump.write_text(LINE.format("mie", "odd"))
    os.utime(dump, ns=(1, 1))
    assert [effect.user.symbol for effect in read_clone_dumps(dump).effects()] == ["mie"]


def test_another_working_folder_is_another_table(
    dump: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for folder, user in ((tmp_path, "one"), (other, "two")):
        monkeypatch.chdir(folder)
        Path("x.ipa-clones").write_text(LINE.format(user, "part"))
        os.utime("x.ipa-clones", ns=(1, 1))
        assert [effect.user.symbol for effect in read_clone_dumps("x.ipa-clones").effects()] == [user]


def test_a_lenient_table_is_not_given_to_a_strict_reader(dump: Path) -> None:
    dump.write_text("garbage\n")
    assert len(read_clone_dumps(dump, lenient=True)) == 0
    with pytest.raises(FormatError):
        read_clone_dumps(dump)


@pytest.mark.parametrize("damage", ["empty", "cut", "longer", "garbage", "head"])
def test_a_damaged_table_is_not_used(dump: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    first = read_clone_dumps(dump)
    (path,) = kept()
    data = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "cut": data[:-70],
            "longer": data + b"\0" * 64,
            "garbage": b"\xff" * len(data),
            "head": data.replace(b'"body": 1', b'"body": 9'),
        }[damage]
    )
    assert same(read_clone_dumps(dump), first)
    assert "read again" in caplog.text
    assert path.read_bytes() == data


def test_without_the_cache_nothing_is_written(dump: Path) -> None:
    read_clone_dumps(dump, cache=False)
    assert kept() == []


def test_a_full_disk_costs_only_time(
    dump: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    assert len(read_clone_dumps(dump)) == 1
    assert "No space left" in caplog.text
    assert kept() == []


def test_only_so_many_tables_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clonecache, "KEPT", 2)
    for number in range(4):
        path = tmp_path / f"{number}.ipa-clones"
        path.write_text(LINE.format("mid", "part"))
        read_clone_dumps(path)
    assert len(kept()) == 2
