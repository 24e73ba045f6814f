"""Evidence from build trees and dumps: which units are asked, and what a query makes of them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from klpkit.build import open_tree
from klpkit.build.concerned import concerned_units
from klpkit.errors import EnvironmentLackError, UserError
from klpkit.impact import sources, treesource
from klpkit.impact.evidence import EveryAnswer
from klpkit.impact.patched import patched_functions
from klpkit.impact.result import How

CORE_H = "static inline int twice(int value) { return value + value; }\n"
CORE_C = """#include "core.h"
int helper(int);
static int __attribute__((noinline)) slow(int count, int unused) {
    volatile int sum = 0;
    for (int i = 0; i < count; i++) sum += i;
    return sum;
}
static int folded(int value) { return twice(value) + slow(7, value); }
int entry(int value) { return folded(value) + helper(value); }
int other(int value) { return slow(7, 1) * value; }
"""
USER_C = """#include "core.h"
int entry(int);
static int local(int value) { return twice(entry(value)); }
int helper(int value) { return local(value) - 1; }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two units that share a header, built, with a compilation database."""
    for name, text in (("core.h", CORE_H), ("core.c", CORE_C), ("user.c", USER_C)):
        (tmp_path / name).write_text(text)
    entries = []
    for stem in ("core", "user"):
        argv = ["gcc", "-O2", "-MMD", "-c", f"{stem}.c", "-o", f"{stem}.o"]
        subprocess.run(argv, cwd=tmp_path, check=True)
        entries.append({"directory": str(tmp_path), "file": f"{stem}.c", "arguments": argv, "output": f"{stem}.o"})
    (tmp_path / "compile_commands.json").write_text(json.dumps(entries))
    return tmp_path


def listed(project: Path, *specs: str) -> dict[str, How]:
    with treesource.from_build(open_tree(project), list(specs)) as evidence:
        found = evidence.ask(list(specs))
        return {item.function.symbol: item.patchability.how for item in found.impacted}


def test_a_static_function_impacts_what_it_was_inlined_into(project: Path) -> None:
    assert listed(project, "folded") == {"folded": How.GONE, "entry": How.SYMBOL}


def test_callers_of_a_clone_are_impacted(project: Path) -> None:
    found = listed(project, "slow")
    assert found["slow"] is How.GONE
    assert found["slow.constprop.0"] is How.CALLERS
    assert found["entry"] is found["other"] is How.SYMBOL


def test_a_headers_function_is_asked_in_every_unit(project: Path) -> None:
    with treesource.from_build(open_tree(project), ["twice"]) as evidence:
        found = evidence.ask(["twice"])
    assert {item.function.unit for item in found.impacted} == {"core.c", "user.c"}
    assert {"entry", "helper"} <= {item.function.symbol for item in found.impacted}


def test_only_units_that_define_a_public_function_are_asked(project: Path) -> None:
    found = concerned_units(open_tree(project), "entry")
    assert [unit.source.name for unit in found.units] == ["core.c"]


def test_a_function_that_nothing_inlines_is_its_own_list(project: Path) -> None:
    assert listed(project, "other") == {"other": How.SYMBOL}


def test_what_no_record_shows_is_said(project: Path) -> None:
    with treesource.from_build(open_tree(project), ["other"]) as evidence:
        (warning,) = [text for text in evidence.ask(["other"]).warnings if "no record shows" in text]
    assert {"modref", "pure-const", "ipa-ra"} <= set(warning.replace(",", "").replace(";", "").split())


def test_the_tree_is_not_written_to(project: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*") if "home" not in path.parts}
    listed(project, "core.c:folded")
    after = {path: path.stat().st_mtime_ns for path in project.rglob("*") if "home" not in path.parts}
    assert {p: t for p, t in after.items() if p.is_file()} == {p: t for p, t in before.items() if p.is_file()}


def test_an_unknown_function_is_an_error_with_a_way_out(project: Path) -> None:
    with pytest.raises(UserError, match=r"core\.c"):
        listed(project, "cor.c:folded")
    with pytest.raises(UserError, match=r"entry") as caught:
        listed(project, "core.c:entr")
    assert "did you mean" in str(caught.value)


def test_a_patch_asks_for_the_functions_that_it_touches(project: Path, tmp_path: Path) -> None:
    patch = tmp_path / "fix.patch"
    patch.write_text(
        "--- a/core.c\n+++ b/core.c\n@@ -8,3 +8,3 @@\n"
        "-static int folded(int value) { return twice(value) + slow(7, value); }\n"
        "+static int folded(int value) { return twice(value) + slow(7, value) + 1; }\n"
        " int entry(int value) { return folded(value) + helper(value); }\n"
        " int other(int value) { return slow(7, 1) * value; }\n"
    )
    assert patched_functions([patch], open_tree(project)).specs == ("core.c:folded",)


def test_dumps_and_the_objects_beside_them_answer_alike(project: Path) -> None:
    for stem in ("core", "user"):
        argv = ["gcc", "-O2", "-c", f"{stem}.c", "-o", f"{stem}.o", "-fdump-ipa-clones", "-dumpdir", ""]
        subprocess.run(argv, cwd=project, check=True)
    dumps = sorted(str(path) for path in project.glob("*.ipa-clones"))
    assert len(dumps) == 2
    found = sources.from_dumps(dumps, ["slow"]).ask(["slow"])
    assert {"slow", "slow.constprop.0", "entry", "other"} == {item.function.symbol for item in found.impacted}
    assert found.warnings == (sources.SILENT_DUMPS,)
    (project / "core.o").unlink()
    found = sources.from_dumps(dumps, ["slow"]).ask(["slow"])
    assert {item.function.symbol for item in found.impacted} == {"slow", "slow.constprop.0"}
    assert any("callers of clones" in text for text in found.warnings)


def test_a_source_that_another_one_includes_is_asked_there(project: Path) -> None:
    (project / "whole.c").write_text('#include "part.c"\nint whole(int value) { return part(value); }\n')
    (project / "part.c").write_text("static int part(int value) { return value * 3; }\n")
    entry = {"directory": str(project), "file": "whole.c", "command": "gcc -O2 -c whole.c -o whole.o"}
    (project / "compile_commands.json").write_text(json.dumps([entry]))
    assert listed(project, "part.c:part").keys() == {"part", "whole"}


def test_a_source_that_is_compiled_and_included_is_asked_in_both(project: Path) -> None:
    (project / "user.c").write_text('#include "core.c"\nint helper(int value) { return folded(value); }\n')
    subprocess.run(shlex.split("gcc -O2 -MMD -c user.c -o user.o"), cwd=project, check=True)
    found = concerned_units(open_tree(project), "core.c:folded")
    assert [unit.source.name for unit in found.units] == ["core.c", "user.c"]


def test_a_folder_without_a_build_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "notes.c").write_text("int f(void) { return 1; }\n")
    with pytest.raises(UserError, match="is no build tree"):
        listed(tmp_path, "f")


def test_an_unknown_source_gets_the_closest_names(project: Path) -> None:
    with pytest.raises(UserError, match=r"did you mean core\.c"):
        listed(project, "cores.c:folded")


def test_a_name_that_no_source_has_gets_the_closest(project: Path) -> None:
    with pytest.raises(UserError, match=r"did you mean folded\?"):
        listed(project, "foldet")


@pytest.mark.parametrize("spec", ["", ":", "core.c:"])
def test_no_name_is_an_error(project: Path, spec: str) -> None:
    with pytest.raises(UserError, match="names no function"):
        listed(project, spec)


def test_units_whose_commands_can_not_be_read_are_named(tmp_path: Path) -> None:
    head = (
        "savedcmd_{0}.o := gcc -D__KERNEL__ -O2 -c -o {0}.o {0}.c\n\nsource_{0}.o := {0}.c\n\ndeps_{0}.o := \\\n\n"
    )
    for name in ("good", "odd"):
        (tmp_path / f"{name}.c").write_text(f"int {name}(void) {{ return 1; }}\n")
        (tmp_path / f".{name}.o.cmd").write_text(head.format(name))
    odd = tmp_path / ".odd.o.cmd"
    odd.write_text(odd.read_text().replace("-O2", "$(touch ran)"))
    with treesource.from_build(open_tree(tmp_path), ["good"]) as evidence:
        found = evidence.ask(["good"])
    assert any(".odd.o.cmd" in text for text in found.warnings)
    assert not (tmp_path / "ran").exists()


def test_a_missing_compiler_is_the_machines_lack(project: Path) -> None:
    database = project / "compile_commands.json"
    database.write_text(database.read_text().replace('"gcc"', '"/absent/compiler"'))
    with pytest.raises(EnvironmentLackError, match="compiler not found"):
        listed(project, "folded")


def test_a_renamed_file_is_asked_under_the_name_that_was_compiled(project: Path, tmp_path: Path) -> None:
    patch = tmp_path / "fix.patch"
    patch.write_text(
        "diff --git a/core.c b/moved.c\nsimilarity index 90%\nrename from core.c\nrename to moved.c\n"
        "--- a/core.c\n+++ b/moved.c\n@@ -8,3 +8,3 @@\n"
        "-static int folded(int value) { return twice(value) + slow(7, value); }\n"
        "+static int folded(int value) { return twice(value) + slow(7, value) + 1; }\n"
        " int entry(int value) { return folded(value) + helper(value); }\n"
        " int other(int value) { return slow(7, 1) * value; }\n"
    )
    assert patched_functions([patch], open_tree(project)).specs == ("core.c:folded",)


NARROWED_C = """
static int __attribute__((noinline)) narrow(int why) { volatile int sink = why; return sink + why; }
int first(int value) { return narrow(value & 1); }
int second(int value) { return narrow(value & 3) + 1; }
"""


def built_with_dumps(folder: Path, *flags: str) -> Path:
    """One unit whose build left dumps beside the object."""
    (folder / "narrow.c").write_text(NARROWED_C)
    argv = ["gcc", "-O2", "-c", "narrow.c", "-o", "narrow.o"]
    subprocess.run([*argv, *flags, "-dumpdir", ""], cwd=folder, check=True)
    entry = {"directory": str(folder), "file": "narrow.c", "arguments": argv, "output": "narrow.o"}
    (folder / "compile_commands.json").write_text(json.dumps([entry]))
    return folder


@pytest.mark.parametrize("flags", [(), ("-fdump-ipa-clones",), ("-fdump-ipa-clones", "-fdump-ipa-cp")])
def test_dumps_that_lie_in_the_tree_make_no_answer_smaller(tmp_path: Path, flags: tuple[str, ...]) -> None:
    # `narrow` takes the arguments of its callers for granted, which clone dumps do not say.
    assert {"first", "narrow"} <= listed(built_with_dumps(tmp_path, *flags), "first").keys()


def test_argument_dumps_beside_clone_dumps_are_read(tmp_path: Path) -> None:
    built_with_dumps(tmp_path, "-fdump-ipa-clones", "-fdump-ipa-cp")
    found = sources.from_dumps([str(tmp_path)], ["first"]).ask(["first"])
    assert {item.function.symbol for item in found.impacted} == {"first", "narrow"}
    assert found.evidence == ("clone dumps", "IPA-CP dumps", "objects")


def test_an_image_without_symbols_says_that_nothing_is_known_of_its_code(project: Path) -> None:
    for line in (
        "gcc -O2 -g -shared -fPIC core.c user.c -o whole",
        "objcopy --only-keep-debug whole only-debug",
        "strip whole -o stripped",
    ):
        subprocess.run(shlex.split(line), cwd=project, check=True)
    evidence = sources.from_image(project / "stripped", debug=project / "only-debug")
    found = evidence.ask(["folded"])
    assert {item.patchability.how for item in found.impacted} == {How.UNKNOWN}
    assert any("no symbol table" in text for text in found.warnings)


def test_a_boot_image_is_known_as_such(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(bytes(0x202) + b"HdrS" + bytes(100))
    with pytest.raises(UserError, match="vmlinux of the same build"):
        sources.from_image(tmp_path / "vmlinuz")


def test_a_function_may_be_missing_because_lines_were_left_out(tmp_path: Path) -> None:
    built_with_dumps(tmp_path, "-fdump-ipa-clones")
    dump = tmp_path / "broken.c.000i.ipa-clones"
    dump.write_text("no record\n")
    with pytest.raises(UserError, match="1 malformed line left out"):
        sources.from_dumps([str(dump)], ["absent"], lenient=True)
    every = EveryAnswer(sources.all_of_dumps([str(dump)], lenient=True))
    assert any("1 malformed line" in text for text in every.warnings)


def test_a_file_may_be_named_by_its_absolute_path(project: Path) -> None:
    assert listed(project, f"{project}/core.c:folded") == listed(project, "core.c:folded")


def test_places_are_told_relative_to_the_source_tree(tmp_path: Path) -> None:
    source, build = tmp_path / "src", tmp_path / "out"
    (source / "sub").mkdir(parents=True)
    build.mkdir()
    (source / "sub" / "narrow.c").write_text("static int g(int x) { return x; }\nint f(int x) { return g(x); }\n")
    (build / "source").symlink_to(source)
    argv = ["gcc", "-O2", "-c", f"{source}/sub/narrow.c", "-fdump-ipa-clones", "-o", "narrow.o", "-dumpdir", ""]
    subprocess.run(argv, cwd=build, check=True)
    for evidence in (sources.from_dumps([str(build)], ["g"]), sources.all_of_dumps([str(build)])):
        found = evidence.ask([f"{source}/sub/narrow.c:g"])
        assert [str(item.function.location) for item in found.impacted] == ["sub/narrow.c:1", "sub/narrow.c:2"]


def test_every_answer_is_the_answer_that_one_question_gets(project: Path) -> None:
    tree = open_tree(project)
    with treesource.units_evidence(tree, list(tree.units())) as evidence:
        every = EveryAnswer(evidence)
        for function, found in every.items():
            asked = evidence.ask([f"{function.unit}:{function.symbol}"])
            assert [item.function for item in found.impacted] == [item.function for item in asked.impacted]
    assert len(every) >= 8


def test_debug_information_tells_inlining_and_branches_tell_callers_of_clones(project: Path) -> None:
    argv = shlex.split("gcc -O2 -g -shared -fPIC -fvisibility=hidden core.c user.c -o image.so")
    subprocess.run(argv, cwd=project, check=True)
    evidence = sources.from_image(project / "image.so")
    found = {item.function.symbol for item in evidence.ask(["slow"]).impacted}
    assert {"slow", "slow.constprop.0", "entry", "other"} <= found
    assert {"folded", "entry"} <= {item.function.symbol for item in evidence.ask(["folded"]).impacted}


def klpkit(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    argv = [str(Path(sys.executable).with_name("klpkit")), *words]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command_answers_from_the_current_folder(project: Path) -> None:
    done = klpkit("impact", "folded", "--json", "--html", "page.html", cwd=project)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [item["symbol"] for item in answer["impacted"]] == ["folded", "entry"]
    assert "entry" in (project / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 2, "name a function"),
        (("nothing_like_it",), 2, "nothing_like_it"),
        (("f", "--build", ".", "--dumps", "."), 2, "exclude"),
        (("f", "--debug", "x"), 2, "--debug goes with --elf"),
        (("f", "--elf", "absent"), 2, "absent"),
        (("f", "--elf", "core.c"), 2, "no ELF file"),
        (("f", "--build", "absent"), 2, "absent"),
        (("f", "--dumps", "absent"), 2, "absent"),
        (("--patch", "absent"), 2, "absent"),
        (("--all", "f"), 2, "--all"),
    ],
)
def test_wrong_use_says_what_to_do(project: Path, words: tuple[str, ...], status: int, said: str) -> None:
    done = klpkit("impact", *words, cwd=project)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_leaves_no_page(project: Path) -> None:
    done = klpkit("impact", "folded", "--html", "/dev/full/page.html", cwd=project)
    assert done.returncode == 3
    assert "can't write" in done.stderr
