"""Reading the inlining of a whole distribution kernel from its DWARF, against pyelftools on a part of it.

    python benchmarks/bench_dwarf.py [VMLINUX]

Without an argument the newest `vmlinux` with debug information in the user cache is taken.  CPU time and peak
memory are those of a process of its own; the memory is `ru_maxrss`, which counts the pages of the mapped file that
were touched.  pyelftools walks every hundredth unit, and its time is scaled by the bytes of these units.
Ends with status 1 where a limit is passed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

LIMIT_SECONDS = 8.0
LIMIT_MIB = 600
SLICE = 100


def find_kernel() -> Path | None:
    """The newest `vmlinux` with debug information in klpkit's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    found = Path(base, "klpkit", "kernels").glob("*/dbg/usr/lib/debug/boot/vmlinux-*")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def measure(path: Path) -> tuple[float, float, str]:
    """CPU seconds and peak MiB of a process that reads `path`, and what it says that it read."""
    program = (
        "import sys; from klpkit.records.dwarf import scan_dwarf; facts = scan_dwarf(sys.argv[1]); "
        "print(len(facts.effects), 'effects between', facts.effects.function_count, 'functions')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        said = process.stdout.read().strip()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"reading {path} ended with status {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said


def baseline(path: Path) -> tuple[float, float]:
    """CPU seconds of pyelftools for all of `path`, scaled from a part; and the size of that part (0 to 1)."""
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as stream:
        dwarf = ELFFile(stream).get_dwarf_info()
        units = list(dwarf.iter_CUs())
        chosen = units[::SLICE]
        started = time.process_time()
        calls = sum(die.tag == "DW_TAG_inlined_subroutine" for unit in chosen for die in unit.iter_DIEs())
        spent = time.process_time() - started
    if not calls:
        raise SystemExit(f"pyelftools found no inlined call in {path}")
    share = sum(unit.size for unit in chosen) / sum(unit.size for unit in units)
    return spent / share, share


def main() -> int:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else find_kernel()
    if path is None or not path.exists():
        print("dwarf: skipped, no vmlinux with debug information in the cache; name one")
        return 0
    seconds, mebibytes, said = measure(path)
    other, share = baseline(path)
    print(f"dwarf: {path.name}: {said}")
    print(f"  klpkit      {seconds:7.2f} s CPU  {mebibytes:5.0f} MiB peak, mapped pages of the file included")
    print(f"  pyelftools  {other:7.2f} s CPU, scaled from {share:.1%} of the bytes; ratio {other / seconds:.0f}")
    return int(seconds > LIMIT_SECONDS or mebibytes > LIMIT_MIB)


if __name__ == "__main__":
    sys.exit(main())
