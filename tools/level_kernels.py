"""Builds the small kernel through `klpkit-cc` at every level, boots each, and live-patches it in the boot.

    make levels                                     # all four levels, about 5 minutes each on 2 cores
    python tools/level_kernels.py --level none

The guest loads the kernel's own live patch sample, reads the changed `/proc/cmdline` and takes the patch out
again.  Kernels are kept in the user cache.
Ends with a table and status 1 when a build or a boot failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import debian_kernel
from klpkit import programs
from klpkit.boot import Guest, run_guest
from klpkit.boot.qemu import Resources
from klpkit.cachedir import cache_dir
from klpkit.compilers.levels import Level
from klpkit.errors import KlpkitError

CHECKOUT = Path(__file__).resolve().parent.parent
DRIVER = Path(sys.executable).parent / "klpkit-cc"
SAMPLE = Path("samples/livepatch/livepatch-sample.ko")
BOOT_SECONDS = 120

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

CHECK = """
grep -q 'this has been live patched' /proc/cmdline
seen=$?
case $1 in patched) exit $seen ;; *) [ $seen != 0 ] ;; esac
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


def boot(build: Path, log: Path) -> bool:
    """Boot the kernel of `build` with its livepatch sample; True when it was seen to work and to be reverted."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as check:
        check.write(CHECK)
        check.flush()
        resources = Resources(memory=256, seconds=BOOT_SECONDS)
        guest = Guest(build / "vmlinux", patch=build / SAMPLE, check=Path(check.name), resources=resources)
        outcome = run_guest(guest)
    log.write_text(outcome.console)
    for trouble in outcome.troubles:
        print(f"{trouble.slug}: {trouble.message}", *trouble.evidence, sep="\n  | ", file=sys.stderr)
    return outcome.passed


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
