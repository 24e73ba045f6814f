"""Judging guests: a stand-in for QEMU writes the log and the report, so that every way to fail can be tried."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner

from klpkit.boot import Guest, run_guest
from klpkit.boot.console import taints, troubles
from klpkit.boot.outcome import Slug
from klpkit.boot.qemu import X86_64, Resources, machine_of
from klpkit.boot.qemu import command as qemu_command
from klpkit.boot.report import read_report
from klpkit.cli.boot import command
from klpkit.errors import EnvironmentLackError, RefusedError

GOOD = """\
1.0 start 6.12.0-test
1.1 output original console=ttyS0
1.1 check original 0
1.2 load fix 0
2.7 transition in 0
2.8 check patched 0
4.0 transition out 0
4.1 unload fix 0
4.2 check reverted 0
4.3 tainted 32768
4.3 end
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "vmlinuz"
    path.write_bytes(bytes(0x202) + b"HdrS" + bytes(100))
    return path


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "fix.ko"
    info = b'.section .modinfo, "a"\n.asciz "name=fix"\n'
    subprocess.run(["as", "--64", "-o", path, "-"], input=info, check=True)
    return path


class Qemu:
    """A program named like QEMU whose guest says what a test wants."""

    def __init__(self, folder: Path) -> None:
        self.report = folder / "canned-report"
        self.log = folder / "canned-log"
        self.log.write_text("[    0.000000] Linux version 6.12\n")
        self.status = folder / "canned-status"
        self.status.write_text("0")
        self.version = folder / "canned-version"
        self.calls_itself("QEMU 0")
        program = folder / "bin" / "qemu-system-x86_64"
        program.parent.mkdir()
        program.write_text(
            textwrap.dedent(f"""\
                #!/bin/sh
                [ "$1" = --version ] && cat {self.version} && exit
                for word; do case $word in file:*) cp {self.report} "${{word#file:}}";; esac; done
                cat {self.log}
                read -r status rest < {self.status}
                [ "$status" = hang ] && exec sleep 60
                exit "$status"
                """)
        )
        program.chmod(0o755)
        self.says(GOOD)

    def calls_itself(self, version: str) -> None:
        self.version.write_text(f"{version}\n")

    def says(self, report: str) -> None:
        self.report.write_text(report)


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Qemu:
    if not Path("/bin/busybox").exists():
        pytest.skip("busybox-static is not installed")
    made = Qemu(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return made


def slugs(kernel: Path, **wanted: object) -> list[Slug]:
    guest = Guest(kernel, accelerator="tcg", **wanted)  # type: ignore[arg-type]
    return [trouble.slug for trouble in run_guest(guest).troubles]


def test_a_guest_that_did_all_passes(qemu: Qemu, kernel: Path) -> None:
    outcome = run_guest(Guest(kernel, accelerator="tcg"))
    assert outcome.passed
    assert outcome.release == "6.12.0-test"
    assert [check.state for check in outcome.checks] == ["original", "patched", "reverted"]
    assert outcome.checks[0].output == ("console=ttyS0",)
    assert outcome.transitions == {"in": 1.5, "out": 1.2}


@pytest.mark.parametrize(
    ("old", "new", "slug"),
    [
        ("check patched 0", "check patched 1", Slug.CHECK_FAILED),
        ("check reverted 0", "check reverted", Slug.CHECK_FAILED),
        ("1.2 load fix 0", "1.2 load fix 1", Slug.LOAD_FAILED),
        ("transition in 0", "transition in 1", Slug.STUCK),
        ("transition out 0", "transition out 1", Slug.STUCK),
        ("unload fix 0", "unload fix 1", Slug.NOT_REVERTED),
        ("unload fix 0", "disable 1", Slug.NOT_REVERTED),
        ("tainted 32768", "tainted 33280", Slug.TAINTED),
        ("4.3 end\n", "", Slug.NO_END),
        (GOOD, "", Slug.NO_START),
    ],
)
def test_each_failure_is_told(qemu: Qemu, kernel: Path, old: str, new: str, slug: Slug) -> None:
    assert old in GOOD
    qemu.says(GOOD.replace(old, new))
    assert slugs(kernel) == [slug]


def test_a_guest_that_never_ends_is_ended(qemu: Qemu, kernel: Path) -> None:
    qemu.status.write_text("hang")
    assert slugs(kernel, resources=Resources(seconds=0.5)) == [Slug.NO_END]


def test_a_virtual_machine_that_dies_has_not_passed(qemu: Qemu, kernel: Path) -> None:
    qemu.status.write_text("1")
    assert slugs(kernel) == [Slug.NO_END]


def test_a_warning_in_the_log_fails_a_guest_whose_checks_passed(qemu: Qemu, kernel: Path) -> None:
    qemu.log.write_text(
        "[    1.000000] fine\r\n[    2.000000] WARNING: CPU: 0 PID: 1 at kernel/x.c:3 f+0x1/0x2\r\n"
    )
    assert slugs(kernel) == [Slug.KERNEL_TROUBLE]


def test_fewer_cycles_than_asked_for_are_no_success(qemu: Qemu, kernel: Path, module: Path) -> None:
    qemu.says(GOOD.replace("4.3 end", "4.2 cycles 3\n4.3 end"))
    assert slugs(kernel, patch=module, cycles=3) == []
    assert slugs(kernel, patch=module, cycles=4) == [Slug.CYCLES]
    qemu.says(GOOD)
    assert slugs(kernel, patch=module, cycles=1) == [Slug.CYCLES]


@pytest.mark.parametrize(
    "step", ["check original", "check patched", "load fix", "transition in", "unload fix", "tainted"]
)
def test_a_step_that_is_not_reported_was_not_done(qemu: Qemu, kernel: Path, module: Path, step: str) -> None:
    assert slugs(kernel, patch=module, check=module) == []
    qemu.says("".join(line for line in GOOD.splitlines(True) if f" {step} " not in line))
    assert slugs(kernel, patch=module, check=module) == [Slug.NOT_DONE]


@pytest.mark.parametrize(
    "line",
    [
        "[    1.234567] BUG: kernel NULL pointer dereference, address: 0",
        "[    1.234567][  T123] WARNING: CPU: 1 PID: 7 at kernel/fork.c:12",
        "Oops: 0000 [#1] SMP",
        "[   99.000000] INFO: task sh:1 blocked for more than 120 seconds.",
        "[    1.000000] livepatch: failed to register module 'x'",
        "[    1.000000] livepatch: symbol 'f' not found in symbol table",
        "[    1.000000] fix: Unknown symbol foo (err -2)",
        "[    3.0] Missing ENDBR: f+0x0/0x10",
        "<4>[    3.0] Kernel panic - not syncing: Attempted to kill init!",
    ],
)
def test_the_kernel_s_own_words_for_trouble_are_known(line: str) -> None:
    assert troubles(f"[    0.000000] Linux\n{line}\nmore") == [line, "more"]


@pytest.mark.parametrize(
    "line",
    [
        "[    1.0] livepatch: 'fix': starting patching transition",
        "[    1.0] acpi PNP0A03:00: fail to add MMCONFIG information",
        "[    1.0] random: crng init done",
        "this text quotes WARNING: in the middle",
    ],
)
def test_ordinary_lines_are_no_trouble(line: str) -> None:
    assert troubles(line) == []


def test_taints_of_a_live_patch_from_outside_the_tree_are_no_trouble() -> None:
    assert taints(1 << 15 | 1 << 12 | 1 << 13) == []
    assert taints(1 << 9) == ["the kernel warned"]


def test_a_line_that_is_no_event_is_kept() -> None:
    assert [event.kind for event in read_report("oops\n1.0 end\n")] == ["garbled", "end"]


def test_an_unknown_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"nothing")
    with pytest.raises(RefusedError, match="unknown-kernel-image"):
        machine_of(path)


@pytest.mark.parametrize(
    ("version", "accelerator", "told"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", "tcg", "tcg,thread=single"),
        ("QEMU emulator version 8.0.50", "tcg", "tcg,thread=single"),
        ("QEMU of somebody", "tcg", "tcg,thread=single"),
        ("QEMU emulator version 8.1.0", "tcg", "tcg"),
        ("QEMU emulator version 10.0.2", "tcg", "tcg"),
        ("QEMU emulator version 7.2.22", "kvm", "kvm"),
    ],
)
def test_emulated_processors_share_a_thread_where_qemu_would_run_stale_code(
    qemu: Qemu, kernel: Path, version: str, accelerator: str, told: str
) -> None:
    qemu.calls_itself(version)
    words = qemu_command(X86_64, accelerator, Resources(), kernel, kernel, kernel, "")
    assert words[words.index("-accel") + 1] == told


def test_a_missing_qemu_is_named_with_its_package(
    kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/bin/busybox").exists():
        pytest.skip("busybox-static is not installed")
    only = tmp_path / "only"
    only.mkdir()
    (only / "busybox").symlink_to("/bin/busybox")
    monkeypatch.setenv("PATH", str(only))
    with pytest.raises(EnvironmentLackError, match=r"apt-get install qemu-system-x86"):
        run_guest(Guest(kernel, accelerator="tcg"))


def test_the_command_ends_with_one_when_a_check_failed(qemu: Qemu, kernel: Path, tmp_path: Path) -> None:
    qemu.says(GOOD.replace("check patched 0", "output patched wrong\n2.8 check patched 4"))
    console = tmp_path / "console.log"
    arguments = ["--kernel", str(kernel), "--accel", "tcg", "--json", "--console", str(console)]
    result = CliRunner().invoke(command, arguments)
    answer = json.loads(result.stdout)
    assert result.exit_code == 1
    assert not answer["passed"]
    assert answer["troubles"][0]["slug"] == "check-failed"
    assert answer["troubles"][0]["evidence"] == ["wrong"]
    assert console.read_text().startswith("[    0.000000] Linux version")


def test_the_command_shows_what_a_failed_check_printed(qemu: Qemu, kernel: Path) -> None:
    qemu.says(GOOD.replace("2.8 check patched 0", "2.8 output patched wrong answer\n2.8 check patched 4"))
    result = CliRunner().invoke(command, ["--kernel", str(kernel), "--accel", "tcg"])
    assert result.exit_code == 1
    assert "check FAILED with status 4" in result.stdout
    assert "  | wrong answer\n" in result.stdout
    assert result.stdout.endswith("FAILED\n")


@pytest.mark.parametrize("option", ["--stress", "--load-after"])
def test_what_only_a_patch_gives_sense_is_not_passed_over(kernel: Path, module: Path, option: str) -> None:
    value = "3" if option == "--stress" else str(module)
    result = CliRunner().invoke(command, ["--kernel", str(kernel), option, value])
    assert result.exit_code == 2
    assert "--module" in result.output
