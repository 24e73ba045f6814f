"""`klpkit convert` and `klpkit symbols` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from klpkit.cli.main import cli
from klpkit.elf import ElfFile, ElfObject, ObjRelocation, ObjSection, ObjSymbol
from klpkit.elf import constants as c
from klpkit.errors import KlpkitError, RefusedError, UserError

MAP = "ffffffff81000010 t twice\nffffffff81000020 T alone\nffffffff81000030 t twice\n"
INFORMATION = b"livepatch=Y\0license=GPL\0"


def klpkit(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def refused(kind: type[KlpkitError], *words: object) -> str:
    result = klpkit(*words)
    assert isinstance(result.exception, kind)
    assert result.stdout == ""
    return str(result.exception)


@pytest.fixture
def patch(tmp_path: Path) -> Path:
    """A live patch that calls `alone` of vmlinux without saying so, and `twice` by a named annotation."""
    module = ElfObject(c.EM_X86_64)
    text = ObjSection(".text", flags=c.SHF_ALLOC | c.SHF_EXECINSTR, data=bytes(32))
    module.sections += [text, ObjSection(".modinfo", flags=c.SHF_ALLOC, data=INFORMATION)]
    wanted = [ObjSymbol(name, bind=c.STB_GLOBAL) for name in ("alone", ".klp.sym.rela.vmlinux.vmlinux.twice,2")]
    module.symbols += wanted
    text.relocate().entries += [ObjRelocation(8 * row, 4, symbol, -4) for row, symbol in enumerate(wanted)]
    module.write(tmp_path / "patch.ko")
    (tmp_path / "System.map").write_text(MAP)
    return tmp_path / "patch.ko"


def symbols_of(path: Path) -> list[str]:
    return [name for name in ElfFile.open(path).symbols.names if name]


def test_a_module_is_converted_in_place_once(patch: Path) -> None:
    result = klpkit("convert", patch, "--system-map", patch.parent / "System.map")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "vmlinux:twice,2  .text (1)",
        "vmlinux:alone  .text (1)",
        f"{patch}: 2 relocations of 2 symbols converted",
    ]
    assert symbols_of(patch) == [".klp.sym.vmlinux.alone,0", ".klp.sym.vmlinux.twice,2"]
    again = klpkit("convert", patch)
    assert (again.exit_code, again.stdout) == (0, f"{patch}: nothing to convert\n")


def test_json_says_what_was_done_where(patch: Path) -> None:
    out = patch.parent / "out.ko"
    result = klpkit("convert", patch, "-o", out, "--json", "--system-map", patch.parent / "System.map")
    document = json.loads(result.stdout)
    assert (document["schema"], document["changed"], document["output"]) == ("klpkit.convert/1", True, str(out))
    assert document["references"][0] == {
        "symbol": ".klp.sym.rela.vmlinux.vmlinux.twice,2",
        "klp_symbol": ".klp.sym.vmlinux.twice,2",
        "patched_object": "vmlinux",
        "object": "vmlinux",
        "name": "twice",
        "sympos": 2,
        "relocations": {".text": 1},
        "checked": True,
        "source": None,
    }
    assert "alone" in symbols_of(patch)
    again = json.loads(klpkit("convert", out, "--json").stdout)
    assert (again["changed"], again["references"]) == (False, [])


def test_a_list_serves_in_place_of_the_kernel(patch: Path) -> None:
    listed = patch.parent / "symbols.klp"
    assert klpkit("symbols", "--system-map", patch.parent / "System.map", "-o", listed).exit_code == 0
    assert klpkit("convert", patch, "--symbols", listed).exit_code == 0
    assert symbols_of(patch) == [".klp.sym.vmlinux.alone,0", ".klp.sym.vmlinux.twice,2"]


def test_a_refusal_names_the_choices_and_leaves_the_module(patch: Path) -> None:
    (patch.parent / "System.map").write_text(MAP.replace("T alone", "t twice") + "ffffffff81000040 t alone\n" * 2)
    before = patch.read_bytes()
    said = refused(RefusedError, "convert", patch, "--system-map", patch.parent / "System.map")
    assert "KLPKIT_RELOC(vmlinux, vmlinux, alone, 2);" in said
    assert patch.read_bytes() == before


def test_what_was_not_checked_says_so(patch: Path) -> None:
    module = ElfObject.read(patch)
    module.symbols[0].name = "imported"
    versions = bytes(8) + b"imported".ljust(56, b"\0")
    module.sections.append(ObjSection("__versions", flags=c.SHF_ALLOC, data=versions))
    module.write(patch)
    result = klpkit("convert", patch)
    assert "vmlinux:twice,2  .text (1)  [not checked" in result.stdout


def test_the_option_for_the_compiler_names_the_header() -> None:
    option = klpkit("convert", "--cflags").stdout.strip()
    assert Path(option.removeprefix("-I"), "klpkit.h").is_file()


def test_wrong_usage_is_told(patch: Path) -> None:
    assert klpkit("convert").exit_code == 2
    mixed = klpkit("convert", patch, "--symbols", "a", "--image", "b")
    assert mixed.exit_code == 2
    assert "name it alone" in mixed.stderr
    assert klpkit("symbols", "--system-map", patch.parent / "System.map", "--json").exit_code == 2
    refused(UserError, "symbols")
    refused(UserError, "convert", patch.parent / "absent.ko")


def test_symbols_are_looked_up_with_their_positions(patch: Path) -> None:
    where = ("--system-map", patch.parent / "System.map")
    assert klpkit("symbols", *where, "twice", "alone").stdout.splitlines() == [
        "vmlinux\ttwice,1\tt\t0xffffffff81000010\t-",
        "vmlinux\ttwice,2\tt\t0xffffffff81000030\t-",
        "vmlinux\talone,0\tT\t0xffffffff81000020\t-",
    ]
    rows = json.loads(klpkit("symbols", *where, "--json", "twice").stdout)["symbols"]
    assert [(row["object"], row["sympos"], row["source"]) for row in rows] == [
        ("vmlinux", 1, None),
        ("vmlinux", 2, None),
    ]
    result = klpkit("symbols", *where, "absent", "alone")
    assert isinstance(result.exception, RefusedError)
    assert "absent" in str(result.exception)
    assert "alone,0" in result.stdout


def test_a_list_goes_to_standard_output_too(patch: Path) -> None:
    lines = klpkit("symbols", "--system-map", patch.parent / "System.map").stdout.splitlines()
    assert lines == ["klp-convert-symbol-data.0.1", "*vmlinux", "twice", "alone", "twice"]
