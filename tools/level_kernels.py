"""Builds the small kernel through `klpkit-cc` at every level, boots each, and live-patches it in the boot.

    make levels                                     # all four levels, about 5 minutes each on 2 cores
    python tools/level_kernels.py --level none

The guest loads the kernel's own live patch sample, reads the changed `/proc/cmdline`, takes the patch out again
and prints a line that this tool looks for on the serial console.  Kernels are kept in the user cache.
Ends with a table and status 1 when a build or a boot failed.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import debian_kernel
from klpkit import programs
from klpkit.cachedir import cache_dir
from klpkit.compilers.levels import Level
from klpkit.errors import KlpkitError
from klpkit.programs import ProgramFailedError

CHECKOUT = Path(__file__).resolve().parent.parent
DRIVER = Path(sys.executable).parent / "klpkit-cc"
SAMPLE = Path("samples/livepatch/livepatch-sample.ko")
BOOT_SECONDS = 120
PASSED = "klpkit-boot: passed"

# What a level needs for the kernel to be built at all; docs/how-to/kernel-at-a-level.md says why.
# Sources with a BUILD_BUG behind a condition that only inlining shows to be false.
_BUILD_BUGS = """
    arch/x86/mm/pti mm/gup mm/memory mm/mprotect mm/mremap mm/page_alloc mm/page_vma_mapped mm/shmem mm/slab_common
    mm/sparse mm/vmscan
"""
# Sources that name what is not there, in a branch that only inlining shows to be dead.
_DEAD_BRANCHES = """
    arch/x86/kernel/alternative arch/x86/kernel/cpu/mshyperv arch/x86/kernel/kvm arch/x86/kernel/setup
    arch/x86/kernel/signal kernel/dma/mapping mm/page-writeback mm/rmap mm/swap mm/truncate mm/vmalloc
"""
# The same, where only a constant argument shows it.
_DEAD_CALL = {"arch/x86/kernel/fpu/signal": Level.INLINE_CLONE}
# Level → sources that can't be built at it, and the level that each gets instead.
EXCEPTIONS: dict[str, dict[str, Level]] = {
    Level.NONE: dict.fromkeys((_BUILD_BUGS + _DEAD_BRANCHES).split(), Level.ONLY_INLINE_STATIC) | _DEAD_CALL,
    Level.ONLY_INLINE_STATIC: _DEAD_CALL,
    Level.INLINE: _DEAD_CALL,
}
# Level → variables for make.  Functions that are only ever inlined into init code get code of their own at `none`,
# and it lies outside the init sections.
VARIABLES = {Level.NONE: ("CONFIG_SECTION_MISMATCH_WARN_ONLY=y",)}

INIT = f"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
echo "klpkit-boot: $(/bin/busybox uname -r)"
state=/sys/kernel/livepatch/livepatch_sample
/bin/busybox insmod /livepatch-sample.ko || echo "klpkit-boot: insmod failed"
echo "klpkit-boot: patched: $(/bin/busybox cat /proc/cmdline)"
while [ "$(/bin/busybox cat $state/transition)" = 1 ]; do /bin/busybox sleep 0.1; done
/bin/busybox grep -q 'this has been live patched' /proc/cmdline && seen=1
echo 0 > $state/enabled
while [ -e $state ]; do /bin/busybox sleep 0.1; done
/bin/busybox rmmod livepatch_sample && /bin/busybox grep -q 'console=ttyS0' /proc/cmdline && [ "$seen" = 1 ] \\
  && echo "{PASSED}"
/bin/busybox reboot -f
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the kernel of one level came to."""

    level: str
    result: str
    list_lines: int
    vmlinux_text: int
    build_seconds: float


def exceptions(level: Level) -> list[str]:
    """Variables for make that give the exceptions of `level` a level of their own, each in its folder alone."""
    flags: dict[str, list[str]] = {}
    for source, instead in EXCEPTIONS.get(level, {}).items():
        folder, name = Path(source).parent, Path(source).name
        flag = f"$(if $(filter {folder},$(obj)),-fease-live-patching={instead})"
        flags.setdefault(name, []).append(flag)
    return [f"CFLAGS_{name}.o={' '.join(words)}" for name, words in flags.items()]


def initramfs(folder: Path, module: Path) -> Path:
    """A compressed archive with busybox, `INIT` and `module`, made in `folder`."""
    root = folder / "root"
    for name in ("bin", "dev"):
        (root / name).mkdir(parents=True)
    shutil.copy2("/bin/busybox", root / "bin/busybox")
    shutil.copy2(module, root / module.name)
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    names = "\n".join(sorted(str(path.relative_to(root)) for path in root.rglob("*"))).encode()
    packed = programs.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=root, stdin=names)
    archive = folder / "initrd.gz"
    archive.write_bytes(gzip.compress(packed.stdout, compresslevel=1))
    return archive


def boot(build: Path, log: Path) -> bool:
    """Boot the kernel of `build` under emulation; True when the guest said that all went well."""
    with tempfile.TemporaryDirectory(prefix="klpkit-boot-") as name:
        archive = initramfs(Path(name), build / SAMPLE)
        argv = [
            *("qemu-system-x86_64", "-M", "pc", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "256"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
            *("-kernel", str(build / "vmlinux"), "-initrd", str(archive)),
            *("-append", "console=ttyS0 panic=-1 reboot=k loglevel=6"),
        ]
        try:
            console = programs.run(argv, timeout=BOOT_SECONDS).stdout
        except ProgramFailedError as error:
            console = error.completed.stdout
    log.write_bytes(console)
    troubles = (b"Oops", b"BUG:", b"WARNING:", b"Call Trace", b"Kernel panic")
    return PASSED.encode() in console and not any(word in console for word in troubles)


def make_level(level: Level, logs: Path) -> Outcome:
    """Build and boot the kernel of one level."""
    listing = cache_dir("kernels", "levels") / f"impact-{level}.txt"
    flags = f"-fease-live-patching={level} -flive-patching-list=all,{listing}"
    started = time.monotonic()
    wanted = ["small", "--build", f"--flavour=level-{level}", f"--cc={DRIVER} gcc", f"--kcflags={flags}"]
    wanted += [f"--set={variable}" for variable in (*VARIABLES.get(level, ()), *exceptions(level))]
    build = Path(debian_kernel.run_command(debian_kernel.parse_arguments(wanted))["build"])
    seconds = time.monotonic() - started
    passed = boot(build, logs / f"console-{level}.log")
    size = programs.run(["size", str(build / "vmlinux")]).stdout.split()
    lines = len(listing.read_text().splitlines()) if listing.exists() else 0
    return Outcome(level, "boots, patched" if passed else "BOOT FAILED", lines, int(size[6]), seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--level", action="append", choices=list(Level), help="one level (repeatable)")
    arguments = parser.parse_args()
    logs = CHECKOUT / "build-logs" / "levels"
    logs.mkdir(parents=True, exist_ok=True)
    results = []
    try:
        for level in arguments.level or list(Level):
            print(f"{level}: building", file=sys.stderr, flush=True)
            results.append(make_level(Level(level), logs))
    except KlpkitError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{'level':<20} {'result':<16} {'list lines':>10} {'.text bytes':>12} {'build s':>8}")
    for row in results:
        print(
            f"{row.level:<20} {row.result:<16} {row.list_lines:>10} "
            f"{row.vmlinux_text:>12} {row.build_seconds:>8.0f}"
        )
    return 1 if any("FAILED" in row.result for row in results) else 0


if __name__ == "__main__":
    sys.exit(main())
