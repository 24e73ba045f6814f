"""A build tree: its units, what they are linked into, and which of them concern a header or a function."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kbuild_samples import snapshot, thin_archive, write_cmd, write_source

from klpkit.build.index import load_index
from klpkit.build.owners import thin_members
from klpkit.build.tree import BuildTree, open_tree
from klpkit.errors import FormatError, UserError


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """A finished in-tree build: a built-in object, one from a library, a module of two, a boot loader."""
    tree = tmp_path / "linux"
    for name in ("Makefile", "Kbuild", "scripts/Kbuild.include"):
        write_source(tree, name, "")
    write_source(tree, "include/linux/list.h", "static inline void list_add(void) {}\n")
    write_source(tree, "include/linux/odd.h", "#define MAKE(x) static void x##_get(void) {}\n")
    write_source(tree, "fs/namei.c", "int do_linkat(void) { return may_linkat(); }\n")
    write_source(tree, "lib/string.c", "SYSCALL_DEFINE1(linkat, int, a) { return a; }\n")
    write_source(tree, "fs/ext4/inode.c", "int ext4_inode;\n")
    write_source(tree, "fs/ext4/dir.c", "int ext4_dir;\n")
    write_source(tree, "arch/x86/boot/main.c", "int main(void) { return 0; }\n")
    write_source(tree, "scripts/tool.c", "int main(void) { return 0; }\n")
    write_cmd(tree, "fs/namei.o", "fs/namei.c", headers=["include/linux/list.h"])
    write_cmd(tree, "lib/string.o", "lib/string.c", headers=["include/linux/odd.h"])
    module = "-D__KERNEL__ -DMODULE"
    write_cmd(tree, "fs/ext4/inode.o", "fs/ext4/inode.c", flags=module, headers=["./include/linux/list.h"])
    write_cmd(tree, "fs/ext4/dir.o", "fs/ext4/dir.c", flags=module, headers=["include/linux/odd.h"])
    write_cmd(tree, "arch/x86/boot/main.o", "arch/x86/boot/main.c")
    write_cmd(tree, "scripts/tool.o", "scripts/tool.c", flags="-O2")
    (tree / "fs/ext4/ext4.mod").write_text("fs/ext4/inode.o\nfs/ext4/dir.o\n")
    thin_archive(tree, "vmlinux.a", ["fs/namei.o", "fs/a_member_with_a_rather_long_name.o"])
    thin_archive(tree / "lib", "lib.a", ["string.o"])
    return tree


def names(units: object) -> set[str]:
    return {unit.source.name for unit in units}  # type: ignore[attr-defined]


def test_units_are_the_kernels_own_and_everything_adds_the_rest(kernel: Path) -> None:
    tree = open_tree(kernel)
    assert names(tree.units()) == {"namei.c", "string.c", "inode.c", "dir.c"}
    assert names(tree.units(everything=True)) >= {"main.c", "tool.c"}
    assert len(tree) == 4


def test_each_object_has_its_owner(kernel: Path) -> None:
    tree = open_tree(kernel)
    assert tree.owner("fs/namei.o") == "vmlinux"
    assert tree.owner(kernel / "lib/string.o") == "vmlinux"
    assert tree.owner("fs/ext4/inode.o") == "fs/ext4/ext4"
    assert tree.owner("fs/ext4/ext4.o") == "fs/ext4/ext4"
    assert tree.owner("arch/x86/boot/main.o") == ""
    assert tree.owner("no/such.o") == ""
    assert tree.unit_for_source("fs/ext4/dir.c").owner == "fs/ext4/ext4"


def test_an_object_in_two_modules_names_both(kernel: Path) -> None:
    (kernel / "fs/ext4/ext5.mod").write_text("fs/ext4/inode.o fs/ext4/other.o\n")
    assert open_tree(kernel).owner("fs/ext4/inode.o") == "fs/ext4/ext4, fs/ext4/ext5"


def test_without_lists_the_command_tells_the_owner(tmp_path: Path) -> None:
    write_cmd(tmp_path, "fs/a.o", "fs/a.c", flags="-D__KERNEL__ -DMODULE")
    write_cmd(tmp_path, "fs/b.o", "fs/b.c")
    tree = open_tree(tmp_path)
    assert (tree.owner("fs/a.o"), tree.owner("fs/b.o")) == ("fs/a", "vmlinux")


def test_a_module_that_nothing_names_is_not_taken_for_vmlinux(tmp_path: Path) -> None:
    path = write_cmd(tmp_path, "fs/a.o", "fs/a.c", flags="-D__KERNEL__ -DMODULE")
    path.write_text(path.read_text().replace("-DKBUILD_MODFILE", "-DOTHER"))
    assert open_tree(tmp_path).owner("fs/a.o") == ""


def test_an_external_module_is_read_with_absolute_paths(tmp_path: Path) -> None:
    module, headers = tmp_path / "module", tmp_path / "headers"
    headers.mkdir()
    write_source(module, "a.c", "int a;\n")
    target = str(module / "a.o")
    write_cmd(module, target, str(module / "a.c"), flags="-D__KERNEL__ -DMODULE", headers=["include/linux/x.h"])
    (module / "m.mod").write_text(f"{target}\n")
    unit = open_tree(module, kernel=headers).unit_for_source("a.c")
    assert (unit.owner, unit.directory, unit.headers) == ("m", headers, (headers / "include/linux/x.h",))


def test_a_header_is_found_under_any_spelling(kernel: Path) -> None:
    tree = open_tree(kernel)
    for spelling in ("include/linux/list.h", kernel / "include/linux/list.h"):
        assert names(tree.units_with_header(spelling)) == {"namei.c", "inode.c"}


def test_a_unit_without_a_header_list_counts_for_every_header(kernel: Path) -> None:
    path = write_cmd(kernel, "fs/bare.o", "fs/namei.c")
    path.write_text(path.read_text().split("\ndeps_")[0] + "\n")
    assert "fs/bare.o" in {
        os.path.relpath(unit.object, kernel) for unit in open_tree(kernel).units_with_header("include/linux/odd.h")
    }


def test_a_function_is_found_in_sources_and_in_headers(kernel: Path) -> None:
    tree = open_tree(kernel)
    assert names(tree.units_mentioning("may_linkat")) == {"namei.c"}
    assert names(tree.units_mentioning("list_add")) == {"namei.c", "inode.c"}
    assert names(tree.units_mentioning("list")) == set()


def test_a_function_is_found_under_its_clones_and_its_pasted_names(kernel: Path) -> None:
    tree = open_tree(kernel)
    assert names(tree.units_mentioning("do_linkat.isra.0")) == {"namei.c"}
    assert names(tree.units_mentioning("__x64_sys_linkat")) == {"string.c"}


def test_a_name_that_only_the_object_spells_is_found_in_its_symbols(kernel: Path) -> None:
    subprocess.run(
        ["gcc", "-x", "c", "-", "-c", "-o", kernel / "fs/ext4/dir.o"],
        input=b"int pasted_get(void) {return 1;}",
        check=True,
    )
    assert names(open_tree(kernel).units_mentioning("pasted_get")) == {"dir.c"}


def test_an_unknown_source_is_named_with_its_closest_relatives(kernel: Path) -> None:
    with pytest.raises(UserError, match=r"fs/namei\.c"):
        open_tree(kernel).unit_for_source("fs/name.c")


def test_a_source_compiled_twice_into_the_kernel_is_not_chosen_at_random(kernel: Path) -> None:
    write_cmd(kernel, "fs/again.o", "fs/namei.c")
    thin_archive(kernel, "vmlinux.a", ["fs/again.o"])
    with pytest.raises(UserError, match="more than once"):
        open_tree(kernel).unit_for_source("fs/namei.c")


def test_an_archive_that_is_cut_off_is_an_error(kernel: Path) -> None:
    path = kernel / "vmlinux.a"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FormatError, match=r"vmlinux\.a"):
        open_tree(kernel).owner("fs/namei.o")


@given(st.binary(max_size=200))
def test_no_archive_causes_anything_but_a_format_error(content: bytes) -> None:
    for text in (content, b"!<thin>\n" + content):
        try:
            assert thin_members(text, Path("x.a")) is not None
        except FormatError:
            continue


def test_a_broken_record_is_kept_in_sight_and_stops_nothing_else(kernel: Path) -> None:
    (kernel / "fs/.bad.o.cmd").write_bytes(b"savedcmd_fs/bad.o := gcc -c")
    tree = open_tree(kernel)
    assert names(tree.units()) >= {"namei.c"}
    assert list(tree.broken) == ["fs/.bad.o.cmd"]


def test_a_folder_that_is_gone_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such build tree"):
        open_tree(tmp_path / "absent")


def test_a_folder_that_may_not_be_read_is_a_users_error(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> object:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("klpkit.build.index.os.scandir", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        list(BuildTree(kernel).units())


def age(tree: Path) -> None:
    """Make every file and folder old enough for the index to trust its time."""
    then = time.time() - 1000
    for path in [tree, *tree.rglob("*")]:
        os.utime(path, (then, then), follow_symlinks=False)


def test_the_index_is_kept_and_follows_what_make_does(kernel: Path) -> None:
    age(kernel)
    before = load_index(kernel)
    assert load_index(kernel) == before
    write_cmd(kernel, "mm/new.o", "mm/new.c")
    (kernel / "lib/.string.o.cmd").unlink()
    changed = kernel / "fs/.namei.o.cmd"
    changed.write_text(changed.read_text().replace("fs/namei.c", "fs/other.c"))
    after = {entry.target: entry.source for entry in load_index(kernel).entries}
    assert after["mm/new.o"] == "mm/new.c"
    assert after["fs/namei.o"] == "fs/other.c"
    assert "lib/string.o" not in after


def test_a_file_written_again_at_once_with_the_same_size_is_noticed(kernel: Path) -> None:
    load_index(kernel)
    path = kernel / "fs/.namei.o.cmd"
    status = path.stat()
    path.write_text(path.read_text().replace("fs/namei.c", "fs/Namei.c"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "fs/Namei.c" in {entry.source for entry in load_index(kernel).entries}


def test_a_spoilt_cache_is_made_again(kernel: Path, isolated_home: Path) -> None:
    before = load_index(kernel)
    (store,) = (isolated_home / ".cache/klpkit/build").glob("*.index.json")
    store.write_bytes(store.read_bytes()[:50])
    assert load_index(kernel) == before


def test_reading_writes_nothing_into_the_tree(kernel: Path) -> None:
    before = snapshot(kernel)
    tree = open_tree(kernel)
    list(tree.units(everything=True))
    tree.units_mentioning("list_add")
    assert snapshot(kernel) == before


@settings(max_examples=30)
@given(
    st.lists(
        st.text("abcdefgh_.", min_size=1, max_size=30).map(lambda n: f"{n.strip('.')}x.o"), max_size=8, unique=True
    )
)
def test_thin_archives_are_read_as_ar_reads_them(members: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        thin_archive(folder, "x.a", members)
        assert thin_members((folder / "x.a").read_bytes(), folder / "x.a") == members


def test_a_compilation_database_gives_units(tmp_path: Path) -> None:
    write_source(tmp_path, "src/a.c", "int a;\n")
    entries = [
        {
            "directory": str(tmp_path),
            "file": "src/a.c",
            "arguments": ["ccache", "gcc", "-c", "src/a.c", "-o", "a.o"],
        },
        {
            "directory": str(tmp_path),
            "file": "src/b.c",
            "command": "gcc -DX='\"y z\"' -c -o b.o src/b.c",
            "output": "b.o",
        },
    ]
    (tmp_path / "compile_commands.json").write_text(json.dumps(entries))
    tree = open_tree(tmp_path)
    assert [unit.object.name for unit in tree.units()] == ["a.o", "b.o"]
    assert tree.unit_for_source("src/a.c").compiler == ("ccache", "gcc")
    assert '-DX="y z"' in tree.unit_for_object("b.o").arguments
    assert open_tree(tmp_path / "compile_commands.json").unit_for_object("a.o").source == tmp_path / "src/a.c"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON"),
        ("{}", "not a list"),
        ('[{"file": 3}]', "entry 0"),
        ('[{"file": "a.c"}]', "neither"),
        ('[{"file": "a.c", "command": "gcc $(id) -c a.c"}]', "substitution"),
        ('[{"file": "a.c", "arguments": ["gcc", "@x", "a.c"]}]', "response file"),
        ('[{"file": "a.c", "arguments": ["gcc", "-c"]}]', "names no source"),
    ],
)
def test_a_broken_database_is_an_error_that_names_the_entry(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "compile_commands.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=problem):
        list(open_tree(path).units())
