"""Source patches: where they apply, what they may not do, and which functions they touch."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kbuild_samples import snapshot, write_cmd, write_source

from klpkit.build.patch import FilePatch, Touched, read_patch, read_patches, touched_functions
from klpkit.build.touched import touched_in
from klpkit.build.tree import open_tree
from klpkit.errors import FormatError, UserError

OLD = """\
#include <x.h>

static int helper(int a)
{
	return a + 1;
}

int first(int a)
{
	return helper(a);
}

int second(int a)
{
	return helper(a) * 2;
}
"""


def diff(old: str, new: str, name: str = "fs/a.c", prefixes: tuple[str, str] = ("a/", "b/")) -> str:
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), prefixes[0] + name, prefixes[1] + name
    )
    return "".join(lines)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tree = tmp_path / "linux"
    write_source(tree, "fs/a.c", OLD)
    return tree


def save(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "fix.patch"
    path.write_text(text)
    return path


def changes(old: str | None, new: str | None, name: str = "a.c") -> set[tuple[str, str, str]]:
    return {(t.kind, t.name, t.change) for t in touched_in(FilePatch(name, old, new))}


@pytest.mark.parametrize("prefixes", [("a/", "b/"), ("", ""), ("linux-6.1/", "linux-6.1-new/"), ("x/y/", "x/z/")])
def test_the_prefix_to_strip_is_found(source: Path, tmp_path: Path, prefixes: tuple[str, str]) -> None:
    new = OLD.replace("a + 1", "a + 2")
    patch = read_patch(save(tmp_path, diff(OLD, new, prefixes=prefixes)), source)
    assert [(file.path, file.patched) for file in patch.files] == [("fs/a.c", new)]
    assert patch.strip == len([part for part in prefixes[0].split("/") if part])


def test_a_hunk_is_found_where_lines_above_it_moved(source: Path, tmp_path: Path) -> None:
    text = diff(OLD, OLD.replace("a) * 2", "a) * 3"))
    write_source(source, "fs/a.c", "/* new */\n" * 30 + OLD)
    patched = read_patch(save(tmp_path, text), source).files[0].patched
    assert patched == "/* new */\n" * 30 + OLD.replace("a) * 2", "a) * 3")


def test_a_patch_that_does_not_apply_is_refused(source: Path, tmp_path: Path) -> None:
    patch = save(tmp_path, diff(OLD, OLD.replace("a + 1", "a + 2")))
    write_source(source, "fs/a.c", OLD.replace("a + 1", "a + 7"))
    with pytest.raises(UserError, match=r"hunk 1 of .*does not apply"):
        read_patch(patch, source)


def test_new_and_deleted_files_are_read(source: Path, tmp_path: Path) -> None:
    text = "--- /dev/null\n+++ b/fs/new.c\n@@ -0,0 +1,1 @@\n+int n(void) { return 1; }\n"
    deleted = "".join(f"-{line}\n" for line in OLD.splitlines())
    text += f"--- a/fs/a.c\n+++ /dev/null\n@@ -1,{len(OLD.splitlines())} +0,0 @@\n{deleted}"
    patch = read_patch(save(tmp_path, text), source)
    touched = touched_functions(patch)
    assert Touched("fs/new.c", "n", "function", (1, 1), "added") in touched
    assert {t.name for t in touched if t.change == "removed"} >= {"helper", "first", "second"}


@pytest.mark.parametrize("name", ["../a.c", "fs/../../a.c", "/etc/passwd"])
def test_a_path_that_leaves_the_tree_is_refused(source: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="leaves the source tree"):
        read_patch(save(tmp_path, diff(OLD, OLD + "int x;\n", name=name, prefixes=("", ""))), source)


def test_a_link_that_leaves_the_tree_is_refused(source: Path, tmp_path: Path) -> None:
    write_source(tmp_path, "outside/a.c", OLD)
    (source / "drivers").symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="leads out"):
        read_patch(save(tmp_path, diff(OLD, OLD + "int x;\n", name="drivers/a.c")), source)


@pytest.mark.parametrize("text", ["", "hello\n", "\0\1\2", "--- a/fs/a.c\n+++ b/fs/a.c\n@@ -1,2 +1,2 @@\n-x\n"])
def test_what_is_no_patch_is_refused(source: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises((FormatError, UserError)):
        read_patch(save(tmp_path, text), source)


def test_a_binary_patch_is_refused(source: Path, tmp_path: Path) -> None:
    text = "diff --git a/fs/a.c b/fs/a.c\nindex 1..2 100644\nBinary files a/fs/a.c and b/fs/a.c differ\n"
    with pytest.raises(UserError, match="binary"):
        read_patch(save(tmp_path, text), source)


def test_a_missing_file_is_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.c is not in"):
        read_patch(save(tmp_path, diff(OLD, OLD + "int x;\n", name="fs/gone.c")), source)


def test_a_changed_body_names_its_function_and_no_other() -> None:
    assert changes(OLD, OLD.replace("a + 1", "a + 2")) == {("function", "helper", "changed")}


def test_a_comment_or_layout_touches_nothing() -> None:
    assert changes(OLD, OLD.replace("return a + 1;", "/* why */\n\n\treturn a  + 1;")) == set()


def test_a_hunk_that_only_moves_lines_touches_nothing() -> None:
    assert changes(OLD, "/* licence */\n\n" + OLD) == set()


def test_a_renamed_function_is_removed_and_added() -> None:
    got = changes(OLD, OLD.replace("int second", "int third"))
    assert got == {("function", "second", "removed"), ("function", "third", "added")}


def test_a_change_of_a_head_is_a_change_of_the_function() -> None:
    assert changes(OLD, OLD.replace("static int helper", "static long helper")) == {
        ("function", "helper", "changed")
    }


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("struct s { int a; };\n", "struct s { int a, b; };\n", ("type", "s", "changed")),
        ("enum e { A };\n", "enum e { A, B };\n", ("type", "e", "changed")),
        ("int v = 1;\n", "int v = 2;\n", ("variable", "v", "changed")),
        ("#define M 1\n", "#define M 2\n", ("macro", "M", "changed")),
        ("int p(int);\n", "int p(long);\n", ("file-scope", "p", "changed")),
        ("#include <a.h>\n", "#include <b.h>\n", ("file-scope", "#include <b.h>", "changed")),
        ("INIT(a)\n", "INIT(b)\n", ("file-scope", "INIT(b)", "added")),
        ("int f(void) { }\n", "#ifdef X\nint f(void) { }\n#endif\n", ("function", "f", "changed")),
    ],
)
def test_a_change_outside_functions_is_reported_as_what_it_is(
    old: str, new: str, expected: tuple[str, str, str]
) -> None:
    assert expected in changes(old, new)


def test_an_assembler_or_data_file_is_a_change_that_nobody_can_list() -> None:
    assert changes("a\n", "b\n", "fs/Kconfig") == {("file-scope", "fs/Kconfig", "changed")}


def test_a_function_between_conditionals_changes_with_them() -> None:
    old = "#ifdef A\nint f(void) { }\nint g(void) { }\n#endif\nint h(void) { }\n"
    assert changes(old, old.replace("A", "B")) >= {("function", "f", "changed"), ("function", "g", "changed")}
    assert ("function", "h", "changed") not in changes(old, old.replace("A", "B"))


FUNCTIONS = st.lists(st.integers(0, 3), min_size=1, max_size=6)


@given(FUNCTIONS, FUNCTIONS)
def test_exactly_the_functions_that_differ_are_touched(before: list[int], after: list[int]) -> None:
    def text(bodies: list[int]) -> str:
        return "".join(f"int f{i}(int a)\n{{\n\treturn a + {body};\n}}\n\n" for i, body in enumerate(bodies))

    expected = {
        ("function", f"f{i}", "changed") for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b
    }
    expected |= {("function", f"f{i}", "removed") for i in range(len(after), len(before))}
    expected |= {("function", f"f{i}", "added") for i in range(len(before), len(after))}
    assert changes(text(before), text(after)) == expected


@given(st.lists(st.sampled_from(["a\n", "b\n", "\x0c\n", "\r\n", "c d\n"]), max_size=30), st.data())
def test_applying_a_diff_gives_the_new_text(
    tmp_path_factory: pytest.TempPathFactory, old: list[str], data: st.DataObject
) -> None:
    new = [*data.draw(st.permutations(old)), "end\n"]
    folder = tmp_path_factory.mktemp("apply")
    write_source(folder, "fs/a.c", "")
    (folder / "fs/a.c").write_bytes("".join(old).encode())
    text = "".join(difflib.unified_diff(old, new, "a/fs/a.c", "b/fs/a.c"))
    path = folder / "x.patch"
    path.write_bytes(text.encode())
    assert read_patch(path, folder).files[0].patched == "".join(new)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A header with nested macros, two units that include it and one that does not."""
    linux = tmp_path / "linux"
    for name in ("Makefile", "Kbuild", "scripts/Kbuild.include"):
        write_source(linux, name, "")
    header = "#define INNER(x) ((x) + 1)\n#define OUTER(x) INNER(x)\n"
    header += "static inline int in_header(int a)\n{\n\treturn OUTER(a);\n}\n"
    write_source(linux, "include/h.h", header)
    write_source(linux, "fs/a.c", "int direct(int a) { return INNER(a); }\nint none(void) { return 1; }\n")
    write_source(
        linux,
        "fs/b.c",
        "#if INNER(0)\nint guarded(void) { return 1; }\n#endif\nint via(int a) { return OUTER(a); }\n",
    )
    write_source(linux, "fs/c.c", "int apart(int a) { return INNER(a); }\n")
    write_cmd(linux, "fs/a.o", "fs/a.c", headers=["include/h.h"])
    write_cmd(linux, "fs/b.o", "fs/b.c", headers=["include/h.h"])
    write_cmd(linux, "fs/c.o", "fs/c.c", headers=["include/other.h"])
    return linux


def test_the_users_of_a_changed_macro_count_through_other_macros(tree: Path, tmp_path: Path) -> None:
    old = (tree / "include/h.h").read_text()
    before = snapshot(tree)
    path = save(tmp_path, diff(old, old.replace("(x) + 1", "(x) + 2"), name="include/h.h"))
    touched = touched_functions(read_patch(path, tree), open_tree(tree))
    users = {(t.file, t.name) for t in touched if t.change == "uses" and t.kind == "function"}
    assert users == {
        ("fs/a.c", "direct"),
        ("fs/b.c", "via"),
        ("fs/b.c", "guarded"),
        ("include/h.h", "in_header"),
    }
    assert {t.via for t in touched if t.change == "uses"} == {"INNER"}
    assert snapshot(tree) == before


def test_a_macro_of_a_source_file_reaches_only_that_unit(tree: Path, tmp_path: Path) -> None:
    old = "#define LOCAL 1\nint uses_it(void) { return LOCAL; }\nint not(void) { return 2; }\n"
    write_source(tree, "fs/a.c", old)
    path = save(tmp_path, diff(old, old.replace("LOCAL 1", "LOCAL 2")))
    touched = touched_functions(read_patch(path, tree), open_tree(tree))
    assert [(t.name, t.change) for t in touched] == [("LOCAL", "changed"), ("uses_it", "uses")]


NUMBERED = "".join(f"line {n}\n" for n in range(1, 41))


def numbered(tmp_path: Path, old: str, new: str, in_tree: str) -> tuple[Path, Path]:
    """A patch from `old` to `new` of fs/n.c, and a tree that holds `in_tree` there."""
    write_source(tmp_path / "numbered", "fs/n.c", in_tree)
    return save(tmp_path, diff(old, new, "fs/n.c")), tmp_path / "numbered"


def test_an_offset_is_reported(tmp_path: Path) -> None:
    new = NUMBERED.replace("line 20\n", "changed\n")
    path, tree = numbered(tmp_path, NUMBERED, new, "top\n" * 3 + NUMBERED)
    patch = read_patch(path, tree)
    assert patch.files[0].patched == "top\n" * 3 + new
    assert patch.notes == ("fix.patch: fs/n.c: hunk 1 was applied at line 20, 3 lines below where it says",)


def test_fuzz_is_refused_unless_asked_for_and_then_reported(tmp_path: Path) -> None:
    new = NUMBERED.replace("line 20\n", "changed\n")
    path, tree = numbered(tmp_path, NUMBERED, new, NUMBERED.replace("line 17\n", "other\n"))
    with pytest.raises(UserError, match="does not apply"):
        read_patch(path, tree)
    patch = read_patch(path, tree, fuzz=1)
    assert patch.files[0].patched == new.replace("line 17\n", "other\n")
    assert patch.notes == ("fix.patch: fs/n.c: hunk 1 was applied at line 18, with fuzz 1",)


def test_fuzz_never_ignores_a_removed_line(tmp_path: Path) -> None:
    new = NUMBERED.replace("line 20\n", "")
    path, tree = numbered(tmp_path, NUMBERED, new, NUMBERED.replace("line 20\n", "line twenty\n"))
    with pytest.raises(UserError, match="does not apply"):
        read_patch(path, tree, fuzz=3)


def test_a_hunk_that_fits_equally_well_in_two_places_is_refused(tmp_path: Path) -> None:
    block = "a\nb\nc\n"
    old = "x\n" * 10 + block + "x\n" * 10
    path, tree = numbered(tmp_path, old, old.replace("b", "B"), "x\n" * 5 + block + "x\n" * 7 + block + "x\n" * 5)
    with pytest.raises(UserError, match="two places"):
        read_patch(path, tree)


@pytest.mark.parametrize("reverse", [False, True])
def test_what_is_applied_already_or_reversed_is_said(tmp_path: Path, reverse: bool) -> None:
    new = NUMBERED.replace("line 20\n", "changed\n")
    path, tree = numbered(tmp_path, *((new, NUMBERED, NUMBERED) if reverse else (NUMBERED, new, new)))
    with pytest.raises(UserError, match="already, or the patch was made the wrong way round") as caught:
        read_patch(path, tree)
    assert "patch -R" in caught.value.hint


def test_a_new_file_that_is_there_already_is_said(source: Path, tmp_path: Path) -> None:
    text = "--- /dev/null\n+++ b/fs/new.c\n@@ -0,0 +1,1 @@\n+int n;\n"
    write_source(source, "fs/new.c", "int n;\n")
    with pytest.raises(UserError, match="already"):
        read_patch(save(tmp_path, text), source)
    write_source(source, "fs/new.c", "int other;\n")
    with pytest.raises(UserError, match="makes a file that is there already"):
        read_patch(save(tmp_path, text), source)


def test_patches_apply_in_their_order_and_count_as_one(tmp_path: Path) -> None:
    middle = NUMBERED.replace("line 20\n", "changed\n")
    last = middle.replace("changed\n", "changed again\n").replace("line 1\n", "first\n")
    first, tree = numbered(tmp_path, NUMBERED, middle, NUMBERED)
    second = tmp_path / "second.patch"
    second.write_text(diff(middle, last, "fs/n.c"))
    before = snapshot(tree)
    patch = read_patches([first, second], tree)
    assert [(file.path, file.original, file.patched) for file in patch.files] == [("fs/n.c", NUMBERED, last)]
    assert snapshot(tree) == before
    with pytest.raises(UserError):
        read_patches([second, first], tree)


def test_a_patch_that_is_taken_back_changes_nothing(tmp_path: Path) -> None:
    new = NUMBERED.replace("line 20\n", "changed\n")
    first, tree = numbered(tmp_path, NUMBERED, new, NUMBERED)
    second = tmp_path / "second.patch"
    second.write_text(diff(new, NUMBERED, "fs/n.c"))
    assert read_patches([first, second], tree).files == ()


GIT_RENAME = """\
From 0123456789 Mon Sep 17 00:00:00 2001
Subject: [PATCH] rename
---
diff --git a/fs/a.c b/fs/b.c
similarity index 100%
rename from fs/a.c
rename to fs/b.c
--
2.39.0
"""


def test_a_pure_rename_and_a_copy_are_read(source: Path, tmp_path: Path) -> None:
    patch = read_patch(save(tmp_path, GIT_RENAME), source)
    assert [(f.path, f.original, f.patched, f.renamed_from) for f in patch.files] == [
        ("fs/a.c", OLD, None, ""),
        ("fs/b.c", None, OLD, "fs/a.c"),
    ]
    copied = read_patch(save(tmp_path, GIT_RENAME.replace("rename ", "copy ")), source)
    assert [(f.path, f.original, f.patched) for f in copied.files] == [("fs/b.c", None, OLD)]


def test_a_file_named_in_both_sides_of_a_plain_diff_can_be_new(source: Path, tmp_path: Path) -> None:
    epoch, now = "\t1970-01-01 01:00:00.000000000 +0100", "\t2026-01-01 01:00:00.000000000 +0100"
    text = f"diff -ruN x/fs/n.c y/fs/n.c\n--- x/fs/n.c{epoch}\n+++ y/fs/n.c{now}\n@@ -0,0 +1 @@\n+int n;\n"
    assert read_patch(save(tmp_path, text), source).files == (FilePatch("fs/n.c", None, "int n;\n"),)


def test_a_quoted_name_is_read(source: Path, tmp_path: Path) -> None:
    write_source(source, "fs/fö.c", "a\n")
    text = '--- "a/fs/f\\303\\266.c"\n+++ "b/fs/f\\303\\266.c"\n@@ -1 +1 @@\n-a\n+b\n'
    assert [file.path for file in read_patch(save(tmp_path, text), source).files] == ["fs/fö.c"]


def test_a_file_reached_through_a_link_has_its_own_name(source: Path, tmp_path: Path) -> None:
    (source / "alias").symlink_to("fs")
    text = diff(OLD, OLD.replace("a + 1", "a + 2"), name="alias/a.c")
    assert [file.path for file in read_patch(save(tmp_path, text), source).files] == ["fs/a.c"]


def test_a_git_binary_patch_is_refused(source: Path, tmp_path: Path) -> None:
    text = "diff --git a/fs/a.c b/fs/a.c\nindex 1..2 100644\nGIT binary patch\nliteral 3\nKcmZQzU<5(|\n"
    with pytest.raises(UserError, match="binary"):
        read_patch(save(tmp_path, text), source)
