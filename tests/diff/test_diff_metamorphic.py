"""Objects rewritten without a change of meaning are no change; damage is always reported."""

from __future__ import annotations

import importlib.util
import random
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest_pairs import PAIRS, Compile, compared, expected_pairs, pair_paths

from klpkit.diff import ObjectDiff, Verdict, diff_elf, diff_files
from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.elf.model import ElfObject

ROWS = expected_pairs()
_NUMBERED = re.compile(r"^(.+?)\.(\d+)$")


def _name(row: dict[str, Any]) -> str:
    return f"{row['arch']}-{row['name']}"


def _rewritten(path: Path, seed: int) -> bytes:
    """The object with sections, symbols and the compiler's numbers in another order."""
    chance = random.Random(seed)
    model = ElfObject.read(path)
    chance.shuffle(model.sections)
    files = [symbol for symbol in model.symbols if symbol.type == c.STT_FILE]
    others = [symbol for symbol in model.symbols if symbol.type != c.STT_FILE]
    chance.shuffle(others)
    if len(files) <= 1:
        model.symbols[:] = sorted(files + others, key=lambda s: (s.bind != c.STB_LOCAL, s.type != c.STT_FILE))
    _renumber(model, chance)
    return model.to_bytes()


def _renumber(model: ElfObject, chance: random.Random) -> None:
    renamed: dict[str, str] = {}
    for symbol in model.symbols:
        found = _NUMBERED.match(symbol.name)
        if found and symbol.bind == c.STB_LOCAL and ".cold" not in symbol.name:
            renamed[symbol.name] = f"{found.group(1)}.{chance.randrange(100_000)}"
    for symbol in model.symbols:
        name, cold, number = symbol.name.partition(".cold")
        if name in renamed and (not cold or number):
            symbol.name = renamed[name] + cold + number


def _silent(diff: ObjectDiff) -> bool:
    return not (diff.functions or diff.data or diff.moved or diff.obstacles or diff.notes)


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_another_order_and_other_numbers_are_no_change(row: dict[str, Any]) -> None:
    for seed, path in enumerate(pair_paths(row)[:1]):
        diff = diff_elf(ElfFile.open(path), ElfFile(_rewritten(path, seed), "rewritten"))
        assert diff.verdict is Verdict.NO_CHANGE, (diff.functions, diff.data, diff.obstacles)
        assert _silent(diff)


@pytest.mark.parametrize("row", ROWS[::4], ids=_name)
def test_a_rewritten_patched_side_changes_no_answer(row: dict[str, Any]) -> None:
    original, patched = pair_paths(row)
    plain = diff_files(original, patched)
    other = diff_elf(ElfFile.open(original), ElfFile(_rewritten(patched, 5), "rewritten"))
    assert (other.verdict, other.changed, len(other.new)) == (plain.verdict, plain.changed, len(plain.new))


ONE = """
extern int sink;
static int helper(int x) { static int calls; return sink += x * ++calls; }
static const int table[4] = { 1, 2, 3, 4 };
int one(int x) { return helper(x) + table[x & 3]; }
int one_more(int x) { return helper(x * 2) - 7; }
"""
TWO = ONE.replace("one", "two").replace("{ 1, 2, 3, 4 }", "{ 5, 6, 7, 8 }")
FLAGS = ("-O2", "-fno-inline", "-pg", "-mfentry", "-mrecord-mcount", "-fno-pic")


def _linked(folder: Path, name: str, *objects: Path) -> Path:
    out = folder / name
    subprocess.run(["ld", "-r", "-o", str(out), *map(str, objects)], check=True)
    return out


def test_another_file_order_is_no_change(compile_c: Compile, tmp_path: Path) -> None:
    one, two = compile_c(ONE, *FLAGS, name="one"), compile_c(TWO, *FLAGS, name="two")
    diff = compared(_linked(tmp_path, "a.o", one, two), _linked(tmp_path, "b.o", two, one))
    assert _silent(diff), diff


def test_same_named_statics_are_told_apart_by_file(compile_c: Compile, tmp_path: Path) -> None:
    one, two = compile_c(ONE, *FLAGS, name="one"), compile_c(TWO, *FLAGS, name="two")
    changed = compile_c(TWO.replace("sink += x", "sink -= x"), *FLAGS, name="two")
    diff = diff_files(_linked(tmp_path, "a.o", one, two), _linked(tmp_path, "b.o", changed, one))
    assert [(function.name, function.file) for function in diff.functions] == [("helper", "two.c")]
    assert not diff.data


@pytest.mark.parametrize("extra", [("-ffunction-sections", "-fdata-sections"), ()], ids=["sections", "bundled"])
def test_recompiling_with_another_seed_is_no_change(compile_c: Compile, extra: tuple[str, ...]) -> None:
    flags = ("-O2", "-fipa-cp-clone", *extra)
    paths = [compile_c(ONE, *flags, f"-frandom-seed={seed}") for seed in (1, 2)]
    assert _silent(compared(*paths))


def _tool(name: str) -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _unreported(paths: list[Path], count: int, seed: int) -> list[str]:
    tool, chance = _tool("diff_mutations"), random.Random(seed)
    missed = []
    for path in paths:
        subject = tool.Subject(path)
        supply = tool.mutations(subject, chance)
        for _ in range(count // len(paths)):
            mutation = next(supply)
            if tool.silent(subject, mutation):
                missed.append(f"{path}: {mutation.kind}: {mutation.what}")
    return missed


SMALL = ("x86_64/cold-change-sub", "x86_64/meminfo-string", "aarch64/meminfo-string", "s390x/meminfo-string")


@pytest.mark.skipif(not ROWS, reason="../shared/objs is absent")
def test_damage_to_kernel_objects_is_reported() -> None:
    assert _unreported([PAIRS / f"{name}.original.o" for name in SMALL], 100, seed=11) == []


@pytest.mark.parametrize("extra", [("-ffunction-sections", "-fdata-sections"), ()], ids=["sections", "bundled"])
def test_damage_to_compiled_objects_is_reported(compile_c: Compile, extra: tuple[str, ...]) -> None:
    assert _unreported([compile_c(ONE, "-O2", "-fno-inline", *extra)], 150, seed=12) == []


@pytest.mark.kernel
@pytest.mark.skipif(not ROWS, reason="../shared/objs is absent")
def test_ten_thousand_damages_are_reported() -> None:
    assert _unreported([path for row in ROWS for path in pair_paths(row)], 10_000, seed=13) == []


def test_damaged_files_never_end_in_a_traceback(compile_c: Compile) -> None:
    tool, chance = _tool("diff_fuzz"), random.Random(14)
    data = compile_c(ONE + TWO.replace("helper", "aide").replace("table", "list"), *FLAGS).read_bytes()
    wrong = []
    for number in range(150):
        other = tool.damaged(data, chance)
        problem = tool.attempt(*((data, other) if number % 3 else (other, data)))
        if problem:
            wrong.append(problem)
    assert wrong == []
