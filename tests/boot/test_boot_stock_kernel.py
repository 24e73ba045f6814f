"""A real guest with a distribution's kernel, which patches its own code all the time."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernels import StockKernel
from klpkit.boot import Guest, run_guest

# One processor sets and clears a jump label that the other's scheduler runs through.
TOGGLE = """
(while :; do cat /proc/uptime > /dev/null; done) &
toggled=0
while [ $toggled -lt 400 ]; do
    echo $((toggled % 2)) > /proc/sys/kernel/sched_schedstats || exit 1
    toggled=$((toggled + 1))
done
kill $!
echo toggled $toggled times on $(grep -c ^processor /proc/cpuinfo)
"""


@pytest.mark.boot
def test_a_kernel_that_patches_its_code_stays_sound(stock_kernel: StockKernel, tmp_path: Path) -> None:
    assert stock_kernel.image is not None
    script = tmp_path / "check"
    script.write_text(TOGGLE)
    outcome = run_guest(Guest(stock_kernel.image, check=script))
    assert outcome.troubles == ()
    assert outcome.checks[0].output == ("toggled 400 times on 2",)
