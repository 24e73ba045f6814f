"""Broken objects end in a `KlpkitError` that names the place, whatever was broken."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from elf_samples import SOURCE, compile_c
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from klpkit.elf import ElfFile
from klpkit.elf import constants as c
from klpkit.errors import FormatError, KlpkitError

MANY = settings(max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_c(SOURCE, tmp_path_factory.mktemp("elf") / "a.o", "-ffunction-sections").read_bytes()


def read_everything(data: bytes) -> str:
    """Touch every table; what the error says, empty if all could be read."""
    try:
        elf = ElfFile(data, "sample.o")
        assert len(elf.sections.names) == len(elf.sections)
        assert len(elf.symbols.names) == len(elf.symbols)
        for index in elf.relocation_sections:
            for relocation in elf.relocations(index):
                assert elf.symbols[relocation.symbol].section < len(elf.sections)
        for index in range(len(elf.sections)):
            elf.content(index)
        elf.groups()
        list(elf.notes())
    except KlpkitError as error:
        return str(error) or "an error that says nothing"
    return ""


def test_the_sample_itself_reads(sample: bytes) -> None:
    assert read_everything(sample) == ""


@MANY
@given(st.data())
def test_changed_bytes_never_cause_a_traceback(sample: bytes, data: st.DataObject) -> None:
    broken = bytearray(sample)
    headers = struct.unpack_from("<Q", sample, 0x28)[0]
    spots = st.one_of(st.integers(0, 63), st.integers(headers, len(sample) - 1), st.integers(0, len(sample) - 1))
    for at in data.draw(st.lists(spots, min_size=1, max_size=6)):
        broken[at] = data.draw(st.sampled_from((0, 1, 2, 4, 9, 17, 18, 0x7F, 0x80, 0xFF)))
    message = read_everything(bytes(broken))
    assert not message or message.startswith("sample.o: ")


@MANY
@given(st.data())
def test_a_cut_file_is_an_error(sample: bytes, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(sample) - 1))
    assert read_everything(sample[:length]).startswith("sample.o: ")


def set_word(data: bytearray, at: int, value: int) -> None:
    struct.pack_into("<I", data, at, value)


def section_at(data: bytes, name: str) -> int:
    (index,) = ElfFile(data).sections.find(name)
    return int(struct.unpack_from("<Q", data, 0x28)[0]) + 64 * index


BREAKS: dict[str, tuple[str, Callable[[bytearray], None]]] = {
    "offset of a section": (
        "past the end",
        lambda d: struct.pack_into("<Q", d, section_at(d, ".text.entry") + 24, 1 << 63),
    ),
    "size of a section": (
        "past the end",
        lambda d: struct.pack_into("<Q", d, section_at(d, ".text.entry") + 32, (1 << 64) - 1),
    ),
    "string table link": ("no string table", lambda d: set_word(d, section_at(d, ".symtab") + 40, 1)),
    "relocated section": ("to relocate", lambda d: set_word(d, section_at(d, ".rela.text.entry") + 44, 9999)),
    "relocation symbols": ("no symbol table", lambda d: set_word(d, section_at(d, ".rela.text.entry") + 40, 1)),
    "relocation entry size": (
        "entries of",
        lambda d: struct.pack_into("<Q", d, section_at(d, ".rela.text.entry") + 56, 16),
    ),
    "section name": ("no name", lambda d: set_word(d, section_at(d, ".text.entry"), 0xFFFFFFFF)),
}


def tables(data: bytes) -> list[object]:
    elf = ElfFile(data, "sample.o")
    return [elf.sections.names, elf.symbols.names, *(elf.relocations(i) for i in elf.relocation_sections)]


@pytest.mark.parametrize("what", BREAKS)
def test_the_error_names_what_is_wrong(sample: bytes, what: str) -> None:
    message, change = BREAKS[what]
    broken = bytearray(sample)
    change(broken)
    with pytest.raises(FormatError, match=message):
        tables(bytes(broken))


def test_a_relocation_outside_its_section_is_an_error(sample: bytes) -> None:
    elf = ElfFile(sample)
    (index,) = elf.sections.find(".rela.text.entry")
    broken = bytearray(sample)
    struct.pack_into("<Q", broken, elf.sections[index].offset, 1 << 40)
    with pytest.raises(FormatError, match="outside the section"):
        ElfFile(bytes(broken)).relocations(index)


def test_escaped_section_numbers_without_their_table_are_an_error(sample: bytes) -> None:
    elf = ElfFile(sample)
    (index,) = elf.sections.find(".symtab")
    broken = bytearray(sample)
    struct.pack_into("<H", broken, elf.sections[index].offset + 24 + 6, c.SHN_XINDEX)
    with pytest.raises(FormatError, match="SHN_XINDEX"):
        assert len(ElfFile(bytes(broken)).symbols)
