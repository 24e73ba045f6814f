"""Which live patches of the corpus are booted, and how a guest's words about them are judged."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from klpkit.boot import Check, Outcome, Trouble
from klpkit.boot.outcome import Slug


@pytest.fixture
def boots() -> Iterator[ModuleType]:
    path = Path(__file__).parent.parent / "tools" / "corpus_boots.py"
    spec = importlib.util.spec_from_file_location("corpus_boots", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["corpus_boots"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["corpus_boots"]


def row(source: str, *objects: str) -> dict[str, Any]:
    return {"source": source, "objects": {name: ["f", "g"] for name in objects}}


ROWS = [
    *(row(f"mm/{n}.c", "vmlinux") for n in range(6)),
    *(row(f"fs/xfs/{n}.c", "xfs") for n in range(6)),
    row("fs/fat/dir.c", "fat"),
    row("net/both.c", "vmlinux", "tun"),
]


def test_built_in_and_module_code_take_turns_and_a_module_comes_once(boots: ModuleType) -> None:
    found = boots.chosen(ROWS, [], 6, "1")
    owners = [sorted(set(each["objects"]) - {"vmlinux"}) for each in found]
    assert [bool(names) for names in owners] == [False, True, False, True, False, True]
    assert sorted(name for names in owners for name in names) == ["fat", "tun", "xfs"]
    assert [each["source"] for each in boots.chosen(ROWS, [], 6, "2")] != [each["source"] for each in found]


def test_what_was_booted_stays_chosen_when_the_corpus_grows(boots: ModuleType) -> None:
    done = ["fs/xfs/3.c", "mm/1.c"]
    found = [each["source"] for each in boots.chosen([*ROWS, row("a.c", "vmlinux")], done, 5, "1")]
    assert set(done) < set(found)
    assert len([name for name in found if name.startswith("fs/xfs")]) == 1
    assert len(found) == 5


def outcome(*lines: str, trouble: str = "") -> Outcome:
    troubles = (Trouble(Slug.KERNEL_TROUBLE, trouble),) if trouble else ()
    return Outcome("6.12", "tcg", 9.0, (Check("original", 0, lines, 1.0),), troubles, ())


DONE = ("object p vmlinux patched 2", "object p tun absent 1", "patch p ok", "patch q not-loaded why")


def test_a_patch_passes_when_the_guest_saw_every_step(boots: ModuleType) -> None:
    result = boots._result(ROWS[-1], "p", outcome(*DONE))
    assert (result["passed"], result["why"]) == (True, "")
    assert result["objects"] == {"vmlinux": "patched", "tun": "absent"}


@pytest.mark.parametrize(
    ("name", "said", "why"),
    [
        ("q", outcome(*DONE), "not-loaded why"),
        ("r", outcome(*DONE), "said nothing"),
        ("p", outcome(*DONE, trouble="an oops"), "an oops"),
        ("p", outcome("object p vmlinux patched 2", "patch p ok"), "ok"),
    ],
)
def test_anything_less_fails(boots: ModuleType, name: str, said: Outcome, why: str) -> None:
    result = boots._result(ROWS[-1], name, said)
    assert result["passed"] is False
    assert why in result["why"]
