"""Structures that a patch changes: refused where the code that the patch brings depends on it, else not."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from klpkit.build import Pair, compile_pairs, open_tree
from klpkit.diff import Verdict, diff_files
from klpkit.errors import RefusedError
from klpkit.livepatch.interfaces import Source
from klpkit.livepatch.layouts import changed_types
from klpkit.livepatch.model import Warned
from klpkit.pipeline.layouts import settle_layouts

HEADER = """\
#ifndef THING_H
#define THING_H
#define ROOM 4
struct small { char c; int i; };
struct thing {
	int a;
	struct small inner[ROOM];
	long b;
};
struct other { int x; int y; };
union both { int one; long two; };
typedef struct { int p; int q; } named;
static inline int header_only(struct thing *t) { return t->a; }
#endif
"""
SOURCE = """\
#include "thing.h"
int uses(struct thing *t) { return t->b; }
int passes(struct thing *t) { return uses(t) + 1; }
int beside(struct other *o) { return o->y; }
int in_union(union both *u) { return u->one; }
int by_name(named *n) { return n->q; }
int plain(int x) { return x; }
"""
PLAIN = ("int plain(int x) { return x; }", "int plain(int x) { return x * 3; }")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "linux"
    files = {"Makefile": "", "Kbuild": "", "scripts/Kbuild.include": "", "fs/a.c": SOURCE, "fs/thing.h": HEADER}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    line = "gcc -Wp,-MMD,fs/.a.o.d -D__KERNEL__ -O2 -fno-inline -c -o fs/a.o fs/a.c"
    (root / "fs/.a.o.cmd").write_text(
        f"savedcmd_fs/a.o := {line}\n\nsource_fs/a.o := fs/a.c\n\ndeps_fs/a.o := \\\n  fs/thing.h \\\n\n"
    )
    return root


def refusal(tree: Path, *edits: tuple[str, str], allow: bool = False) -> str:
    """What is said of a patch with these edits of either file; "" where nothing is."""
    try:
        _, warned = settled(tree, *edits, allow=allow)
    except RefusedError as error:
        return error.message.removesuffix(" [structure-layout]")
    return "; ".join(f"{each.slug}: {each.symbol}: {each.evidence}" for each in warned)


def settled(tree: Path, *edits: tuple[str, str], allow: bool = False) -> tuple[list[Pair], list[Warned]]:
    """The pairs that a live patch is made of, and the warnings."""
    lines: list[str] = []
    for name, before in (("fs/thing.h", HEADER), ("fs/a.c", SOURCE)):
        after = before
        for old, new in edits:
            after = after.replace(old, new)
        lines += difflib.unified_diff(before.splitlines(True), after.splitlines(True), f"a/{name}", f"b/{name}")
    fix, work = tree.parent / "fix.patch", tree.parent / "work"
    fix.write_text("".join(lines))
    compiled = compile_pairs(open_tree(tree), [fix], work)
    assert compiled.pairs
    assert compiled.overlay is not None
    return settle_layouts(compiled.overlay, compiled.pairs, allow=allow)


def changed_functions(pair: Pair) -> list[str]:
    return sorted(function.name for function in diff_files(pair.original, pair.patched).functions)


def test_a_patch_of_bodies_alone_costs_nothing(tree: Path) -> None:
    assert refusal(tree, PLAIN) == ""
    assert sorted(path.name for path in (tree.parent / "work" / "objects").iterdir()) == ["original", "patched"]


@pytest.mark.parametrize(
    ("change", "type_name", "function"),
    [
        (("int a;", "long a[2];"), "thing", "uses"),
        (("char c;", "long c;"), "small", "uses"),
        (("int a;", "int a, more, most;"), "thing", "uses"),
        (("int a;", "union { long w[2]; struct { int a; }; };"), "thing", "uses"),
        (("#define ROOM 4", "#define ROOM 5"), "thing", "uses"),
        (("struct other { int x; int y; }", "struct other { int y; int x; }"), "other", "beside"),
        (("int p; int q;", "int q; int p;"), "named", "by_name"),
    ],
)
def test_code_that_depends_on_a_changed_structure_is_refused(
    tree: Path, change: tuple[str, str], type_name: str, function: str
) -> None:
    said = refusal(tree, change, PLAIN)
    assert said.startswith(f"{type_name} changes: {function} depends")


@pytest.mark.parametrize(
    ("change", "type_name"),
    [
        (("int a;", "int a; int added;\tlong more;"), "thing"),
        (("char c;", "struct { long added; } in; char c;"), "small"),
        (("int x; int y;", "int z; int x; int y;"), "other"),
        (("int p; int q;", "int o; int p; int q;"), "named"),
    ],
)
def test_a_structure_whose_new_members_no_patched_code_uses_keeps_its_layout(
    tree: Path, change: tuple[str, str], type_name: str
) -> None:
    pairs, warned = settled(tree, change, PLAIN)
    assert [(each.slug, each.symbol) for each in warned] == [("structure-kept", type_name)]
    assert [changed_functions(pair) for pair in pairs] == [["plain"]]


@pytest.mark.parametrize("values", ["{ 1, 2 }", "{ 3, .y = 4 }"])
def test_a_structure_that_is_initialised_by_position_is_not_kept(tree: Path, values: str) -> None:
    """What the patch means for the new member would go to the one behind it."""
    change = ("struct other { int x; int y; }", "struct other { int x; int z; int y; }")
    new = (PLAIN[0], f"int plain(int x) {{ struct other o = {values}; return beside(&o) + x; }}")
    assert refusal(tree, change, new).startswith("other changes: beside")


def test_what_is_added_to_a_union_is_no_addition() -> None:
    """Its members share a place: what new code reads through one may be what it wrote through another."""
    outer = "union u { int a; };\n", "union u { int a; long c; };\n"
    inner = "struct s { union { int a; }; int b; };\n", "struct s { union { int a; long c; }; int b; };\n"
    found = [each for texts in (outer, inner) for each in changed_types([Source("s.h", *texts)])]
    assert [(each.name, each.only_adds) for each in found] == [("u", False), ("s", False)]


def test_a_patch_of_new_members_alone_leaves_nothing_to_replace(tree: Path) -> None:
    pairs, warned = settled(tree, ("int a;", "int a; long added;"))
    assert pairs == []
    assert [each.slug for each in warned] == ["structure-kept"]


def test_what_differs_beside_functions_stays_when_a_layout_is_kept(tree: Path) -> None:
    """An entry of a list that is read at boot is no function, and must not go with those that did not change."""
    entry = 'static const int entry __attribute__((section("__param"), used)) = '
    setup = (PLAIN[0], f"{PLAIN[0]}\n{entry}2;")
    pairs, warned = settled(tree, ("int a;", "int a; long added;"), setup)
    assert [each.slug for each in warned] == ["structure-kept"]
    assert [diff_files(pair.original, pair.patched).verdict is Verdict.NO_CHANGE for pair in pairs] == [False]


def test_a_kept_layout_does_not_hide_a_second_structure_that_changes(tree: Path) -> None:
    grown, turned = ("int a;", "int a; long added;"), ("int x; int y;", "int y; int x;")
    assert refusal(tree, grown, turned, PLAIN).startswith("other, thing changes: ")


def test_with_allow_the_new_layout_is_taken_though_the_old_one_would_do(tree: Path) -> None:
    pairs, warned = settled(tree, ("int a;", "int a; long added;"), PLAIN, allow=True)
    assert [each.slug for each in warned] == ["structure-layout"]
    assert [changed_functions(pair) for pair in pairs] == [["plain", "uses"]]


def test_a_structure_of_user_space_is_not_kept() -> None:
    before, after = "struct s { int a; };\n", "struct s { int a; int b; };\n"
    places = [f"include/{folder}linux/s.h" for folder in ("", "uapi/")]
    types = [changed_types([Source(place, before, after)]) for place in places]
    assert [[each.only_adds for each in found] for found in types] == [[True], [False]]


def test_a_new_member_that_new_code_uses_is_refused(tree: Path) -> None:
    """The old definition does not compile then."""
    change = ("long b;", "long b; int added;")
    assert refusal(tree, change, ("return t->b;", "return t->b + t->added;")).startswith("thing changes: uses")


@pytest.mark.parametrize(
    "change",
    [
        ("long b;", "long b; int added;"),
        ("int y; };", "const int y; };"),
        ("int x; int y;", "int x; /* why */ int y;"),
        ("long two;", "long two; char three;"),
    ],
)
def test_a_change_that_is_nothing_to_the_code_is_let_pass(tree: Path, change: tuple[str, str]) -> None:
    assert refusal(tree, change, PLAIN) == ""


def test_a_new_member_that_only_unused_code_of_the_header_needs_is_let_pass(tree: Path) -> None:
    added = ("struct other { int x; int y; };", "struct other { int x; int y; int z; };")
    use = ("#endif", "static inline int third(struct other *o) { return o->z; }\n#endif")
    assert refusal(tree, added, use, PLAIN) == ""


def test_a_union_whose_old_definition_does_not_compile_is_refused(tree: Path) -> None:
    """Its members have no place that could be moved, so that nothing can be measured."""
    change = ("long two;", "long two; char three;")
    use = ("return u->one;", "return u->three;")
    assert refusal(tree, change, use).startswith("both changes: in_union")


def test_a_structure_that_moves_to_another_file_and_changes_is_refused(tree: Path) -> None:
    gone = ("struct other { int x; int y; };\n", "struct other;\n")
    here = ('#include "thing.h"\n', '#include "thing.h"\nstruct other { int y; int x; };\n')
    assert refusal(tree, gone, here, PLAIN).startswith("other changes: beside")


def test_a_structure_that_only_moves_to_another_file_is_let_pass(tree: Path) -> None:
    gone = ("struct other { int x; int y; };\n", "struct other;\n")
    here = ('#include "thing.h"\n', '#include "thing.h"\nstruct other { int x; int y; };\n')
    assert refusal(tree, gone, here, PLAIN) == ""


def test_who_knows_better_may_go_on(tree: Path) -> None:
    said = refusal(tree, ("int x; int y;", "int y; int x;"), PLAIN, allow=True)
    assert said.startswith("structure-layout: other: beside depends")


def test_of_several_structures_the_one_that_matters_is_named(tree: Path) -> None:
    said = refusal(tree, ("int x; int y;", "int y; int x;"), ("long b;", "long b; int added;"), PLAIN)
    assert said.startswith("other changes: beside")
