"""Lists of symbols: what is written reads back with the same positions, and what is broken is refused."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klpkit.elf import ElfObject, ObjSection, ObjSymbol
from klpkit.elf import constants as c
from klpkit.errors import FormatError, RefusedError, UserError
from klpkit.target import open_target
from klpkit.target.symbolslist import FORMAT, read_symbols_list, symbols_list

MAP = """ffffffff81000000 T _stext
ffffffff81000010 t twice
ffffffff81000020 T alone
ffffffff81000030 t twice
ffffffff82000000 r __ksymtab_alone
"""


def module(path: Path) -> None:
    """A module with a symbol that occurs twice, one in init memory, and one that it wants from elsewhere."""
    made = ElfObject(c.EM_X86_64)
    text = ObjSection(".text", flags=c.SHF_ALLOC | c.SHF_EXECINSTR, data=bytes(32))
    init = ObjSection(".init.text", flags=c.SHF_ALLOC | c.SHF_EXECINSTR, data=bytes(32))
    made.sections += [text, init]
    made.symbols += [ObjSymbol("pair", text, 0), ObjSymbol("pair", text, 8), ObjSymbol("start", init)]
    made.symbols += [ObjSymbol("_printk", bind=c.STB_GLOBAL)]
    path.parent.mkdir(parents=True)
    made.write(path)


def written(folder: Path) -> Path:
    (folder / "System.map").write_text(MAP)
    module(folder / "modules/kernel/nvme-tcp.ko")
    target = open_target(system_map=folder / "System.map", modules=folder / "modules")
    path = folder / "symbols.klp"
    path.write_text("".join(f"{line}\n" for line in symbols_list(target)))
    return path


def test_a_list_has_the_form_that_klp_convert_reads(tmp_path: Path) -> None:
    assert written(tmp_path).read_text().split("\n") == [
        FORMAT,
        "*vmlinux",
        "_stext",
        "twice",
        "alone",
        "twice",
        "__ksymtab_alone",
        "*nvme_tcp",
        "pair",
        "pair",
        "",
    ]


def test_positions_and_exports_survive(tmp_path: Path) -> None:
    symbols = read_symbols_list(written(tmp_path))
    assert [len(symbols.vmlinux.positions(name)) for name in ("twice", "alone", "absent")] == [2, 1, 0]
    assert symbols.vmlinux.sympos(symbols.vmlinux.positions("twice")[1]) == 2
    assert symbols.modules() == ("nvme_tcp",)
    assert len(symbols.object("nvme-tcp").positions("pair")) == 2
    assert symbols.exports().keys() == {"alone"}


def test_only_some_modules_can_be_listed(tmp_path: Path) -> None:
    written(tmp_path)
    target = open_target(system_map=tmp_path / "System.map", modules=tmp_path / "modules")
    assert "*nvme_tcp" not in list(symbols_list(target, ()))


def test_lists_of_the_kernels_own_build_are_read(tmp_path: Path) -> None:
    path = tmp_path / "symbols.klp"
    path.write_text(f"{FORMAT}\n*vmlinux\n__ksymtab_f\nf\nf\n*nvme-tcp\n_printk\ng\n")
    symbols = read_symbols_list(path)
    assert len(symbols.vmlinux.positions("f")) == 2
    assert len(symbols.object("nvme_tcp").positions("g")) == 1


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "line 1"),
        ("other.0.2\n*vmlinux\n", "line 1"),
        (f"{FORMAT}\nf\n", "line 2"),
        (f"{FORMAT}\n*vmlinux\n\n", "line 3"),
        (f"{FORMAT}\n*vmlinux\nf\n*vmlinux\n", "line 4"),
        (f"{FORMAT}\n*a-b\nf\n*a_b\n", "line 4"),
        (f"{FORMAT}\n*\n", "line 2"),
        (f"{FORMAT}\n*vmlinux\nf", "line 3"),
        (f"{FORMAT}\n*ext4\nf\n", "vmlinux"),
    ],
)
def test_broken_lists_are_refused(text: str, place: str, tmp_path: Path) -> None:
    path = tmp_path / "symbols.klp"
    path.write_text(text)
    with pytest.raises(FormatError, match=place):
        read_symbols_list(path)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        read_symbols_list(tmp_path / "absent")
    symbols = read_symbols_list(written(tmp_path))
    with pytest.raises(RefusedError, match="no-such-module"):
        symbols.object("ext4")
    with pytest.raises(RefusedError, match="no-shipped-code"):
        symbols.vmlinux.code(symbols.vmlinux.positions("alone")[0])


@given(st.text(st.sampled_from("*\nabv-_mlinux\r\0é"), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "symbols.klp")
        path.write_text(FORMAT + text, "utf-8", "surrogatepass")
        with contextlib.suppress(FormatError):
            assert read_symbols_list(path).vmlinux.name == "vmlinux"
