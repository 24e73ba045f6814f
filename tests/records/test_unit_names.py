"""The source file of an address, found without reading the units."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klpkit.elf import ElfFile
from klpkit.errors import FormatError, RefusedError
from klpkit.programs import run
from klpkit.records.unitnames import unit_names
from klpkit.target.model import VMLINUX
from klpkit.target.opening import open_target
from klpkit.target.sourcepaths import source_paths

SOURCES = {
    "net/core.c": "static NOINLINE int same(int x) { return x * 3; }\nint a(int x) { return same(x); }\n",
    "mm/core.c": "char state;\nstatic NOINLINE int same(int x) { return ~x; }\nint b(int x) { return same(x); }\n",
}


def linked(folder: Path, *flags: str) -> Path:
    """A program of two units of the same file name, each with a static function `same`."""
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    for name, text in SOURCES.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text)
    words = [
        "gcc",
        "-O2",
        "-nostdlib",
        "-static",
        "-Wl,-e,a",
        "-DNOINLINE=__attribute__((noinline))",
        *flags,
        *SOURCES,
        "-o",
        "image",
    ]
    run(words, cwd=folder)
    return folder / "image"


def places(elf: ElfFile, name: str) -> list[int]:
    return [int(elf.symbols.value[row]) for row in elf.symbols.find(name)]


@pytest.mark.parametrize(
    "flags", [["-gdwarf-5"], ["-gdwarf-4"], ["-gdwarf-2"], ["-gdwarf-5", "-gdwarf64"]], ids="".join
)
def test_units_of_one_file_name_are_told_apart(flags: list[str], tmp_path: Path) -> None:
    elf = ElfFile.open(linked(tmp_path, *flags))
    wanted = [*places(elf, "same"), places(elf, "a")[0] + 1, *places(elf, "b"), *places(elf, "state"), 0, 1 << 63]
    assert unit_names(elf, wanted) == ["net/core.c", "mm/core.c", "net/core.c", "mm/core.c", None, None, None]


def test_nothing_is_known_without_debug_information(tmp_path: Path) -> None:
    elf = ElfFile.open(linked(tmp_path))
    assert unit_names(elf, places(elf, "same")) == [None, None]


def test_the_shipped_kernels_symbols_get_paths_of_code_and_names_of_data(tmp_path: Path) -> None:
    path = linked(tmp_path, "-gdwarf-5")
    vmlinux = open_target(vmlinux=path).object(VMLINUX)
    assert source_paths(vmlinux, vmlinux.positions("same")) == ["net/core.c", "mm/core.c"]
    assert source_paths(vmlinux, vmlinux.positions("state")) == [None]


@settings(max_examples=60)
@given(data=st.data())
def test_broken_tables_end_in_an_error_of_ours(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "unit-names"
    image = folder / "image"
    if not image.exists():
        folder.mkdir(exist_ok=True)
        linked(folder, "-gdwarf-5")
    content = bytearray(image.read_bytes())
    whole = ElfFile(bytes(content))
    addresses = places(whole, "same")
    name = data.draw(st.sampled_from([".debug_aranges", ".debug_info", ".debug_abbrev"]))
    (index,) = whole.sections.find(name)
    start, size = int(whole.sections.offset[index]), int(whole.sections.size[index])
    for _ in range(data.draw(st.integers(1, 4))):
        content[start + data.draw(st.integers(0, size - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FormatError, RefusedError):
        assert len(unit_names(ElfFile(bytes(content)), addresses)) == len(addresses)
