"""Files appear whole or not at all, and a cache that can't be written says what to do."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from klpkit.cachedir import atomic_write, cache_dir
from klpkit.errors import EnvironmentLackError


def test_the_cache_is_where_xdg_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert cache_dir("a", "b") == tmp_path / "c" / "klpkit" / "a" / "b"
    assert cache_dir("a", "b").is_dir()


def test_without_xdg_it_is_below_the_home_folder(isolated_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir("x") == isolated_home / ".cache" / "klpkit" / "x"


def test_a_cache_that_can_not_be_made_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EnvironmentLackError, match="XDG_CACHE_HOME"):
        cache_dir("x")


def test_a_write_takes_the_place_of_the_old_file_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with atomic_write(path) as stream:
        stream.write("new")
        stream.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.glob(".x*")) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_inside_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def write() -> None:
        with atomic_write(path, "wb") as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir() if p.is_file()] == [("x", "old")]


def test_an_error_of_the_system_inside_the_block_is_not_mistaken_for_a_full_disk(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_write(tmp_path / "x"):
            (tmp_path / "absent").read_text()

    with pytest.raises(FileNotFoundError):
        write()


def test_files_get_the_usual_permissions(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "x") as stream:
        stream.write("x")
    (tmp_path / "y").touch()
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def test_a_full_disk_is_a_clear_error_and_leaves_no_half_file(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import resource, signal
        from pathlib import Path
        from klpkit.cachedir import atomic_write
        from klpkit.errors import EnvironmentLackError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            with atomic_write(Path({str(tmp_path / "x")!r}), "wb") as stream:
                stream.write(b"x" * 100_000)
        except EnvironmentLackError as error:
            print(error.exit_code, error)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("3 can't write")
    assert "free some space" in done.stdout
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "x"

    def write(letter: str) -> None:
        with atomic_write(path) as stream:
            stream.write(letter * 100_000)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = path.read_text()
    assert len(content) == 100_000
    assert len(set(content)) == 1
    assert list(tmp_path.glob(".x*")) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to("folder/file")
    with atomic_write(link) as stream:
        stream.write("new")
    assert link.is_symlink()
    assert (tmp_path / "folder" / "file").read_text() == "new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    with atomic_write(pipe) as stream:
        stream.write("through")
    reader.join()
    assert heard == ["through"]
    assert pipe.is_fifo()


def test_a_folder_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLackError, match="Is a directory"), atomic_write(tmp_path) as stream:
        stream.write("x")
