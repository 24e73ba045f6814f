"""Which names count as made by a compiler, and from what."""

from __future__ import annotations

import subprocess
import sys

import pytest

from klpkit.records.causes import CAUSES
from klpkit.records.suffixes import BARE, NUMBERED, ancestry, parent, source_name


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("foo.part.0.isra.0.cold", [("foo.part.0.isra.0", "cold"), ("foo.part.0", "isra"), ("foo", "part")]),
        ("foo.constprop.12", [("foo", "constprop")]),
        ("foo.cold.3", [("foo", "cold")]),
        ("_ZN3fooD2Ev.part.1", [("_ZN3fooD2Ev", "part")]),
        ("bar.llvm.16443238912037", [("bar", "same-function")]),
        ("bar.llvm.8F3A", [("bar", "same-function")]),
        ("bar.lto_priv.0.isra.0", [("bar.lto_priv.0", "isra"), ("bar", "same-function")]),
        ("f._omp_fn.0", [("f", "part")]),
        ("f.arch_haswell", [("f", "target-clone")]),
        ("f.resolver", [("f", "target-clone")]),
        ("inner.0", [("inner", "clone")]),
        ("_ZGVbN4vl_foo", [("foo", "simdclone")]),
    ],
)
def test_suffixes_lead_back_to_the_source(symbol: str, expected: list[tuple[str, str]]) -> None:
    assert ancestry(symbol) == expected
    assert source_name(symbol) == expected[-1][0]


@pytest.mark.parametrize(
    "symbol",
    [
        "plain",
        "",
        ".cold",
        ".0",
        ".part.0x",
        "dotted.name",
        "asm.label.part",
        "_ZN4core3fmt17h0123456789abcdefE",
        "_ZGVZ1fvE1x",
        "foo.isra.",
        "sys_isra_0",
    ],
)
def test_other_names_have_no_parent(symbol: str) -> None:
    assert parent(symbol) is None
    assert source_name(symbol) == symbol


def test_names_that_differ_only_in_their_numbers_stay_apart() -> None:
    assert parent("foo1.isra.0") == ("foo1", "isra")
    assert parent("foo2.isra.0") == ("foo2", "isra")


def test_every_cause_is_in_the_vocabulary() -> None:
    slugs = {cause.slug for cause in CAUSES}
    assert {*NUMBERED.values(), *BARE.values()} <= slugs


def test_the_light_reader_imports_nothing_heavy() -> None:
    code = "import sys; import klpkit.records.lightelf; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-S", "-c", code], check=True, capture_output=True, text=True, env={
        "PYTHONPATH": next(path for path in sys.path if path.endswith("src"))
    })  # fmt: skip
    heavy = {
        "numpy",
        "re",
        "dataclasses",
        "typing",
        "collections",
        "enum",
        "inspect",
        "pathlib",
        "importlib.metadata",
    }
    assert not heavy & set(run.stdout.split())
