"""A build tree with one unit, and the tiny kernel that was linked from it, for `klpkit extract`."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner, Result
from toy_kernel import CFLAGS, Toy, run

from klpkit.cli.extract import command

SOURCE = """\
#include "h.h"

#define STEP 3

static int state = 1;

/* Counts up. */
static inline int step(int x)
{
	return x + STEP;
}

__attribute__((noinline)) static int helper(int x)
{
	return hidden(x) * state++;
}

/* What a person wants changed. */
int target(int x)
{
	return helper(step(x)) + exported(x);
}

#define say_once(x) ({ static int __done; if (!__done) { __done = 1; hidden(x); } })

int other(int x)
{
	say_once(x);
	return step(x) * 2;
}

__attribute__((noinline, no_instrument_function)) static int untraced(int x)
{
	return hidden(x) - 5;
}

int uses(int x)
{
	return untraced(x + 1) * untraced(x - 1);
}

__attribute__((noinline, no_instrument_function)) static int in_table(int x)
{
	return hidden(x) - 6;
}

int body(int x)
{
	return hidden(x) * 7;
}
int same_body(int x) __attribute__((alias("body")));

int (*table[])(int) = {in_table};

static __attribute__((section(".init.data"))) int early = 1;

__attribute__((section(".init.text"))) int starts(int x)
{
	early = x;
	return exported(x) + 4;
}

int late(int x)
{
	return early + hidden(x);
}
"""
HEADER = "int exported(int x);\nint hidden(int x);\n"


class Place:
    """A build tree with one unit, and the kernel that was linked from it."""

    def __init__(self, folder: Path, compiler: str = "gcc") -> None:
        self.root, self.out = folder / "linux", folder / "out"
        files = {"Makefile": "", "Kbuild": "", "scripts/Kbuild.include": "", "fs/a.c": SOURCE, "fs/h.h": HEADER}
        for name, text in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)
        unknown = "sections" if compiler == "gcc" else r"sections|record-mcount"
        flags = " ".join(flag for flag in CFLAGS if not re.search(unknown, flag))
        line = f"{compiler} -D__KERNEL__ {flags} -c -o fs/a.o fs/a.c"
        (self.root / "fs/.a.o.cmd").write_text(
            f"savedcmd_fs/a.o := {line}\n\nsource_fs/a.o := fs/a.c\n\ndeps_fs/a.o := \\\n\n"
        )
        toy = Toy(folder)
        (folder / "h.h").write_text(HEADER)
        (folder / "a.c").write_text(SOURCE)
        run(compiler, *flags.split(), "-c", "-o", folder / "a.o", folder / "a.c")
        toy.vmlinux(folder / "a.o")
        self.symvers = folder / "Module.symvers"
        self.symvers.write_text("0x00000000\texported\tvmlinux\tEXPORT_SYMBOL\t\n")
        self.vmlinux = folder / "vmlinux"

    def run(self, *words: object) -> Result:
        options = ("--build", self.root, "--vmlinux", self.vmlinux, "--symvers", self.symvers, "-o", self.out)
        return CliRunner().invoke(command, [str(word) for word in (*words, *options)])
