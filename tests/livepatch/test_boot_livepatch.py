"""Live patches on Debian's stock kernel: behaviour before, with, and after the patch."""

from __future__ import annotations

import pytest
from livepatch_kernel import Bench, Edit, names, said

from klpkit.boot import Outcome

pytestmark = [pytest.mark.kernel, pytest.mark.boot]

CMDLINE = "fs/proc/cmdline.c"
SHOW = "static int cmdline_proc_show(struct seq_file *m, void *v)\n{\n"


def test_a_changed_function_is_replaced_and_put_back(bench: Bench) -> None:
    line = '\tshow_val_kb(m, "MemFree:        ", i.freeram);\n'
    patch = bench.make(Edit("fs/proc/meminfo.c", line, line + '\tseq_puts(m, "Klpkit: here\\n");\n'))
    assert names(patch) == ["meminfo_proc_show"]
    seen = said(bench.boot(patch, "grep -c Klpkit /proc/meminfo; grep -c MemFree /proc/meminfo"))
    assert seen == {"original": ("0", "1"), "patched": ("1", "1"), "reverted": ("0", "1")}


def test_a_function_inlined_into_three_others_is_patched_in_all_of_them(bench: Bench) -> None:
    old = "\t\tchar **buffer = (char **)buf;\n\t\t**buffer = c;\n"
    patch = bench.make(Edit("kernel/sysctl.c", old, old.replace("= c;", "= c == '\\n' ? ';' : c;")))
    assert "proc_put_char" not in names(patch)
    assert len(names(patch)) >= 3
    files = ("kernel/pid_max", "fs/file-max", "fs/pipe-max-size")
    script = "".join(f"tail -c 1 /proc/sys/{file} | od -An -c | tr -d ' '\n" for file in files)
    seen = said(bench.boot(patch, script))
    assert seen == {"original": ("\\n",) * 3, "patched": (";",) * 3, "reverted": ("\\n",) * 3}


def test_a_static_local_keeps_its_value(bench: Bench) -> None:
    # The kernel falls silent for good once 4 was written; the patched function must know that it has.
    old = "\t\tif (!stfu) {\n"
    patch = bench.make(Edit("fs/drop_caches.c", old, '\t\tpr_info("klpkit: silent %d\\n", stfu);\n' + old))
    assert [r.name.split(".")[0] for r in patch.references if r.name.startswith("stfu")] == ["stfu"]
    assert "stfu" not in [name.split(".")[0] for name, _, _ in patch.new]
    seen = said(
        bench.boot(
            patch,
            "case $1 in original) echo 4 > /proc/sys/vm/drop_caches;; esac\n"
            "echo 1 > /proc/sys/vm/drop_caches\ndmesg | grep -o -e 'klpkit: silent.*' -e 'drop_caches: .*'\n",
        )
    )
    assert seen["original"] == ("drop_caches: 4",)
    assert seen["patched"] == ("drop_caches: 4", "klpkit: silent 4")
    assert seen["reverted"] == seen["patched"]


def test_a_new_function_brings_its_data_and_strings(bench: Bench) -> None:
    new = (
        'static const char *const klpkit_words[] = { "first", "second", "third" };\n'
        "static unsigned int klpkit_calls = 1;\n"
        "static noinline const char *klpkit_word(void)\n{\n"
        "\treturn klpkit_words[klpkit_calls++ % ARRAY_SIZE(klpkit_words)];\n}\n\n"
    )
    edit = Edit(CMDLINE, SHOW, new + SHOW + '\tseq_printf(m, "word=%s ", klpkit_word());\n')
    patch = bench.make(edit)
    assert ("klpkit_word", "function") in [(name, sort) for name, sort, _ in patch.new]
    assert {"klpkit_words", "klpkit_calls"} <= {name for name, _, _ in patch.new}
    seen = said(bench.boot(patch, "for i in 1 2 3; do grep -o 'word=[a-z]*' /proc/cmdline; done; true"))
    assert seen == {"original": (), "patched": ("word=second", "word=third", "word=first"), "reverted": ()}


ZRAM = "drivers/block/zram/zram.ko.xz"
ZRAM_EDIT = Edit(
    "drivers/block/zram/zram_drv.c",
    "\tdown_read(&zram->init_lock);\n\tsz = zcomp_available_show(zram->comp_algs[prio], buf);\n",
    "\tdown_read(&zram->init_lock);\n\tsz = zcomp_available_show(zram->comp_algs[prio], buf);\n"
    '\tsz += sysfs_emit_at(buf, sz, "klpkit %d\\n", init_done(zram));\n',
)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_module_is_patched_loaded_before_or_after_the_patch(bench: Bench, when: str) -> None:
    patch = bench.make(ZRAM_EDIT)
    assert [patched.name for patched in patch.objects] == ["zram"]
    assert "zcomp_available_show" in {r.name for r in patch.references if r.object == "zram"}
    script = "cat /sys/block/zram0/comp_algorithm 2>&1 | tail -n 1 | cut -c 1-8"
    outcome = (
        bench.boot(patch, script, before=[ZRAM], after=[])
        if when == "before"
        else bench.boot(patch, script, after=[ZRAM])
    )
    seen = said(outcome)
    assert seen["patched"] == ("klpkit 0",)
    assert seen["reverted"] == seen["original"] if when == "before" else seen["reverted"] != seen["patched"]


def test_a_header_change_reaches_every_unit_that_includes_it(bench: Bench) -> None:
    old = "\t*ts = timespec64_add(*ts, ns_offsets->boottime);\n}\n\nstatic inline u64"
    edit = Edit("include/linux/time_namespace.h", old, old.replace("}\n", "\tts->tv_sec += 5000000;\n}\n", 1))
    patch = bench.make(edit, units=["fs/proc/uptime.c", "kernel/sys.c"])
    assert {"uptime_proc_show", "do_sysinfo"} <= set(names(patch)) | {n.split(".")[0] for n in names(patch)}
    seen = said(bench.boot(patch, "cut -d. -f1 /proc/uptime | grep -c 5000...; uptime | grep -c '57 days'; true"))
    assert seen == {"original": ("0", "0"), "patched": ("1", "1"), "reverted": ("0", "0")}


CALLBACKS = """\
#include <linux/sched.h>
#include <klpkit.h>

#define KLPKIT_SHADOW 77
static int klpkit_pre(struct klp_object *object)
{
	int *count = klp_shadow_alloc(&init_task, KLPKIT_SHADOW, sizeof(*count), GFP_KERNEL, NULL, NULL);
	if (!count)
		return -ENOMEM;
	*count = 40;
	pr_info("klpkit: pre_patch\\n");
	return 0;
}
static void klpkit_post(struct klp_object *object)
{
	klp_shadow_free_all(KLPKIT_SHADOW, NULL);
	pr_info("klpkit: post_unpatch\\n");
}
KLPKIT_PRE_PATCH(vmlinux, klpkit_pre);
KLPKIT_STATE(77, 1);
KLPKIT_POST_UNPATCH(vmlinux, klpkit_post);

"""


def test_callbacks_run_and_a_shadow_variable_lives_as_long_as_the_patch(bench: Bench) -> None:
    use = (
        "\tint *count = klp_shadow_get(&init_task, KLPKIT_SHADOW);\n\n"
        '\tif (count)\n\t\tseq_printf(m, "shadow=%d ", ++*count);\n'
    )
    patch = bench.make(Edit(CMDLINE, SHOW, CALLBACKS + SHOW + use))
    assert [name for name, _ in patch.objects[0].callbacks] == ["pre_patch", "post_unpatch"]
    seen = said(
        bench.boot(
            patch, "grep -o 'shadow=[0-9]*' /proc/cmdline /proc/cmdline; dmesg | grep -o 'klpkit: .*'; true"
        )
    )
    assert seen["original"] == ()
    assert seen["patched"] == ("/proc/cmdline:shadow=41", "/proc/cmdline:shadow=42", "klpkit: pre_patch")
    assert seen["reverted"] == ("klpkit: pre_patch", "klpkit: post_unpatch")


SPECIAL = """\
#include <linux/jump_label.h>
#include <linux/vmstat.h>
#include <linux/sched.h>
#include <linux/uaccess.h>
#include <asm/cpufeature.h>

static DEFINE_STATIC_KEY_FALSE(klpkit_key);

static noinline void klpkit_special(struct seq_file *m)
{
	int word;

	might_sleep();
	cond_resched();
	static_branch_enable(&klpkit_key);
	seq_printf(m, "[own=%d ", static_branch_unlikely(&klpkit_key) ? 1 : 0);
	seq_printf(m, "numa=%d ", static_branch_likely(&vm_numa_stat_key) ? 1 : 0);
	seq_printf(m, "fpu=%d ", static_cpu_has(X86_FEATURE_FPU) ? 1 : 0);
	seq_printf(m, "mca=%d ", static_cpu_has(X86_FEATURE_CENTAUR_MCR) ? 1 : 0);
	seq_printf(m, "user=%d ", get_user(word, (int __user *)8));
	pagefault_disable();
	seq_printf(m, "inline=%d] ", __get_user(word, (int __user *)16));
	pagefault_enable();
	if (current->comm[0] == 'h')
		WARN_ONCE(1, "klpkit: a warning from %s", __func__);
}

"""


def test_special_sections_work_in_patched_code(bench: Bench) -> None:
    """Jump labels with a key of our own and one of the kernel, alternatives, static calls, exceptions, WARN."""
    patch = bench.make(Edit(CMDLINE, SHOW, SPECIAL + SHOW + "\tklpkit_special(m);\n"))
    assert "vm_numa_stat_key" in {reference.name for reference in patch.references}
    words = "sed -n 's/.*\\[\\(own=.*\\)\\].*/\\1/p' /proc/cmdline"
    script = f"echo 1 > /proc/sys/vm/numa_stat; {words}; echo 0 > /proc/sys/vm/numa_stat; {words}\n"
    script += "[ $1 = patched ] && head -c 1 /proc/cmdline >/dev/null; true\n"
    outcome = bench.boot(patch, script)
    seen = {check.state: check.output for check in outcome.checks}
    line = "own=1 numa={} fpu=1 mca=0 user=-14 inline=-14"
    assert seen["patched"] == (line.format(1), line.format(0)), seen
    assert_only_our_warning(outcome)


def assert_only_our_warning(outcome: Outcome) -> None:
    """The warning is the patch's, unwound through the patched function, and nothing else went wrong."""
    assert {trouble.slug for trouble in outcome.troubles} == {"kernel-trouble", "kernel-tainted"}, outcome.troubles
    console = outcome.console
    assert console.count("WARNING:") == 1
    assert "klpkit: a warning from klpkit_special" in console
    trace = console.partition("Call Trace:")[2]
    assert "klpp_cmdline_proc_show" in trace
    assert "? klpp_cmdline_proc_show" not in trace
    assert [check.state for check in outcome.checks] == ["original", "patched", "reverted"]
