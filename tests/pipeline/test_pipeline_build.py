"""`klpkit build` on tiny trees: what is refused before a kernel is asked, and that nothing half made appears."""

from __future__ import annotations

import errno
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from klpkit.build import Pair
from klpkit.cli.build import command
from klpkit.errors import EnvironmentLackError, RefusedError, UserError
from klpkit.livepatch import LivePatch, PatchedFunction, PatchedObject, Reference, Warned
from klpkit.livepatch.model import Kind
from klpkit.pipeline import Request, build_livepatch
from klpkit.pipeline.watched import watched

SOURCE = "int f(int x)\n{\n\treturn x;\n}\n"
FIX = "--- a/fs/a.c\n+++ b/fs/a.c\n@@ -1,4 +1,4 @@\n int f(int x)\n {\n-\treturn x;\n+\treturn CHANGED;\n }\n"


def contents(tree: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in tree.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "linux"
    for name, text in {"Makefile": "", "Kbuild": "", "scripts/Kbuild.include": "", "fs/a.c": SOURCE}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    line = "gcc -Wp,-MMD,fs/.a.o.d -D__KERNEL__ -O2 -c -o fs/a.o fs/a.c"
    (root / "fs/.a.o.cmd").write_text(
        f"savedcmd_fs/a.o := {line}\n\nsource_fs/a.o := fs/a.c\n\ndeps_fs/a.o := \\\n\n"
    )
    return root


@pytest.fixture
def fix(tmp_path: Path) -> Path:
    path = tmp_path / "fix.patch"
    path.write_text(FIX.replace("CHANGED", "x * 3"))
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def request(tree: Path, fix: Path, **options: Any) -> Request:
    defaults = {"patches": (fix,), "build": tree, "out": tree.parent / "out.ko", "image": tree / "no-image"}
    return Request(**{**defaults, **options})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"image": None}, "--image"),
        ({"out": Path("x.o")}, "ends in .ko"),
        ({"out": Path("/nowhere/x.ko")}, "no such folder"),
        ({"out": Path("a b.ko")}, "no name for a module"),
        ({"patches": ()}, "no patch"),
        ({"patches": (Path("/nowhere.patch"),)}, "readable patch"),
    ],
)
def test_what_can_be_said_at_once_is(tree: Path, fix: Path, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError) as caught:
        build_livepatch(request(tree, fix, **options))
    assert problem in str(caught.value)


def test_a_patch_without_effect_is_refused_and_leaves_everything_alone(tree: Path, fix: Path) -> None:
    fix.write_text(FIX.replace("CHANGED", "(x)"))
    before = contents(tree)
    (tree.parent / "out.ko").write_bytes(b"older")
    with pytest.raises(RefusedError, match="nothing-changed"):
        build_livepatch(request(tree, fix))
    assert contents(tree) == before
    assert (tree.parent / "out.ko").read_bytes() == b"older"


def test_a_folder_to_keep_things_in_must_be_new(tree: Path, fix: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is there already"):
        build_livepatch(request(tree, fix, keep=tree))
    fix.write_text(FIX.replace("CHANGED", "(x)"))
    with pytest.raises(RefusedError):
        build_livepatch(request(tree, fix, keep=tmp_path / "kept"))
    assert (tmp_path / "kept/objects/patched/fs/a.o").is_file()
    assert (tmp_path / "kept/patched/fs/a.c").read_text() == SOURCE.replace("return x", "return (x)")


def pretend(monkeypatch: pytest.MonkeyPatch, made: Any) -> None:
    """A kernel that everything is faithful to, and `made` in place of the making of modules."""
    target = SimpleNamespace(release="6.12", exports=dict)
    monkeypatch.setattr("klpkit.pipeline.building.open_shipped", lambda request: target)
    monkeypatch.setattr("klpkit.pipeline.building._fidelity", lambda *words: [])
    monkeypatch.setattr("klpkit.livepatch.making.make_module", made)


def made(pairs: list[Pair], target: object, headers: Path, out: Path, **options: Any) -> LivePatch:
    out.write_bytes(b"module")
    function = PatchedFunction("f", 2, "f", ("its body",), (4, 8))
    reference = Reference(Kind.KLP, "g", "vmlinux", 1, "vmlinux", ("f",))
    objects = (PatchedObject("vmlinux", (function,), (("pre_patch", "before"),)),)
    return LivePatch(out, "out", objects, (reference,), (("n", "data", 4),), (Warned("w", "f", "why"),), 6)


def test_the_module_appears_when_all_is_done(tree: Path, fix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, made)
    before = contents(tree)
    out = tree.parent / "out.ko"
    done = run(fix, "--build", tree, "--image", "x", "-o", out, "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["schema"] == "klpkit.build/1"
    assert answer["module"] == str(out)
    assert answer["objects"][0]["functions"][0]["sizes"] == [4, 8]
    assert answer["units"]["changed"] == [str(tree / "fs/a.c")]
    assert out.read_bytes() == b"module"
    assert contents(tree) == before
    text = run(fix, "--build", tree, "--image", "x", "-o", out).stdout
    for word in (
        "out.ko: 1 function of 6.12, 6 bytes",
        "f (number 2 of this name), 4",
        "its body",
        "[w]",
        "pre_patch",
    ):
        assert word in text


@pytest.mark.parametrize(
    "error",
    [RefusedError("some-slug", "no"), KeyboardInterrupt(), EnvironmentLackError("full disk"), ValueError("a bug")],
)
def test_a_module_that_is_not_finished_never_appears(
    tree: Path, fix: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException
) -> None:
    def broken(pairs: list[Pair], target: object, headers: Path, out: Path, **options: Any) -> LivePatch:
        out.write_bytes(b"half")
        raise error

    pretend(monkeypatch, broken)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "tmp").mkdir()
    with pytest.raises(type(error)):
        build_livepatch(request(tree, fix))
    assert list(tmp_path.rglob("*.ko")) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_disk_that_is_full_at_the_end_leaves_the_older_module(
    tree: Path, fix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: object, destination: Any) -> None:
        destination.write(b"hal")
        raise OSError(errno.ENOSPC, "No space left on device")

    pretend(monkeypatch, made)
    monkeypatch.setattr("shutil.copyfileobj", full)
    out = tree.parent / "out.ko"
    out.write_bytes(b"older")
    with pytest.raises(EnvironmentLackError, match="No space left"):
        build_livepatch(request(tree, fix))
    assert out.read_bytes() == b"older"
    assert list(out.parent.glob(".out.ko*")) == []


def test_a_module_whose_functions_were_not_compared_does_not_appear(
    tree: Path, fix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, made)

    def refuse(checked: object, *, needed: set[str] = frozenset(), **options: Any) -> None:  # type: ignore[assignment]
        if "f" in needed:
            raise RefusedError("not-faithful", "f is not as shipped")

    monkeypatch.setattr("klpkit.target.checking.refuse_unfaithful", refuse)
    with pytest.raises(RefusedError, match="not-faithful"):
        build_livepatch(request(tree, fix))
    assert not (tree.parent / "out.ko").exists()
    assert build_livepatch(request(tree, fix, allow_mismatch=True)).livepatch.path == tree.parent / "out.ko"


def test_assembler_that_compiles_to_something_else_is_refused(tree: Path, fix: Path) -> None:
    (tree / "fs/s.S").write_text(".globl s\ns: .long 1\n")
    line = "gcc -Wp,-MMD,fs/.s.o.d -D__KERNEL__ -c -o fs/s.o fs/s.S"
    (tree / "fs/.s.o.cmd").write_text(
        f"savedcmd_fs/s.o := {line}\n\nsource_fs/s.o := fs/s.S\n\ndeps_fs/s.o := \\\n\n"
    )
    change = "--- a/fs/s.S\n+++ b/fs/s.S\n@@ -1,2 +1,2 @@\n .globl s\n-s: .long 1\n+s: .long 2\n"
    fix.write_text(FIX.replace("CHANGED", "x * 3") + change)
    with pytest.raises(RefusedError, match="assembler-source"):
        build_livepatch(request(tree, fix))


def compiled(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.o"
    argv = ["gcc", "-O2", "-ffunction-sections", "-x", "c", "-c", "-", "-o", str(path)]
    subprocess.run(argv, input=text.encode(), check=True)
    return path


def test_functions_that_are_always_on_a_stack_and_locks_are_warned_of(tmp_path: Path) -> None:
    text = (
        "void mutex_lock(int *), mutex_unlock(int *); extern int m;\nvoid schedule(void) { mutex_lock(&m); %s }\n"
    )
    sides = [compiled(tmp_path, side, text % more) for side, more in (("a", ""), ("b", "mutex_unlock(&m);"))]
    pair = Pair(None, *sides, "vmlinux")  # type: ignore[arg-type]
    functions = (PatchedFunction("schedule", 0, "schedule"),)
    made = LivePatch(tmp_path, "x", (PatchedObject("vmlinux", functions),), ())
    assert [(warning.slug, warning.symbol) for warning in watched(made, [pair])] == [
        ("always-on-stack", "schedule"),
        ("locks-changed", "schedule"),
    ]
    assert "mutex_unlock 1 more" in list(watched(made, [pair]))[1].evidence
    same = Pair(None, sides[0], sides[0], "vmlinux")  # type: ignore[arg-type]
    assert [warning.slug for warning in watched(made, [same])] == ["always-on-stack"]


@pytest.mark.parametrize("calls", [False, True])
def test_a_new_signature_counts_for_units_that_name_the_function(
    tree: Path, fix: Path, monkeypatch: pytest.MonkeyPatch, calls: bool
) -> None:
    body = "g(1)" if calls else "x"
    (tree / "fs/a.c").write_text(f"int g(int);\nint f(int x)\n{{\n\treturn {body};\n}}\n")
    fix.write_text(
        "--- a/fs/a.c\n+++ b/fs/a.c\n@@ -1,5 +1,5 @@\n-int g(int);\n+int g(long);\n"
        f" int f(int x)\n {{\n-\treturn {body};\n+\treturn {body} + 7;\n }}\n"
    )
    pretend(monkeypatch, made)
    shipped = SimpleNamespace(release="6.12", exports=lambda: {"g": None})
    monkeypatch.setattr("klpkit.pipeline.building.open_shipped", lambda request: shipped)
    if calls:
        with pytest.raises(RefusedError, match="exported-signature"):
            build_livepatch(request(tree, fix))
    else:
        assert build_livepatch(request(tree, fix)).livepatch.name == "out"
