"""Live patches made by hand from drafts, seen working on Debian's stock kernel and reverted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hand_made_drafts import HandMade
from livepatch_kernel import said

from kernels import StockKernel
from klpkit.programs import run

pytestmark = [pytest.mark.kernel, pytest.mark.boot]


@pytest.fixture
def by_hand(stock_kernel: StockKernel, tmp_path: Path) -> HandMade:
    if stock_kernel.image is None or stock_kernel.modules is None:
        pytest.skip("no kernel image in the cache; `tools/debian_kernel.py image` fetches it")
    return HandMade(stock_kernel, tmp_path)


def test_a_line_of_meminfo(by_hand: HandMade) -> None:
    by_hand.extract("meminfo_proc_show")
    line = '\tshow_val_kb(m, "MemFree:        ", i.freeram);\n'
    by_hand.edit("meminfo.c", line, line + '\tseq_puts(m, "Klpkit: here\\n");\n')
    seen = said(by_hand.boot("grep -c Klpkit /proc/meminfo; grep -c MemFree /proc/meminfo"))
    assert seen == {"original": ("0", "1"), "patched": ("1", "1"), "reverted": ("0", "1")}


def test_a_static_variable_lives_on(by_hand: HandMade) -> None:
    # The kernel falls silent for good once 4 was written; the patched function must know that it has.
    by_hand.extract("drop_caches_sysctl_handler")
    old = "\t\tif (!klpp_drop_caches_sysctl_handler_stfu) {\n"
    line = '\t\tpr_info("klpkit: silent %d\\n", klpp_drop_caches_sysctl_handler_stfu);\n'
    by_hand.edit("drop_caches.c", old, line + old)
    outcome = by_hand.boot(
        "case $1 in original) echo 4 > /proc/sys/vm/drop_caches;; esac\n"
        "echo 1 > /proc/sys/vm/drop_caches\ndmesg | grep -o -e 'klpkit: silent.*' -e 'drop_caches: .*'\n"
    )
    seen = said(outcome)
    assert seen["original"] == ("drop_caches: 4",)
    assert seen["patched"] == ("drop_caches: 4", "klpkit: silent 4")
    assert seen["reverted"] == seen["patched"]


def test_a_system_call(by_hand: HandMade) -> None:
    found = by_hand.extract("kernel/sys.c:__do_sys_newuname")
    # The body is `inline`, which implies notrace: what calls it is replaced.
    replaced = {each.name for _, wanted in found.drafts for each in wanted if each.replaced}
    assert {"__x64_sys_newuname", "__ia32_sys_newuname"} <= replaced
    assert "__do_sys_newuname" not in replaced
    old = "\tup_read(&uts_sem);\n\tif (copy_to_user"
    by_hand.edit("sys.c", old, '\tstrscpy(tmp.nodename, "klpkit");\n' + old)
    seen = said(by_hand.boot("uname -n | grep -c klpkit; uname -s"))
    assert seen == {"original": ("0", "Linux"), "patched": ("1", "Linux"), "reverted": ("0", "Linux")}


def test_two_objects_and_a_name_that_two_functions_have(by_hand: HandMade) -> None:
    found = by_hand.extract("mm/ksm.c:pages_to_scan_show", "net/bridge/br_sysfs_br.c:stp_state_show")
    (ksm, pages), (bridge, _) = found.drafts
    assert (ksm.home, bridge.home) == ("vmlinux", "bridge")
    assert [each.sympos > 0 for each in pages] == [True]
    by_hand.edit("ksm.c", 'sysfs_emit(buf, "%u\\n", ', 'sysfs_emit(buf, "ksm %u\\n", ')
    by_hand.edit("br_sysfs_br.c", 'sprintf(buf, "%d\\n", ', 'sprintf(buf, "stp %d\\n", ')
    outcome = by_hand.boot(
        "cut -d' ' -f1 /sys/kernel/mm/ksm/pages_to_scan\n"
        "cat /sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan\n"
        "[ $1 = original ] && exit\n"
        "[ $1 = patched ] && brctl addbr br0\n"
        "cat /sys/class/net/br0/bridge/stp_state\n",
        after=["net/llc/llc.ko.xz", "net/802/stp.ko.xz", "net/bridge/bridge.ko.xz"],
    )
    seen = said(outcome)
    assert seen == {
        "original": ("100", "4096"),
        "patched": ("ksm", "4096", "stp 0"),
        "reverted": ("100", "4096", "0"),
    }


def test_a_tracepoint_s_user_that_was_called_once(by_hand: HandMade) -> None:
    by_hand.extract("kernel/signal.c:__send_signal_locked")
    old = "\tresult = TRACE_SIGNAL_IGNORED;\n"
    by_hand.edit("signal.c", old, old + "\tif (sig == SIGUSR2)\n\t\tgoto ret;\n")
    script = (
        "sleep 1000 & kill -USR2 $!; sleep 1; kill -0 $! 2>/dev/null && echo alive; kill -9 $! 2>/dev/null; true"
    )
    seen = said(by_hand.boot(script))
    assert seen == {"original": (), "patched": ("alive",), "reverted": ()}


XFS_CHECK = """\
set -e
mkdir -p /mnt
mount | grep -q tracefs || mount -t tracefs none /sys/kernel/tracing
echo 1 > /sys/kernel/tracing/events/xfs/xfs_agf/enable
dmesg -c > /dev/null
losetup /dev/loop0 /disk
mount -t xfs /dev/loop0 /mnt
for file in 1 2 3; do dd if=/dev/zero of=/mnt/$1$file bs=64k count=3 2> /dev/null; done
umount /mnt
losetup -d /dev/loop0
grep -q xfs_agf: /sys/kernel/tracing/trace && echo traced
echo > /sys/kernel/tracing/trace
dmesg | grep -q 'klpkit: agf' && echo logged
true
"""


def test_a_tracepoint_of_a_module_still_traces(by_hand: HandMade) -> None:
    if shutil.which("mkfs.xfs") is None:
        pytest.skip("no mkfs.xfs; tools/setup.sh test installs xfsprogs")
    disk = by_hand.folder / "disk"
    with disk.open("wb") as file:
        file.truncate(16 << 20)
    # What the file system's own tests set: less than 300 MB are no use to anybody else.
    for_tests = {"TEST_DIR": "1", "TEST_DEV": "1", "QA_CHECK_FS": "1"}
    run(["mkfs.xfs", "-q", str(disk)], env={**os.environ, **for_tests})
    found = by_hand.extract("fs/xfs/libxfs/xfs_alloc.c:xfs_alloc_log_agf")
    assert [draft.keys_as_data for draft, _ in found.drafts] == [True]
    old = "\ttrace_xfs_agf("
    by_hand.edit("xfs_alloc.c", old, f'\tpr_info("klpkit: agf %x\\n", fields);\n{old}')
    modules = ["fs/xfs/xfs.ko.xz", "drivers/block/loop.ko.xz"]
    seen = said(by_hand.boot(XFS_CHECK, before=modules, files={"disk": disk.read_bytes()}))
    assert seen == {"original": ("traced",), "patched": ("traced", "logged"), "reverted": ("traced",)}
