"""Bad input through the command line: a clear message, the right exit code, nothing half-written."""

from __future__ import annotations

import functools
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from klpkit.build import replays
from klpkit.cli.main import ENDING, main
from klpkit.impact import treesource

UNIT = "static int h(int x) { return x * 3; }\nint f(int x) { return h(x) + 1; }\n"
CLONE = "Callgraph clone;{};{};u.c;1;12;f;2;u.c;2;5;inlining to\n"


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    status: int
    stdout: str
    stderr: str


Klpkit = Callable[..., Said]


@pytest.fixture
def klpkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Klpkit]:
    """The command in this process, in a folder of the test's own."""
    before = {number: signal.getsignal(number) for number in ENDING}
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["klpkit", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Said(ended.value.code, said.out, said.err)

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


def refused(said: Said, status: int, *texts: str) -> None:
    """Assert that nothing but a message with all of `texts` came of it."""
    assert (said.status, said.stdout) == (status, "")
    assert said.stderr.startswith(("klpkit: ", "Usage: "))
    assert "Traceback" not in said.stderr
    for text in texts:
        assert text in said.stderr


def database(folder: Path, compiler: str) -> None:
    """A compilation database of one unit."""
    (folder / "u.c").write_text(UNIT)
    argv = [compiler, "-O2", "-c", "-o", "u.o", "u.c"]
    entry = {"directory": str(folder), "file": "u.c", "arguments": argv}
    (folder / "compile_commands.json").write_text(json.dumps([entry]))


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no function 'h' in the records"),
        (CLONE.format("h", 1).encode()[:-9], "line 1: the line has no end: the dump is truncated"),
        (CLONE.format("h", 1).encode() + b"Callgraph clone;h;\n", "line 2: "),
        (bytes(range(256)) * 100, "line 1: not a clone record"),
        (b"\0" * 1000, "line 1: "),
        (b"Callgraph clone;" + b"x" * 20_000_000, "line 1: "),
    ],
    ids=["empty", "truncated", "short-line", "binary", "zeros", "one-enormous-line"],
)
def test_a_broken_dump_is_an_error_that_names_it(
    klpkit: Klpkit, tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "u.c.000i.ipa-clones").write_bytes(content)
    done = klpkit("impact", "h", "--dumps", ".")
    refused(done, 2, said)
    assert len(done.stderr) < 2000


def test_lenient_answers_and_says_what_it_left_out(klpkit: Klpkit, tmp_path: Path) -> None:
    (tmp_path / "u.c.000i.ipa-clones").write_text(CLONE.format("h", 1) + "Callgraph clone;h;\n")
    done = klpkit("impact", "h", "--dumps", ".", "--lenient")
    assert done.status == 0
    assert "1 malformed line left out" in " ".join(done.stdout.split())
    refused(klpkit("impact", "absent", "--dumps", ".", "--lenient"), 2, "absent", "1 malformed line left out")


def test_an_enormous_dump_is_answered(klpkit: Klpkit, tmp_path: Path) -> None:
    lines = (CLONE.format(f"h{number}", number + 3) for number in range(100_000))
    (tmp_path / "u.c.000i.ipa-clones").write_text("".join(lines))
    done = klpkit("impact", "h99999", "--dumps", ".", "--json")
    assert done.status == 0
    assert [item["symbol"] for item in json.loads(done.stdout)["impacted"]] == ["h99999", "f"]


@pytest.mark.parametrize(
    "command",
    [
        "gcc -O2 -c -o u.o $(touch ran) u.c",
        "gcc -O2 -c -o u.o `touch ran` u.c",
        "gcc -O2 -c -o u.o u.c | tee ran",
        "gcc -O2 -c -o u.o u.c > ran",
        'gcc "-O2 -c -o u.o u.c',
        "touch ran && gcc -O2 -c -o u.o u.c",
    ],
)
@pytest.mark.parametrize("words", [("impact", "u.c:h"), ("audit", "u.c")])
def test_no_recorded_command_reaches_a_shell(
    klpkit: Klpkit, tmp_path: Path, command: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "u.c").write_text(UNIT)
    record = f"savedcmd_u.o := {command}\n\nsource_u.o := u.c\n\ndeps_u.o := \\\n\n"
    (tmp_path / ".u.o.cmd").write_text(record)
    before = sorted(path.name for path in tmp_path.iterdir())
    refused(klpkit(*words), 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("words", [("impact", "h"), ("impact", "u.c:h", "--json"), ("audit", "u.c")])
def test_a_deleted_source_is_named(klpkit: Klpkit, tmp_path: Path, words: tuple[str, ...]) -> None:
    database(tmp_path, "gcc")
    (tmp_path / "u.c").unlink()
    refused(klpkit(*words), 2, "u.c")


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("kill -SEGV $$", 2, "killed by SIGSEGV"),
        ("echo 'u.c:1: internal compiler error' >&2; exit 4", 2, "internal compiler error"),
        ("exit 0", 2, "wrote no u.o"),
    ],
    ids=["crashes", "fails", "writes-nothing"],
)
def test_a_compiler_that_does_not_do_its_work(
    klpkit: Klpkit, tmp_path: Path, script: str, status: int, said: str
) -> None:
    database(
        tmp_path,
        program(tmp_path / "gcc", f'case "$*" in *" -c "*) {script} ;; *) exec gcc "$@" ;; esac'),
    )
    done = klpkit("impact", "h", "--html", "page.html")
    refused(done, status, said)
    assert not (tmp_path / "page.html").exists()


def test_a_compiler_that_hangs_is_ended(klpkit: Klpkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'case "$*" in *" -c "*) echo $$ >pid; exec sleep 300 ;; *) exec gcc "$@" ;; esac'
    database(tmp_path, program(tmp_path / "gcc", script))
    monkeypatch.setattr(treesource, "replay", functools.partial(replays.replay, timeout=1.0))
    refused(klpkit("impact", "h"), 2, "stopped after 1 s")
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_absent_compiler_is_what_the_machine_lacks(klpkit: Klpkit, tmp_path: Path) -> None:
    database(tmp_path, "/absent/gcc")
    refused(klpkit("impact", "h"), 3, "/absent/gcc")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("impact", "f", "--elf", "empty"), "no ELF file but empty"),
        (("impact", "f", "--elf", "text"), "no ELF file"),
        (("impact", "f", "--elf", "cut"), "the file is cut or broken"),
        (("impact", "f", "--elf", "bare.o"), "no debug information"),
        (("impact", "f", "--elf", "."), "Is a directory"),
        (("impact", "f", "--elf", "absent"), "absent"),
        (("impact", "f", "--elf", "bare.o", "--debug", "absent"), "absent"),
        (("impact", "f", "--build", "text"), "not JSON"),
        (("impact", "f", "--build", "/dev/null"), "no such build tree"),
        (("impact", "f", "--patch", "text", "--build", "."), "holds no change"),
        (("impact", "f", "--patch", "empty", "--build", "."), "holds no change"),
        (("impact",), "name a function"),
        (("impact", "", "--build", "."), "names no function"),
        (("impact", "f", "--all"), "--all"),
        (("impact", "f", "-j", "0"), "--jobs"),
        (("audit", "--build", "absent"), "absent"),
        (("audit", "absent.c"), "absent.c"),
        (("nonsense",), "No such command"),
    ],
)
def test_what_can_not_be_used_is_said(klpkit: Klpkit, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    database(tmp_path, "gcc")
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("hello\n")
    subprocess.run(["gcc", "-c", "u.c", "-o", "bare.o"], cwd=tmp_path, check=True)
    (tmp_path / "cut").write_bytes((tmp_path / "bare.o").read_bytes()[:600])
    refused(klpkit(*words), 2, said)


def test_a_folder_that_may_not_be_read_is_named(klpkit: Klpkit, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (tmp_path / "locked").mkdir(mode=0)
    refused(klpkit("impact", "f", "--build", "locked"), 2, "locked")


def full_disk() -> None:
    """In the child: no file may grow over 512 bytes, which fails as a full disk does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))


@pytest.mark.parametrize("output", ["--html", "--sarif"])
def test_a_full_disk_leaves_no_half_written_file(tmp_path: Path, output: str) -> None:
    database(tmp_path, "gcc")
    (tmp_path / "u.c.000i.ipa-clones").write_text(CLONE.format("h", 1))
    words = ["impact", "h", "--dumps", "."] if output == "--html" else ["audit"]
    if output == "--sarif":
        # What is found out about the compiler is kept; the disk is full afterwards.
        subprocess.run([sys.executable, "-c", MAIN, "audit"], cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *words, output, "page"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=full_disk,
    )
    assert done.returncode == 3
    assert "can't write" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir() if "page" in path.name] == []


MAIN = "from klpkit.cli.main import main; main()"


def test_a_cache_that_can_not_be_written_is_named(
    klpkit: Klpkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database(tmp_path, "gcc")
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    refused(klpkit("impact", "h"), 3, "XDG_CACHE_HOME")
