"""`klpkit extract` on a tiny kernel: the folder that is handed over, what is printed, and what is refused."""

from __future__ import annotations

import difflib
import json
import re
import shutil
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import Result
from toy_place import Place

from klpkit.errors import KlpkitError, RefusedError, UserError


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


def said(result: Result, kind: type[KlpkitError]) -> str:
    assert isinstance(result.exception, kind), result.output
    return str(result.exception)


def test_the_folder_is_all_that_is_needed(place: Place, tmp_path: Path) -> None:
    place.out = tmp_path / "new"
    result = place.run("target", "--name", "my_fix")
    assert result.exit_code == 0, result.exception
    assert sorted(path.name for path in place.out.iterdir()) == ["Makefile", "a.c", "glue.c", "klpkit.h"]
    assert "target: asked for (replaced)\n    code as in the kernel\n" in result.stdout
    assert "copied along: step" in result.stdout
    assert f"wrote {place.out / 'a.c'}\n" in result.stdout
    text = (place.out / "a.c").read_text()
    assert text == dedent(
        """\
        /* SPDX-License-Identifier: GPL-2.0 */
        /*
         * Live patch for vmlinux, extracted by klpkit from
         * fs/a.c.
         *
         * - klpp_target: asked for
         *
         * Copied, since the kernel has no code of theirs to call: step.
         */
        #undef MODULE
        #include "h.h"

        #define STEP 3

        /* Counts up. */
        static inline int step(int x)
        {
        \treturn x + STEP;
        }

        extern __attribute__((noinline)) int helper(int x);

        /* What a person wants changed. */
        int klpp_target(int x)
        {
        \treturn helper(step(x)) + exported(x);
        }

        #include <klpkit.h>
        KLPKIT_RELOC(vmlinux, vmlinux, helper, 0);
        """
    )
    makefile = (place.out / "Makefile").read_text()
    assert "obj-m := my_fix.o\nmy_fix-y := glue.o a.o\n" in makefile
    assert "CFLAGS_a.o := -iquote $(SOURCE)/fs\n" in makefile
    assert '.old_name = "target"' in (place.out / "glue.c").read_text()


@pytest.mark.parametrize("compiler", ["clang-16", "clang-19"])
def test_a_tree_that_clang_built(tmp_path: Path, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} on this machine")
    place = Place(tmp_path, compiler)
    result = place.run("target", "other", "--json")
    assert result.exit_code == 0, result.exception
    (unit,) = json.loads(result.stdout)["units"]
    assert {each["function"]: each["as_in_kernel"] for each in unit["code"]} == {
        "target": "equal",
        "other": "equal",
    }
    text = (place.out / "a.c").read_text()
    assert "int klpp_target(int x)\n{\n\treturn helper(step(x)) + exported(x);\n}\n" in text
    assert "KLPKIT_RELOC(vmlinux, vmlinux, helper, 0);" in text


def test_json_tells_everything(place: Place, tmp_path: Path) -> None:
    place.out = tmp_path / "new"
    result = place.run("step", "--json")
    assert result.exit_code == 0, result.exception
    (unit,) = json.loads(result.stdout)["units"]
    functions = {each["name"]: (each["replaced"], each["copy"]) for each in unit["functions"]}
    assert functions == {
        "step": (False, "klpp_step"),
        "target": (True, "klpp_target"),
        "other": (True, "klpp_other"),
    }
    assert {each["function"]: each["as_in_kernel"] for each in unit["code"]}["target"] == "equal"
    assert {"name": "helper", "origin": "annotated", "object": "vmlinux", "symbol": "helper"} in unit["references"]


def test_a_function_that_can_t_be_traced_brings_in_its_callers(place: Place, tmp_path: Path) -> None:
    place.out = tmp_path / "new"
    result = place.run("untraced", "--json")
    assert result.exit_code == 0, result.exception
    (unit,) = json.loads(result.stdout)["units"]
    functions = {each["name"]: (each["replaced"], each["why"]) for each in unit["functions"]}
    assert functions == {
        "untraced": (False, "asked for"),
        "uses": (True, "it calls untraced, which can't be replaced itself"),
    }


def test_one_that_a_table_names_is_refused(place: Place, tmp_path: Path) -> None:
    place.out = tmp_path / "new"
    assert "no-ftrace-location" in said(place.run("in_table"), RefusedError)


def test_a_body_with_two_names_is_replaced_once(place: Place, tmp_path: Path) -> None:
    place.out = tmp_path / "new"
    result = place.run("body", "same_body", "--json")
    assert result.exit_code == 0, result.exception
    (unit,) = json.loads(result.stdout)["units"]
    assert [each["name"] for each in unit["functions"]] == ["body"]


def test_state_of_macros_is_said_to_start_anew(place: Place, tmp_path: Path) -> None:
    place.out = tmp_path / "new"
    assert place.run("other").exit_code == 0
    text = (place.out / "a.c").read_text().replace("\n * ", " ")
    assert "(printk_once and its like) starts anew in: other.\n" in text


def test_only_what_was_named(place: Place, tmp_path: Path) -> None:
    place.out = tmp_path / "new"
    result = place.run("step", "--only", "--json")
    assert result.exit_code == 0, result.exception
    (unit,) = json.loads(result.stdout)["units"]
    assert [each["name"] for each in unit["functions"]] == ["step"]


def test_what_a_patch_touches_besides_functions_is_said(place: Place, tmp_path: Path) -> None:
    place.out = tmp_path / "new"
    old = (place.root / "fs/a.c").read_text()
    changed = old.replace("static int state = 1;", "static long state = 1;").replace("* 7", "* 8")
    lines = [text.splitlines(keepends=True) for text in (old, changed)]
    patch = tmp_path / "fix.patch"
    patch.write_text("".join(difflib.unified_diff(*lines, "a/fs/a.c", "b/fs/a.c")))
    result = place.run("--patch", patch)
    assert result.exit_code == 0, result.exception
    assert "body: asked for (replaced)" in result.stdout
    assert re.search(r"warning: fs/a\.c:\d+: variable state is changed: records can't list", result.stderr)


def test_files_that_are_there_are_kept_unless_forced(place: Place, tmp_path: Path) -> None:
    place.out = tmp_path
    (tmp_path / "a.c").write_text("mine")
    assert "already has a.c" in said(place.run("other"), UserError)
    assert (tmp_path / "a.c").read_text() == "mine"
    assert not (tmp_path / "glue.c").exists()
    assert place.run("other", "--force").exit_code == 0
    assert "klpp_other" in (tmp_path / "a.c").read_text()


def test_code_that_must_not_be_patched_is_refused(place: Place, tmp_path: Path) -> None:
    place.out = tmp_path / "new"
    assert "init-code" in said(place.run("starts"), RefusedError)
    assert not place.out.exists()


def test_what_the_kernel_has_freed_is_not_referred_to(place: Place, tmp_path: Path) -> None:
    place.out = tmp_path / "new"
    assert "refers to early, which the kernel has freed after its start [init-reference]" in said(
        place.run("late"), RefusedError
    )
    assert not place.out.exists()


@pytest.mark.parametrize(
    ("words", "problem"), [(["no_such_function"], "no_such_function"), (["fs/b.c:target"], "fs/b.c")]
)
def test_unknown_functions_are_named(place: Place, tmp_path: Path, words: list[str], problem: str) -> None:
    place.out = tmp_path / "new"
    assert problem in said(place.run(*words), UserError)
    assert not place.out.exists()


def test_something_must_be_named(place: Place) -> None:
    result = place.run()
    assert result.exit_code == 2
    assert "name a function, or a patch with --patch" in result.output
