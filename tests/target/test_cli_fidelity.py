"""`klpkit fidelity` on a toy kernel with a compilation database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from elf_samples import compiler
from fidelity_samples import Kernel, make_kernel
from target_samples import KERNEL_FLAGS

from klpkit.cli.fidelity import command


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """A toy kernel whose sources lie beside it, with their commands."""
    made = make_kernel(tmp_path)
    rows = []
    for name in ("one", "two", "three"):
        arguments = [compiler(), *KERNEL_FLAGS, "-c", f"{name}.c", "-o", f"{name}.o"]
        rows.append(
            {"directory": str(tmp_path), "file": f"{name}.c", "arguments": arguments, "output": f"{name}.o"}
        )
    (tmp_path / "compile_commands.json").write_text(json.dumps(rows))
    return made


def ask(kernel: Kernel, *words: str) -> tuple[int, str]:
    folder = kernel.path.parent
    argv = [*words, "--build", str(folder / "compile_commands.json"), "--vmlinux", str(kernel.path)]
    done = CliRunner().invoke(command, argv, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.return_value, done.stdout


def test_a_faithful_kernel_ends_with_0(kernel: Kernel) -> None:
    status, text = ask(kernel, "one.c", "two.c", "three.c")
    assert status == 0
    assert "one.c (vmlinux): 7 equal, 1 overridden\n" in text
    assert text.splitlines()[-1].startswith("faithful to the shipped kernel: ")


def test_an_edited_source_ends_with_1_and_shows_both_sides(kernel: Kernel) -> None:
    source = kernel.path.parent / "one.c"
    source.write_text(source.read_text().replace("x ^ 0x55", "x ^ 0x56"))
    status, text = ask(kernel, "one.c", "two.c")
    assert status == 1
    lines = [line.split() for line in text.splitlines()]
    row = next(row for row, words in enumerate(lines) if words[0].startswith("last+"))
    assert lines[row][1] == "differs:"
    assert (lines[row + 1][0], lines[row + 1][-1]) == ("original", "$0x56,%eax")
    assert (lines[row + 2][0], lines[row + 2][-1]) == ("shipped", "$0x55,%eax")
    assert text.splitlines()[-1] == "not faithful to the shipped kernel: 1 of 2 units"


def test_json_has_every_function(kernel: Kernel) -> None:
    source = kernel.path.parent / "one.c"
    source.write_text(source.read_text().replace("count * other(x)", "count * outside(x)"))
    status, text = ask(kernel, "one.c", "--json")
    answer = json.loads(text)
    assert (status, answer["faithful"]) == (1, False)
    (unit,) = answer["units"]
    functions = {function["name"]: function for function in unit["functions"]}
    assert unit["counts"]["equal"] == len(functions) - 2
    assert functions["soft"]["verdict"] == "overridden"
    difference = functions["tally"]["difference"]
    assert "refers to outside in the original and to other in the image" in difference["why"]
    assert difference["original"]["instruction"].startswith(("call", "jmp"))
    assert functions["first"]["address"] > 1 << 63


def test_a_kernel_must_be_named(kernel: Kernel) -> None:
    from click import UsageError

    with pytest.raises(UsageError, match="--image or --vmlinux"):
        CliRunner().invoke(command, ["one.c"], standalone_mode=False, catch_exceptions=False)


def test_nothing_is_written_beside_the_sources(kernel: Kernel) -> None:
    before = {path: path.stat().st_mtime_ns for path in kernel.path.parent.rglob("*")}
    ask(kernel, "one.c")
    assert {path: path.stat().st_mtime_ns for path in kernel.path.parent.rglob("*")} == before
