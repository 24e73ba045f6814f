"""QEMU's command line for a guest without disk, network or screen; one row a machine.

KVM is used only after a guest has run in it: `/dev/kvm` may exist and open where guests then hang.  Judging goes
by the second serial port; QEMU's exit device would need `/dev/port`, which distributions' kernels may lack.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from klpkit import programs
from klpkit.errors import EnvironmentLackError, RefusedError, UserError


@dataclass(frozen=True, slots=True)
class Machine:
    """How QEMU makes a machine of one architecture, and which of its devices the guest talks through."""

    program: str
    package: str
    options: tuple[str, ...]
    console: str
    """The kernel's name of the first serial port."""
    report: tuple[int, int]
    """Device number of the second serial port."""
    append: str
    emulated: str
    """More words where the processor is emulated: a busy host then looks to the guest like one that hangs."""


# From this version on QEMU holds a page of code while it translates it ("accel/tcg: Always lock pages before
# translation").  Before, a processor could keep the breakpoint of a code patch that another had taken back:
# "Oops: int3", in a guest whose kernel is sound.  One thread for all processors can't.
_SAFE_IN_THREADS = (8, 1)

_BARE = ("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot")
X86_64 = Machine(
    "qemu-system-x86_64",
    "qemu-system-x86",
    ("-M", "pc", "-cpu", "max", *_BARE),
    "ttyS0",
    (4, 65),
    "panic=-1 reboot=k",
    "nowatchdog no_timer_check rcupdate.rcu_cpu_stall_suppress=1",
)

# Where a kernel image says what it is: offset and bytes there.  An ELF file's machine is at 18.
_IMAGES: tuple[tuple[int, bytes, Machine], ...] = (
    (0x202, b"HdrS", X86_64),  # Documentation/arch/x86/boot.rst
    (18, b"\x3e\x00", X86_64),
)


def machine_of(kernel: Path) -> Machine:
    """The machine that boots `kernel`; refused where none is known."""
    try:
        with open(kernel, "rb") as file:
            start = file.read(1024)
    except OSError as error:
        raise UserError(f"{kernel}: {error.strerror}", hint="name a kernel image, such as vmlinuz") from error
    for offset, magic, machine in _IMAGES:
        if start[offset : offset + len(magic)] == magic:
            return machine
    raise RefusedError(
        "unknown-kernel-image",
        f"{kernel}: no kernel image that klpkit can boot",
        hint="name a bzImage or an ELF vmlinux for x86_64",
    )


@dataclass(frozen=True, slots=True)
class Resources:
    """What a guest gets: processors, memory in MiB, seconds until it is ended."""

    processors: int = 2
    memory: int = 512
    seconds: float = 300


def command(
    machine: Machine,
    accelerator: str,
    resources: Resources,
    kernel: Path,
    initrd: Path,
    report: Path,
    append: str,
) -> list[str]:
    """QEMU's arguments; the kernel's log goes to standard output, the guest's report to the file `report`.

    Raises `EnvironmentLackError` where QEMU is missing.
    """
    how = _accelerator(accelerator, version(machine))
    words = [f"console={machine.console}", machine.append, "loglevel=6", append]
    if accelerator == "tcg":
        words.insert(2, machine.emulated)
    return [
        machine.program,
        *machine.options,
        *("-accel", how, "-smp", str(resources.processors), "-m", str(resources.memory)),
        *("-serial", "stdio", "-serial", f"file:{report}"),
        *("-kernel", str(kernel), "-initrd", str(initrd)),
        *("-append", " ".join(filter(None, words))),
    ]


def _accelerator(name: str, version: str) -> str:
    """What a QEMU of this `version` line is told: emulated processors get threads only where they are safe."""
    found = re.search(r"version (\d+)\.(\d+)", version)
    safe = found is not None and (int(found[1]), int(found[2])) >= _SAFE_IN_THREADS
    return "tcg,thread=single" if name == "tcg" and not safe else name


def kvm_may_work() -> bool:
    """Whether it is worth a probe guest."""
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


def version(machine: Machine) -> str:
    """QEMU's first line about itself; raises `EnvironmentLackError` with the package's name."""
    try:
        return programs.run([machine.program, "--version"]).stdout.decode().splitlines()[0]
    except EnvironmentLackError as error:
        raise EnvironmentLackError(
            f"{machine.program} is missing", hint=f"apt-get install {machine.package}"
        ) from error
