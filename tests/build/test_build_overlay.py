"""A patch compiled in overlays: what the compiler sees, which units count, and that nothing else is touched."""

from __future__ import annotations

import difflib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kbuild_samples import FLAGS, snapshot, write_cmd, write_source

from klpkit.build.overlay import Compiled, compile_pairs
from klpkit.build.overlaymirror import make_mirror, original_reads
from klpkit.build.tree import open_tree
from klpkit.errors import EnvironmentLackError, RefusedError, UserError

HEADER = "static inline int shared(int a)\n{\n\treturn a + 1;\n}\n"
A = """\
#include <h.h>
#include "beside.h"
#include "sub/../far.h"

extern void warn(const char *, int);

int a1(int x)
{
	return x;
}

int a2(int x)
{
	if (x)
		warn(__FILE__, __LINE__);
	return shared(x) + BESIDE + FAR;
}
"""
B = '#include "../include/h.h"\nint b(int x) { return shared(x); }\n'
C = "int c(int x) { return x; }\n"
FILES = {
    **dict.fromkeys(("Makefile", "Kbuild", "scripts/Kbuild.include"), "\n"),
    "include/h.h": HEADER,
    "fs/beside.h": "#define BESIDE 5\n",
    "fs/far.h": "#define FAR 7\n",
    "fs/sub/x.h": "\n",
    "fs/a.c": A,
    "lib/b.c": B,
    "lib/c.c": C,
}
HEADERS = {
    "fs/a.c": ["include/h.h", "fs/beside.h", "fs/sub/../far.h"],
    "lib/b.c": ["lib/../include/h.h"],
    "lib/c.c": [],
}


class Kernel:
    """A tiny kernel tree: `source`, `build`, and where the commands of `build` find the source (`prefix`)."""

    def __init__(self, source: Path, build: Path, prefix: str, compiler: str = "gcc") -> None:
        self.source, self.build = source, build
        for name, text in FILES.items():
            write_source(source, name, text)
        flags = f"-nostdinc -I{prefix}include -D__KERNEL__ -O2 -g"
        for name, headers in HEADERS.items():
            (build / name).parent.mkdir(parents=True, exist_ok=True)
            write_cmd(
                build,
                name.replace(".c", ".o"),
                f"{prefix}{name}",
                headers=[f"{prefix}{header}" for header in headers],
                flags=flags,
                compiler=compiler,
            )

    def compile(self, tmp_path: Path, *patches: Path, **options: object) -> Compiled:
        tree = open_tree(self.build, source=self.source)
        return compile_pairs(tree, patches, tmp_path / "work", **options)  # type: ignore[arg-type]

    def patch(self, tmp_path: Path, **changes: str | None) -> Path:
        """A git patch that gives files, `fs_a_c` for fs/a.c, another text."""
        text = ""
        for key, new in changes.items():
            name = key.replace("_", "/", key.count("_") - 1).replace("_", ".")
            old = (self.source / name).read_text() if (self.source / name).exists() else None
            sides = (
                f"a/{name}" if old is not None else "/dev/null",
                f"b/{name}" if new is not None else "/dev/null",
            )
            lines = ((side or "").splitlines(keepends=True) for side in (old, new))
            text += "".join(difflib.unified_diff(*lines, *sides))
        path = tmp_path / "fix.patch"
        path.write_text(text)
        return path


@pytest.fixture(params=["in-tree", "absolute", "below the source", "relative"])
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Kernel:
    source = tmp_path / "linux"
    return {
        "in-tree": lambda: Kernel(source, source, ""),
        "absolute": lambda: Kernel(source, tmp_path / "build", f"{source}/"),
        "below the source": lambda: Kernel(source, source / "out", "../"),
        "relative": lambda: Kernel(source, tmp_path / "build", "../linux/"),
    }[request.param]()


@pytest.fixture
def small(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path / "linux", tmp_path / "build", f"{tmp_path / 'linux'}/")


def names(compiled: Compiled) -> set[str]:
    return {pair.unit.source.name for pair in compiled.pairs}


def code(path: Path) -> str:
    return subprocess.run(["objdump", "-dr", path], check=True, capture_output=True, text=True).stdout


def test_a_changed_source_is_compiled_twice_and_only_its_function_differs(kernel: Kernel, tmp_path: Path) -> None:
    patch = kernel.patch(tmp_path, fs_a_c=A.replace("return x;", "x *= 3;\n\tx += 9;\n\treturn x;"))
    before = snapshot(tmp_path / "linux"), snapshot(kernel.build)
    compiled = kernel.compile(tmp_path, patch)
    assert names(compiled) == {"a.c"}
    assert compiled.changed_files == ("fs/a.c",)
    (pair,) = compiled.pairs
    original, patched = (code(side).split("Disassembly of section ") for side in (pair.original, pair.patched))
    assert [part.split(":")[0] for part in original[1:]] == [".text.a1", ".text.a2"]
    assert original[1] != patched[1]
    assert original[2] == patched[2]  # the line of the warning and the file's name, too
    assert (snapshot(tmp_path / "linux"), snapshot(kernel.build)) == before


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"include_h_h": HEADER.replace("a + 1", "a + 2")}, {"a.c", "b.c"}),
        ({"fs_beside_h": "#define BESIDE 6\n"}, {"a.c"}),
        ({"fs_far_h": "#define FAR 8\n"}, {"a.c"}),
    ],
)
def test_a_changed_header_reaches_every_unit_that_includes_it(
    kernel: Kernel, tmp_path: Path, change: dict[str, str], expected: set[str]
) -> None:
    compiled = kernel.compile(tmp_path, kernel.patch(tmp_path, **change))
    assert names(compiled) == expected


def test_units_whose_objects_stay_the_same_drop_out(kernel: Kernel, tmp_path: Path) -> None:
    compiled = kernel.compile(tmp_path, kernel.patch(tmp_path, include_h_h=HEADER + "\n#define UNUSED\n"))
    assert names(compiled) == set()
    assert {unit.source.name for unit in compiled.equal} == {"a.c", "b.c"}


def test_the_files_name_stays_what_the_build_made_it(kernel: Kernel, tmp_path: Path) -> None:
    compiled = kernel.compile(tmp_path, kernel.patch(tmp_path, fs_a_c=A.replace("return x;", "return 7;")))
    spelled = open_tree(kernel.build).unit_for_source(kernel.source / "fs/a.c").source_argument.encode()
    for path in (compiled.pairs[0].original, compiled.pairs[0].patched):
        assert spelled + b"\0" in path.read_bytes()
        assert str(tmp_path / "work").encode() not in path.read_bytes()


def test_new_and_renamed_headers_are_seen(small: Kernel, tmp_path: Path) -> None:
    patch = small.patch(
        tmp_path,
        fs_a_c=A.replace('"beside.h"', '"moved.h"'),
        fs_moved_h="#define BESIDE 9\n",
        fs_beside_h=None,
    )
    assert names(small.compile(tmp_path, patch)) == {"a.c"}


def test_a_renamed_source_is_compiled_under_its_new_text(small: Kernel, tmp_path: Path) -> None:
    path = tmp_path / "fix.patch"
    path.write_text(
        "diff --git a/lib/c.c b/lib/d.c\nsimilarity index 50%\nrename from lib/c.c\nrename to lib/d.c\n"
        "--- a/lib/c.c\n+++ b/lib/d.c\n@@ -1 +1 @@\n-" + C + "+" + C.replace("return x", "return -x")
    )
    compiled = small.compile(tmp_path, path)
    assert names(compiled) == {"c.c"}
    assert compiled.notes == ()


def test_a_new_source_that_another_includes_needs_no_rule(small: Kernel, tmp_path: Path) -> None:
    write_source(small.source, "fs/n.c", "int other;\n")
    patch = small.patch(tmp_path, lib_n_c="int n;\n", lib_c_c='#include "n.c"\n' + C)
    assert names(small.compile(tmp_path, patch)) == {"c.c"}


def test_a_deleted_source_and_a_new_one_that_nobody_includes_are_refused(small: Kernel, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="deleted-source"):
        small.compile(tmp_path, small.patch(tmp_path, lib_c_c=None))
    patch = small.patch(tmp_path, lib_n_c="int n;\n", lib_c_c=C.replace("return x", "return -x"))
    with pytest.raises(RefusedError, match="new-source"):
        small.compile(tmp_path, patch)


@pytest.mark.parametrize(
    ("change", "slug"),
    [({"lib_Makefile": "x\n"}, "build-rules"), ({"lib_other_h": "int a;\n"}, "nothing-built")],
)
def test_what_no_unit_can_show_is_refused(
    small: Kernel, tmp_path: Path, change: dict[str, str], slug: str
) -> None:
    write_source(small.source, "lib/Makefile", "y\n")
    write_source(small.source, "lib/other.h", "int b;\n")
    path = small.patch(tmp_path, **{key: value for key, value in change.items() if "Makefile" not in key})
    if "lib_Makefile" in change:
        path.write_text("--- a/lib/Makefile\n+++ b/lib/Makefile\n@@ -1 +1 @@\n-y\n+x\n")
    with pytest.raises(RefusedError, match=slug):
        small.compile(tmp_path, path)


def test_a_file_that_no_unit_sees_is_named(small: Kernel, tmp_path: Path) -> None:
    write_source(small.source, "Documentation/x.rst", "y\n")
    patch = small.patch(tmp_path, Documentation_x_rst="x\n", lib_c_c=C.replace("return x", "return -x"))
    compiled = small.compile(tmp_path, patch)
    assert "no unit of this build sees Documentation/x.rst" in compiled.notes


def test_a_tree_with_link_time_optimisation_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "linux"
    kernel = Kernel(source, source, "")
    write_cmd(source, "lib/c.o", "lib/c.c", flags=f"{FLAGS} -flto=thin")
    patch = kernel.patch(tmp_path, lib_c_c=C.replace("return x", "return -x"))
    with pytest.raises(RefusedError, match="lto-tree"):
        kernel.compile(tmp_path, patch)
    write_cmd(source, "lib/c.o", "lib/c.c", flags=f"{FLAGS} -flto -fno-lto")
    assert names(kernel.compile(tmp_path, patch)) == {"c.c"}


def test_a_patch_that_does_not_compile_names_the_place_in_the_tree(small: Kernel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fs/a\.c does not compile with the patch") as caught:
        small.compile(tmp_path, small.patch(tmp_path, fs_a_c=A.replace("return x;", "return y;")))
    assert "| fs/a.c:9:" in caught.value.message


def test_an_assembler_source_that_changes_is_kept_apart(tmp_path: Path) -> None:
    source = tmp_path / "linux"
    kernel = Kernel(source, source, "")
    write_source(source, "lib/s.S", "#include <h.h>\n.globl s\ns: .long VALUE\n")
    write_source(source, "include/h.h", "#ifdef __ASSEMBLY__\n#define VALUE 1\n#else\n" + HEADER + "#endif\n")
    write_cmd(source, "lib/s.o", "lib/s.S", headers=["include/h.h"], flags=f"{FLAGS} -D__ASSEMBLY__")
    text = (source / "include/h.h").read_text()
    compiled = kernel.compile(tmp_path, kernel.patch(tmp_path, include_h_h=text.replace("VALUE 1", "VALUE 2")))
    assert [pair.unit.source.name for pair in compiled.others] == ["s.S"]
    assert names(compiled) == set()
    compiled = kernel.compile(tmp_path / "2", kernel.patch(tmp_path, include_h_h=text.replace("a + 1", "a + 2")))
    assert compiled.others == ()


def test_a_header_reached_around_the_mirror_is_found_and_the_way_closed(tmp_path: Path) -> None:
    """A file behind a linked folder goes up by `..`: only the compiler's own list shows it."""
    source = tmp_path / "linux"
    kernel = Kernel(source, source, "")
    write_source(source, "net/core/deep.h", '#include "../top.h"\n')
    write_source(source, "net/top.h", "#define TOP 1\n")
    write_source(source, "lib/c.c", '#include "../net/core/deep.h"\nint c(void) { return TOP; }\n')
    # The list is older than the include: it names neither header with its way.
    write_cmd(source, "lib/c.o", "lib/c.c", headers=["net/top.h"])
    compiled = kernel.compile(tmp_path, kernel.patch(tmp_path, net_top_h="#define TOP 2\n"))
    assert names(compiled) == {"c.c"}
    assert "$0x2" in code(compiled.pairs[0].patched)
    assert "$0x1" in code(compiled.pairs[0].original)


def test_a_read_of_the_original_is_found_whatever_its_name(tmp_path: Path) -> None:
    write_source(tmp_path, "src/a/x.h", "1\n")
    (tmp_path / "alias").symlink_to("src/a")
    changed = {tmp_path / "src/a/x.h"}
    assert original_reads([f"{tmp_path}/alias/../a/x.h", f"{tmp_path}/src/a/y.h"], changed) == [
        tmp_path / "src/a/x.h"
    ]
    make_mirror(tmp_path / "src", tmp_path / "mirror", {"a/x.h": "2\n"})
    assert original_reads([f"{tmp_path}/mirror/a/x.h"], changed) == []


def test_links_of_a_mirror_are_short_and_lead_to_the_tree(tmp_path: Path) -> None:
    """A link of 60 bytes and more takes a block of the disk on ext4."""
    tree = tmp_path / ("a_long_name_" * 6)
    write_source(tree, "a/b/x.h", "1\n")
    write_source(tree, "a/b/y.h", "2\n")
    write_source(tree, "a/z.h", "3\n")
    mirror = tmp_path / "work" / "patched"
    make_mirror(tree, mirror, {"a/b/x.h": "9\n"})
    links = [path for path in mirror.rglob("*") if path.is_symlink()]
    assert sorted(str(path.relative_to(mirror)) for path in links) == ["a/b/y.h", "a/z.h"]
    assert all(len(str(path.readlink())) < 60 for path in links)
    assert [(mirror / name).read_text() for name in ("a/b/x.h", "a/b/y.h", "a/z.h")] == ["9\n", "2\n", "3\n"]


def test_mirrors_of_two_trees_are_not_put_side_by_side(tmp_path: Path) -> None:
    """They share the link that all others go through."""
    for tree in ("one", "two"):
        write_source(tmp_path, f"{tree}/x.h", f"{tree}\n")
    make_mirror(tmp_path / "one", tmp_path / "work" / "first", {})
    make_mirror(tmp_path / "one", tmp_path / "work" / "again", {})
    with pytest.raises(ValueError, match="another tree"):
        make_mirror(tmp_path / "two", tmp_path / "work" / "second", {})


def test_a_link_in_the_tree_leads_to_the_patched_file(tmp_path: Path) -> None:
    source = tmp_path / "linux"
    kernel = Kernel(source, source, "")
    (source / "include/alias.h").symlink_to("h.h")
    write_source(source, "lib/c.c", "#include <alias.h>\nint c(int x) { return shared(x); }\n")
    write_cmd(source, "lib/c.o", "lib/c.c", headers=["include/alias.h", "include/h.h"])
    compiled = kernel.compile(tmp_path, kernel.patch(tmp_path, include_h_h=HEADER.replace("a + 1", "a + 2")))
    assert names(compiled) == {"a.c", "b.c", "c.c"}


def test_an_external_modules_own_tree_is_overlaid(tmp_path: Path) -> None:
    module, kernel = tmp_path / "module", tmp_path / "kernel"
    write_source(kernel, "include/h.h", HEADER)
    write_source(module, "m.c", '#include <h.h>\n#include "m.h"\nint m(int x) { return shared(x) + M; }\n')
    write_source(module, "m.h", "#define M 1\n")
    record = write_cmd(module, "m.o", "m.c", headers=["m.h"])
    text = record.read_text().replace(" m.o", f" {module}/m.o").replace("m.c", f"{module}/m.c")
    text = text.replace("_m.o", f"_{module}/m.o").replace("  m.h", f"  {module}/m.h")
    record.write_text(text.replace("-MMD,./.m.o.d", f"-MMD,{module}/.m.o.d"))
    path = tmp_path / "fix.patch"
    path.write_text("--- a/m.h\n+++ b/m.h\n@@ -1 +1 @@\n-#define M 1\n+#define M 2\n")
    before = snapshot(module), snapshot(kernel)
    compiled = compile_pairs(open_tree(module, kernel=kernel), [path], tmp_path / "work")
    assert names(compiled) == {"m.c"}
    assert (snapshot(module), snapshot(kernel)) == before


@pytest.mark.skipif(shutil.which("clang") is None and shutil.which("clang-16") is None, reason="no clang here")
def test_clang_sees_the_patched_files(tmp_path: Path) -> None:
    source = tmp_path / "linux"
    kernel = Kernel(source, source, "", compiler="clang" if shutil.which("clang") else "clang-16")
    compiled = kernel.compile(tmp_path, kernel.patch(tmp_path, include_h_h=HEADER.replace("a + 1", "a + 2")))
    assert names(compiled) == {"a.c", "b.c"}


def test_directives_that_do_not_compile_are_left_out(small: Kernel, tmp_path: Path) -> None:
    """Two lines share a number after a hunk, and here a name is made of it."""
    unique = "#define P(a, b) a##b\n#define Q(a, b) P(a, b)\n#define U static int Q(u, __LINE__) = 1;\n"
    write_source(small.source, "lib/c.c", unique + "U\nU\n" + C)
    patch = small.patch(tmp_path, lib_c_c=unique + "U\nU\nU\n" + C.replace("return x", "return -x"))
    compiled = small.compile(tmp_path, patch)
    assert names(compiled) == {"c.c"}


def test_an_interrupt_leaves_the_trees_as_they_were(small: Kernel, tmp_path: Path) -> None:
    slow = tmp_path / "slow-gcc"
    slow.write_text('#!/bin/sh\ncase "$*" in *-dM*) ;; *) sleep 60;; esac\nexec gcc "$@"\n')
    slow.chmod(0o755)
    record = small.build / "lib/.c.o.cmd"
    record.write_text(record.read_text().replace(":= gcc", f":= {slow}"))
    patch = small.patch(tmp_path, lib_c_c=C.replace("return x", "return -x"))
    before = snapshot(small.source), snapshot(small.build)
    script = (
        "import sys; from pathlib import Path; from klpkit.build import compile_pairs, open_tree\n"
        "build, source, patch, work = map(Path, sys.argv[1:])\n"
        "compile_pairs(open_tree(build, source=source), [patch], work)"
    )
    argv = [sys.executable, "-c", script, small.build, small.source, patch, tmp_path / "work"]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("work/objects/*/.replay-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) != 0
    assert (snapshot(small.source), snapshot(small.build)) == before
    assert list((tmp_path / "work").rglob("*.o")) == []


def test_a_work_folder_that_can_not_be_written_is_said(small: Kernel, tmp_path: Path) -> None:
    (tmp_path / "work").write_text("not a folder")
    with pytest.raises(EnvironmentLackError, match="can't write"):
        small.compile(tmp_path, small.patch(tmp_path, lib_c_c=C.replace("return x", "return -x")))
