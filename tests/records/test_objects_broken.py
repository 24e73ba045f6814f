"""Broken objects: the readers of records and models refuse them in words, and never with a traceback."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from klpkit.elf import ElfFile
from klpkit.elf.modelread import model_of
from klpkit.errors import FormatError, KlpkitError
from klpkit.records.lightelf import read_light
from klpkit.records.objects import ObjectCode

SOURCE = b"""
extern int other(int);
struct s { int a, b; };
static __attribute__((noinline)) int sra(struct s *p, int unused) { return p->a * 3 + other(p->b); }
int one(struct s *p) { return sra(p, 1) + 7; }
int two(struct s *p) { return sra(p, 2) + sra(p + 1, 3); }
"""
# No shrinking: a failing example is small enough, and shrinking it takes minutes.
MANY = settings(
    max_examples=250,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    database=None,
    suppress_health_check=list(HealthCheck),
)
VALUES = (0, 1, 2, 3, 4, 8, 17, 18, 0x40, 0x7F, 0x80, 0xFE, 0xFF)


@pytest.fixture(scope="module", params=["-fno-function-sections", "-ffunction-sections"])
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path: Path = tmp_path_factory.mktemp("broken") / "a.o"
    subprocess.run(["gcc", "-O2", request.param, "-c", "-x", "c", "-", "-o", path], input=SOURCE, check=True)
    return path.read_bytes()


def full(data: bytes) -> set[tuple[str, str, str]]:
    code = ObjectCode(ElfFile(data, "sample.o"))
    return set(code.pieces.effects(list(code.references())))


def mutated(sample: bytes, data: st.DataObject) -> bytes:
    headers = struct.unpack_from("<Q", sample, 0x28)[0]
    spots = st.one_of(st.integers(16, 63), st.integers(headers, len(sample) - 1), st.integers(64, len(sample) - 1))
    broken = bytearray(sample)
    for at in data.draw(st.lists(spots, min_size=1, max_size=4)):
        broken[at] = data.draw(st.sampled_from(VALUES))
    return bytes(broken)


@MANY
@given(st.data())
def test_the_light_reader_says_what_the_full_one_says_or_refuses(sample: bytes, data: st.DataObject) -> None:
    broken = mutated(sample, data)
    try:
        light = set(read_light(broken, "sample.o").effects)
        expected = full(broken)
    except KlpkitError as error:
        said = str(error)
    else:
        said = "sample.o: read by both"
        assert light == expected
    assert said.startswith("sample.o: ")


@MANY
@given(st.data())
def test_a_model_is_refused_or_written_and_read_again(sample: bytes, data: st.DataObject) -> None:
    broken = mutated(sample, data)
    try:
        model = model_of(ElfFile(broken, "sample.o"))
    except KlpkitError as error:
        said = str(error)
    else:
        said = "sample.o: a model"
        again = model_of(ElfFile(model.to_bytes(), "again.o"))
        assert [s.name for s in again.sections] == [s.name for s in model.sections]
        assert sorted(s.name for s in again.symbols) == sorted(s.name for s in model.symbols)
    assert said.startswith("sample.o: ")


def test_a_cut_object_is_refused_at_every_length(sample: bytes) -> None:
    for length in range(0, len(sample), 7):
        with pytest.raises(FormatError, match=r"^cut\.o"):
            read_light(sample[:length], "cut.o")
