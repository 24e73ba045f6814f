// SPDX-License-Identifier: GPL-2.0
/* A function, a pointer in data and a static key of vmlinux, none of them exported. */
#include <linux/jump_label.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <klpkit.h>

extern char *saved_command_line;
KLPKIT_RELOC(vmlinux, vmlinux, saved_command_line, 0);
extern int nr_processes(void);
KLPKIT_RELOC(vmlinux, vmlinux, nr_processes, 0);
DECLARE_STATIC_KEY_FALSE(sched_schedstats);
KLPKIT_RELOC(vmlinux, vmlinux, sched_schedstats, 0);

static char **volatile command_line = &saved_command_line;

static int klpp_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "patched by hand: %s processes=%s schedstats=%s\n", *command_line,
		   nr_processes() > 0 ? "some" : "none",
		   static_branch_unlikely(&sched_schedstats) ? "on" : "off");
	return 0;
}

static struct klp_func functions[] = {
	{ .old_name = "cmdline_proc_show", .new_func = klpp_cmdline_proc_show },
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = functions },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init patch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit patch_exit(void)
{
}

module_init(patch_init);
module_exit(patch_exit);
MODULE_DESCRIPTION("A live patch written by hand");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
