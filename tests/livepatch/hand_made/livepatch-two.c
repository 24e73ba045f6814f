// SPDX-License-Identifier: GPL-2.0
/* Two objects, names that repeat, and annotations in the form of kernels that list them. */
#include <linux/device.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/sysfs.h>

struct klp_module_reloc {
	void *sym;
	unsigned int sympos;
} __packed;
#define KLP_MODULE_RELOC(obj) struct klp_module_reloc __section(".klp.module_relocs." #obj) __aligned(4)
#define KLP_SYMPOS(symbol, pos) { .sym = &symbol, .sympos = pos }
#include <klpkit.h>

/* The third of the bridge's own copies. */
extern u32 jhash(const void *key, u32 length, u32 start);
KLPKIT_RELOC(bridge, bridge, jhash, 3);
/* One of many; a C name of our own tells it from the others. */
extern char type_show_of_ours[];
KLPKIT_RELOC_AS(type_show_of_ours, vmlinux, vmlinux, type_show, 5);
/* The only one: klpkit convert looks it up. */
extern int nr_processes(void);

static int klpp_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%px %s\n", type_show_of_ours, nr_processes() > 0 ? "processes" : "none");
	return 0;
}

static ssize_t klpp_stp_state_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%px %d\n", jhash, jhash("abc", 3, 1) == jhash("abc", 3, 1));
}

static struct klp_func vmlinux_funcs[] = {
	{ .old_name = "cmdline_proc_show", .new_func = klpp_cmdline_proc_show },
	{ }
};

static struct klp_func bridge_funcs[] = {
	{ .old_name = "stp_state_show", .new_func = klpp_stp_state_show },
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = vmlinux_funcs },
	{ .name = "bridge", .funcs = bridge_funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init two_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit two_exit(void)
{
}

module_init(two_init);
module_exit(two_exit);
MODULE_DESCRIPTION("A live patch of two objects");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
