"""The table of special sections: what a section is, by name, type and flags."""

from __future__ import annotations

import pytest

from klpkit.diff.names import cold_parent, declared, prefix_owner, renamed
from klpkit.elf import constants as c
from klpkit.elf.special import Role, role, special

ALLOC, WRITE, CODE = c.SHF_ALLOC, c.SHF_ALLOC | c.SHF_WRITE, c.SHF_ALLOC | c.SHF_EXECINSTR
STRINGS = ALLOC | c.SHF_MERGE | c.SHF_STRINGS


@pytest.mark.parametrize(
    ("name", "flags", "expected"),
    [
        (".text.f", CODE, Role.TEXT),
        (".init.text", CODE, Role.TEXT),
        (".rodata.table", ALLOC, Role.RODATA),
        (".rodata", WRITE, Role.RODATA),
        (".rodata.str1.1", STRINGS, Role.STRINGS),
        (".rodata.cst8", ALLOC | c.SHF_MERGE, Role.CONSTANTS),
        (".data..read_mostly", WRITE, Role.DATA),
        (".data.rel.ro.local", WRITE, Role.RODATA),
        ("__bug_table", WRITE, Role.SITES),
        (".altinstr_replacement", CODE, Role.PIECES),
        ("___ksymtab_gpl+foo", ALLOC, Role.REGISTRY),
        (".initcall6.init", WRITE, Role.REGISTRY),
        (".runtime_ptr_dentry_hashtable", ALLOC, Role.SITES),
        ("__mystery", WRITE, Role.UNKNOWN),
        (".comment", 0, Role.DROPPED),
        (".something.else", 0, Role.DROPPED),
    ],
)
def test_a_section_has_its_role(name: str, flags: int, expected: Role) -> None:
    assert role(name, c.SHT_PROGBITS, flags) is expected


def test_every_row_with_lines_names_fields_inside_its_entries() -> None:
    row = special("__bug_table")
    assert row is not None
    assert row.lines
    assert all(line.offset + line.size <= line.entry and max(line.strings) < line.entry for line in row.lines)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("foo", None),
        ("foo.isra.0", "foo"),
        ("foo.isra.6.constprop.26", "foo"),
        ("CSWTCH.12", "CSWTCH"),
        ("bar.llvm.1234567890", "bar"),
        ("bar.lto_priv.0", "bar"),
        ("foo2", None),
        ("ioctx_alloc.__key", None),
        ("ioctx_alloc.__key.40", "ioctx_alloc.__key"),
        ("__UNIQUE_ID_import_ns264", "__UNIQUE_ID_"),
    ],
)
def test_what_a_suffix_was_put_on(name: str, expected: str | None) -> None:
    assert declared(name) == expected


def test_parts_name_their_function() -> None:
    assert cold_parent("f.isra.0.cold.3") == "f.isra.0"
    assert cold_parent("f.cold") == "f"
    assert cold_parent("cold") is None
    assert prefix_owner("__pfx_f") == "f"
    assert renamed("bar.llvm.12") == "bar"
    assert renamed("bar.constprop.0") is None
