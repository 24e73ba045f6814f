"""Refusals for units that are not as shipped, and what they say about the cause."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from elf_samples import compiler
from fidelity_samples import ONE, Kernel, make_kernel
from target_samples import compile_units

from klpkit.build import TranslationUnit
from klpkit.errors import RefusedError
from klpkit.target import Target, open_target
from klpkit.target.checking import check_object, owners_of, refuse_unfaithful, suspects

BANNER = "Linux version 6.12.0-toy (who@where) (gcc-99 (Toy 99.1 (odd)) 99.1.0, GNU ld (GNU Binutils) 2.40) #1 SMP"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    return make_kernel(tmp_path_factory.mktemp("kernel"))


@pytest.fixture
def target(kernel: Kernel) -> Target:
    return open_target(vmlinux=kernel.path)


def unit_of(path: Path, owner: str = "") -> TranslationUnit:
    return TranslationUnit(path, path.with_suffix(".c"), path.parent, (compiler(),), ("-c",), owner)


def test_a_faithful_unit_passes(kernel: Kernel, target: Target) -> None:
    checked = check_object(unit_of(kernel.units["one"]), kernel.units["one"], target)
    assert [answer.faithful for answer in checked] == [True]
    refuse_unfaithful(checked, target=target, needed=["first", "tail"])


def test_a_function_that_is_needed_must_be_the_shipped_one(kernel: Kernel, target: Target) -> None:
    checked = check_object(unit_of(kernel.units["one"]), kernel.units["one"], target)
    with pytest.raises(RefusedError, match="soft is not as shipped: overridden") as caught:
        refuse_unfaithful(checked, target=target, needed=["soft"])
    assert caught.value.slug == "not-faithful"


def test_the_refusal_names_function_and_place(target: Target, tmp_path: Path) -> None:
    made = compile_units(tmp_path, unit=ONE.replace("*size = 42", "*size = 41"))["unit"]
    checked = check_object(unit_of(made), made, target, source=tmp_path)
    with pytest.raises(RefusedError, match=r"^unit\.c: name_one\+0x2 is not as shipped") as caught:
        refuse_unfaithful(checked, target=target)
    assert "patch level" in caught.value.hint


def test_another_compiler_is_a_suspect(target: Target) -> None:
    target.banner = BANNER
    assert target.release == "6.12.0-toy"
    assert target.compiler == "gcc-99 (Toy 99.1 (odd)) 99.1.0"
    (said,) = suspects(target, (compiler(),))
    assert said.startswith("the shipped kernel was made by gcc-99 (Toy 99.1 (odd)) 99.1.0, this build's")
    assert suspects(target, ()) == []


def test_the_same_compiler_under_another_name_is_no_suspect(target: Target) -> None:
    import subprocess

    done = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True)
    words = done.stdout.splitlines()[0].split(" ", 1)[1]
    target.banner = f"Linux version 6.12.0-toy (who@where) (x86_64-linux-gnu-gcc-12 {words}, GNU ld (B) 2) #1"
    assert suspects(target, (compiler(),)) == []


def test_owners_are_objects_of_the_running_kernel(kernel: Kernel, target: Target) -> None:
    unit = unit_of(kernel.units["one"])
    assert owners_of(unit) == ["vmlinux"]
    assert owners_of(replace(unit, owner="vmlinux")) == ["vmlinux"]
    assert owners_of(replace(unit, owner="fs/nfs/nfs, fs/a-b/c-d")) == ["nfs", "c_d"]
    with pytest.raises(RefusedError) as caught:
        check_object(replace(unit, owner="drivers/net/tun"), kernel.units["one"], target)
    assert caught.value.slug == "no-modules"


def test_symbols_alone_are_not_enough(kernel: Kernel, tmp_path: Path) -> None:
    path = tmp_path / "System.map"
    path.write_text("ffffffff81000000 T first\n")
    with pytest.raises(RefusedError) as caught:
        check_object(unit_of(kernel.units["one"]), kernel.units["one"], open_target(system_map=path))
    assert caught.value.slug == "no-shipped-code"
