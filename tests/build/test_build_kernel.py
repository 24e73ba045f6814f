"""The build room on real kernels: Debian's prepared tree, and a small kernel that was built."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from kernels import SmallKernel, StockKernel
from klpkit.build.csource import definitions
from klpkit.build.kbuild import commands_from_kbuild, tree_compiler
from klpkit.build.patch import read_patch, touched_functions
from klpkit.build.replays import include_line, replay, replay_argv, replay_many
from klpkit.build.tree import open_tree
from klpkit.errors import UserError

pytestmark = pytest.mark.kernel


def times(tree: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder of `tree` with its time and size."""
    found = {}
    for folder, folders, names in os.walk(tree):
        for name in (*folders, *names):
            path = Path(folder, name)
            status = path.lstat()
            found[str(path)] = (status.st_mtime_ns, status.st_size if path.is_file() else 0)
    return found


def test_kbuild_gives_the_commands_of_a_prepared_tree_and_leaves_it_alone(
    stock_kernel: StockKernel, tmp_path: Path
) -> None:
    before = times(stock_kernel.build)
    tree = open_tree(stock_kernel.build)
    signal, xfs = tree.ensure_units(["kernel/signal.c", "fs/xfs/libxfs/xfs_alloc.c"])
    assert (signal.owner, xfs.owner) == ("vmlinux", "fs/xfs/xfs")
    assert signal.compiler == tree_compiler(stock_kernel.build)
    assert stock_kernel.source / "include/linux/sched/signal.h" in signal.headers
    done = replay(signal, workdir=tmp_path, extra=["-fdump-ipa-clones"])
    assert any("recalc_sigpending_tsk" in dump.read_text() for dump in done.dumps if "ipa-clones" in dump.name)
    with pytest.raises(UserError, match="does not build"):
        tree.ensure_unit("fs/jffs2/acl.c")
    with pytest.raises(UserError, match="did you mean"):
        tree.ensure_unit("kernel/signals.c")
    assert times(stock_kernel.build) == before


def test_a_copy_that_a_failure_of_kbuild_spoiled_is_made_again(
    stock_kernel: StockKernel, isolated_home: Path
) -> None:
    source, build = stock_kernel.source, stock_kernel.build
    commands_from_kbuild(build, source, ["lib/cmdline.c"])
    (header,) = isolated_home.glob(".cache/klpkit/build/kbuild/*/include/generated/autoconf.h")
    header.unlink()
    (unit,) = commands_from_kbuild(build, source, ["lib/ctype.c"])
    assert header.is_file()
    assert unit.source == source / "lib/ctype.c"


def test_a_tree_that_was_prepared_again_is_compiled_as_it_is_now(
    stock_kernel: StockKernel, tmp_path: Path
) -> None:
    build = tmp_path / "build"
    shutil.copytree(stock_kernel.build, build, symlinks=True)

    def said() -> bytes:
        unit = open_tree(build, source=stock_kernel.source).ensure_unit("init/version.c")
        return replay(unit, workdir=tmp_path / "out").object.read_bytes()

    release = build / "include/generated/utsrelease.h"
    release.write_text('#define UTS_RELEASE "one-name"\n')
    assert b"one-name" in said()
    old = release.stat()
    release.write_text('#define UTS_RELEASE "new-name"\n')
    os.utime(release, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert b"new-name" in said()


def test_headers_are_asked_for_again_when_a_source_has_changed(stock_kernel: StockKernel, tmp_path: Path) -> None:
    source = tmp_path / "linux"
    (source / "lib").mkdir(parents=True)
    copy = source / "lib/ctype.c"
    shutil.copy2(stock_kernel.source / "lib/ctype.c", copy)
    merge(stock_kernel.source, source, {"lib"})
    header = source / "include/linux/uuid.h"

    def headers() -> tuple[Path, ...]:
        (unit,) = commands_from_kbuild(stock_kernel.build, source, ["lib/ctype.c"])
        return unit.headers

    assert header not in headers()
    copy.write_text(f"#include <linux/uuid.h>\n{copy.read_text()}")
    # As an archive or `rsync -t` leaves it: older than what was asked before.
    os.utime(copy, (1_000_000_000, 1_000_000_000))
    assert header in headers()


def test_flags_are_asked_for_again_when_the_makefile_of_the_architecture_has_changed(
    stock_kernel: StockKernel, tmp_path: Path
) -> None:
    source = tmp_path / "linux"
    rules = source / "arch/x86/Makefile"
    rules.parent.mkdir(parents=True)
    shutil.copy2(stock_kernel.source / "arch/x86/Makefile", rules)
    merge(stock_kernel.source, source, {"arch", "arch/x86"})

    def flags() -> tuple[str, ...]:
        (unit,) = commands_from_kbuild(stock_kernel.build, source, ["lib/ctype.c"])
        return unit.arguments

    assert "-DPATCHED_RULES" not in flags()
    rules.write_text(f"{rules.read_text()}\nKBUILD_CFLAGS += -DPATCHED_RULES\n")
    assert "-DPATCHED_RULES" in flags()


def test_flags_are_asked_for_again_when_a_makefile_that_another_includes_has_changed(
    stock_kernel: StockKernel, tmp_path: Path
) -> None:
    source = tmp_path / "linux"
    rules, included = source / "lib/Makefile", source / "tools/common.mk"
    for path in (rules, included):
        path.parent.mkdir(parents=True)
    rules.write_text(f"include $(srctree)/tools/common.mk\n{(stock_kernel.source / 'lib/Makefile').read_text()}")
    included.write_text("# nothing yet\n")
    merge(stock_kernel.source, source, {"lib", "tools"})

    def flags() -> tuple[str, ...]:
        (unit,) = commands_from_kbuild(stock_kernel.build, source, ["lib/ctype.c"])
        return unit.arguments

    assert "-DPATCHED_RULES" not in flags()
    included.write_text("ccflags-y += -DPATCHED_RULES\n")
    assert "-DPATCHED_RULES" in flags()


def test_kbuilds_command_is_the_one_that_a_build_recorded(small_kernel: SmallKernel) -> None:
    tree = open_tree(small_kernel.build)
    sources = ["kernel/cred.c", "samples/livepatch/livepatch-sample.c"]
    for source, asked in zip(
        sources, commands_from_kbuild(small_kernel.build, small_kernel.source, sources), strict=True
    ):
        recorded = tree.unit_for_source(source)
        assert asked.argv == recorded.argv
        assert (asked.object, asked.source, asked.owner) == (recorded.object, recorded.source, recorded.owner)
        copied = [path for path in asked.headers if path.is_relative_to(asked.directory)]
        assert {path.relative_to(asked.directory) for path in copied} == {
            path.relative_to(small_kernel.build)
            for path in recorded.headers
            if path.is_relative_to(small_kernel.build)
        }


def below(paths: Iterable[Path], folder: Path) -> set[Path]:
    """Those of `paths` below `folder`, relative to it."""
    return {path.relative_to(folder) for path in paths if path.is_relative_to(folder)}


def merge(source: Path, tree: Path, folders: set[str], prefix: str = "") -> None:
    """Link what `source` holds into `tree`, entering the `folders` that `tree` has of its own."""
    for entry in source.iterdir():
        name = f"{prefix}{entry.name}"
        if name in folders:
            merge(entry, tree / entry.name, folders, f"{name}/")
        elif not (tree / entry.name).exists():
            (tree / entry.name).symlink_to(entry)


def test_an_in_tree_preparation_is_read_through_a_view_of_its_source(
    stock_kernel: StockKernel, tmp_path: Path
) -> None:
    tree = tmp_path / "linux"
    shutil.copytree(stock_kernel.build, tree, symlinks=True)
    (tree / "source").unlink()
    (tree / "Makefile").unlink()
    merged = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_dir()}
    merge(stock_kernel.source, tree, merged)
    before = times(tree)
    unit = open_tree(tree).ensure_unit("kernel/cred.c")
    assert (unit.owner, unit.source) == ("vmlinux", tree / "kernel/cred.c")
    assert tree / "include/linux/cred.h" in unit.headers
    assert replay(unit, workdir=tmp_path / "w").object.stat().st_size > 0
    assert times(tree) == before


def test_every_unit_of_a_built_kernel_is_read_and_owned(small_kernel: SmallKernel) -> None:
    tree = open_tree(small_kernel.build)
    units = list(tree.units())
    assert tree.broken == {}
    assert len(units) > 500
    unowned = [
        unit.object
        for unit in units
        if not unit.owner and not re.search(r"\.mod\.o$|/\.|init/version", str(unit.object))
    ]
    assert unowned == []
    assert tree.owner("samples/livepatch/livepatch-sample.o") == "samples/livepatch/livepatch-sample"
    assert tree.owner("fs/namei.o") == "vmlinux"


SOURCES = ["fs/namei.c", "lib/string.c", "mm/mmap.c"]


def test_replayed_objects_equal_the_trees_own(small_kernel: SmallKernel, tmp_path: Path) -> None:
    tree = open_tree(small_kernel.build)
    units = [tree.unit_for_source(source) for source in SOURCES]
    # The objects of modules are not the compiler's own: objtool has been over them.
    for result in replay_many(units, workdir=tmp_path):
        assert result.object.read_bytes() == result.unit.object.read_bytes(), result.unit.source


def test_a_wrapped_kernel_source_makes_the_same_code(small_kernel: SmallKernel, tmp_path: Path) -> None:
    unit = open_tree(small_kernel.build).unit_for_source("fs/namei.c")
    wrapper = tmp_path / "wrapper.c"
    wrapper.write_text(include_line(unit))
    done = replay(unit, workdir=tmp_path, source=wrapper)
    assert code(done.object) == code(unit.object)


def code(path: Path) -> bytes:
    """The disassembly of the code in an object."""
    text = subprocess.run(["objdump", "-dr", str(path)], check=True, capture_output=True).stdout
    return text.split(b"\n", 3)[3]


DECLARED = re.compile(r"/\* (?P<file>.*):(?P<line>\d+):\w(?P<what>[CF]) \*/ (?P<text>.*);(?: /\*|$)")
# Functions that macros at the top level make are no definitions of the text.
MADE_BY_MACROS = re.compile(r"__(x64|ia32|se|do)_(compat_)?sys|class_\w+_(constructor|destructor|lock_ptr)")


def test_every_function_that_the_compiler_sees_is_found_in_the_text(
    small_kernel: SmallKernel, tmp_path: Path
) -> None:
    """The oracle is GCC's own list of definitions with their lines (`-aux-info`)."""
    tree = open_tree(small_kernel.build)
    missed, total = [], 0
    for source in ("fs/namei.c", "kernel/sched/core.c"):
        unit = tree.unit_for_source(source)
        listing = tmp_path / "list"
        argv = replay_argv(unit, tmp_path / "x.o", extra=["-fsyntax-only", "-w", "-aux-info", str(listing)])
        subprocess.run(argv, cwd=unit.directory, check=True, capture_output=True)
        known: dict[Path, list[tuple[str, str, int, int]]] = {}
        for match in filter(None, map(DECLARED.match, listing.read_text().splitlines())):
            if match["what"] == "C" or MADE_BY_MACROS.search(match["text"]):
                continue
            path = unit.directory / match["file"]
            if path not in known:
                text = path.read_bytes().decode(errors="replace")
                known[path] = [(d.kind, d.name, d.first, d.last) for d in definitions(text)]
            line = int(match["line"])
            around = [(kind, name) for kind, name, first, last in known[path] if first <= line <= last]
            total += 1
            names = set(re.findall(r"\w+", match["text"]))
            if not any(kind == "invocation" or (kind == "function" and name in names) for kind, name in around):
                missed.append((str(path), line, match["text"], around))
    assert total > 5_000
    # What is left are functions made by macros whose call is part of a longer line.
    assert len({entry[:2] for entry in missed}) < 80, missed[:20]
    assert all(str(unit.source) != path for path, *_ in missed for unit in [tree.unit_for_source("fs/namei.c")])


def test_a_fix_of_a_static_function_touches_it_alone(stock_kernel: StockKernel, tmp_path: Path) -> None:
    path = tmp_path / "fix.patch"
    old = (stock_kernel.source / "kernel/signal.c").read_text().splitlines(keepends=True)
    line = next(i for i, text in enumerate(old) if "bool recalc_sigpending_tsk" in text) + 2
    hunk = [" " + old[line - 1], "-" + old[line], "+\tbarrier();\n", "+" + old[line]]
    path.write_text(f"--- a/kernel/signal.c\n+++ b/kernel/signal.c\n@@ -{line},2 +{line},3 @@\n{''.join(hunk)}")
    touched = touched_functions(read_patch(path, stock_kernel.source), open_tree(stock_kernel.build))
    assert [(t.name, t.kind, t.change) for t in touched] == [("recalc_sigpending_tsk", "function", "changed")]
