"""DWARF that is broken, missing or of a kind that is refused: a clear error, never a traceback or a hang."""

from __future__ import annotations

import gzip
import lzma
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from klpkit.elf import ElfFile
from klpkit.errors import FormatError, KlpkitError, RefusedError, UserError
from klpkit.records import _dwarffind, _dwarfwalk
from klpkit.records.dwarf import nocall_functions, read_dwarf
from klpkit.records.images import open_image
from klpkit.records.model import EffectTable

SOURCE = """
int g;
struct pair { int a, b; struct { long c; } d; };
enum kind { ONE, TWO };
static inline __attribute__((always_inline)) int leaf(int x) { g += x; return x * g + 3; }
static inline __attribute__((always_inline)) int middle(struct pair *p) { return leaf(p->a) + leaf(g + p->b); }
int user(struct pair *p, enum kind k) { return k == ONE ? middle(p) : leaf(p->d.c); }
__attribute__((cold)) void unlikely(int x);
int split(int x) { if (__builtin_expect(x > 100, 0)) { unlikely(x); return leaf(x + 1); } return leaf(x); }
"""


def compiled(
    folder: Path, *flags: str, compiler: str = "gcc-12", output: str = "one.o", source: str = SOURCE
) -> Path:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    (folder / "one.c").write_text(source)
    subprocess.run([compiler, "-O2", *flags, "one.c", "-o", output], cwd=folder, check=True, capture_output=True)
    return folder / output


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Linked images, in which debug sections are as they are read, by their kind."""
    folder = tmp_path_factory.mktemp("images")
    link = ("-shared", "-fPIC", "-g")
    found = {
        "gcc, version 5": compiled(folder, *link, output="a.so").read_bytes(),
        "gcc, version 4": compiled(folder, *link, "-gdwarf-4", output="b.so").read_bytes(),
    }
    if shutil.which("clang-19"):
        found["clang"] = compiled(folder, *link, compiler="clang-19", output="c.so").read_bytes()
    return found


def outcome(path: Path, image: bytes | bytearray) -> EffectTable | KlpkitError:
    """What reading `image` from `path` ends with; anything but these two is a failure."""
    path.write_bytes(image)
    try:
        return read_dwarf(path)
    except KlpkitError as error:
        return error


@pytest.fixture
def restored_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts back how many cursors are few, which the next test changes."""
    monkeypatch.setattr(_dwarfwalk, "FEW", _dwarfwalk.FEW)


@pytest.mark.usefixtures("restored_walk")
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_of_debug_sections_are_errors_or_answers(
    images: dict[str, bytes], tmp_path: Path, data: st.DataObject
) -> None:
    _dwarfwalk.FEW = data.draw(st.sampled_from([0, 24]))
    image = bytearray(images[data.draw(st.sampled_from(sorted(images)))])
    sections = [s for s in ElfFile(bytes(image)).sections if s.name.startswith(".debug_") and s.size]
    for _ in range(data.draw(st.integers(1, 6))):
        section = data.draw(st.sampled_from(sections))
        at = section.offset + data.draw(st.integers(0, section.size - 1))
        image[at] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from([0, 0x7F, 0x80, 0xFF])))
    result = outcome(tmp_path / "changed.so", image)
    if isinstance(result, KlpkitError):
        assert "changed.so" in str(result)
    else:
        assert all(str(effect) for effect in result.effects())


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cut_debug_sections_never_give_another_effect(
    images: dict[str, bytes], tmp_path: Path, data: st.DataObject
) -> None:
    whole = images[data.draw(st.sampled_from(sorted(images)))]
    sections = [s for s in ElfFile(whole).sections if s.name.startswith(".debug_") and s.size]
    section = data.draw(st.sampled_from(sections))
    image = resized(whole, section.index, data.draw(st.integers(0, section.size - 1)))
    result, expected = outcome(tmp_path / "cut.so", image), outcome(tmp_path / "whole.so", whole)
    assert isinstance(expected, EffectTable)
    if isinstance(result, KlpkitError):
        assert "cut.so" in str(result)
    else:
        assert len(result) == len(expected)


def resized(image: bytes, section: int, size: int) -> bytes:
    """`image` whose section number `section` claims to have `size` bytes."""
    changed = bytearray(image)
    (headers,) = struct.unpack_from("<Q", changed, 40)
    struct.pack_into("<Q", changed, headers + 64 * section + 32, size)
    return bytes(changed)


def test_a_cut_information_section_is_an_error_not_a_shorter_answer(
    images: dict[str, bytes], tmp_path: Path
) -> None:
    image = images["gcc, version 5"]
    sections = ElfFile(image).sections
    (index,) = sections.find(".debug_info")
    (tmp_path / "cut.so").write_bytes(resized(image, index, int(sections.size[index]) - 5))
    with pytest.raises(FormatError, match=r"cut\.so"):
        read_dwarf(tmp_path / "cut.so")


def test_no_debug_information_says_what_to_install(tmp_path: Path) -> None:
    path = compiled(tmp_path, "-c")
    with pytest.raises(UserError, match="-g"):
        read_dwarf(path)


def test_split_debug_information_is_refused(tmp_path: Path) -> None:
    for version in (4, 5):
        path = compiled(tmp_path, "-g", f"-gdwarf-{version}", "-gsplit-dwarf", "-c")
        with pytest.raises(RefusedError) as caught:
            read_dwarf(path)
        assert caught.value.slug == "dwarf-split"
        with pytest.raises(RefusedError) as caught:
            read_dwarf(tmp_path / "one.dwo")
        assert caught.value.slug == "dwarf-split"


def test_code_without_debug_information_is_warned_of(tmp_path: Path) -> None:
    described = compiled(tmp_path, "-g", "-c", output="described.o")
    silent = compiled(tmp_path, "-c", output="silent.o", source="int silent(int x) { return x; }")
    joined = tmp_path / "joined.o"
    subprocess.run(["ld", "-r", str(described), str(silent), "-o", str(joined)], check=True)
    assert read_dwarf(described).warnings == []
    assert [warning.partition(" (")[0] for warning in read_dwarf(joined).warnings] == [
        "1 functions have no debug information"
    ]


def test_an_unknown_version_is_refused(images: dict[str, bytes], tmp_path: Path) -> None:
    image = bytearray(images["gcc, version 5"])
    (index,) = ElfFile(bytes(image)).sections.find(".debug_info")
    struct.pack_into("<H", image, int(ElfFile(bytes(image)).sections.offset[index]) + 4, 6)
    (tmp_path / "six.so").write_bytes(bytes(image))
    with pytest.raises(RefusedError) as caught:
        read_dwarf(tmp_path / "six.so")
    assert caught.value.slug == "dwarf-version"


@pytest.mark.parametrize(
    ("form", "directive", "slug"),
    [
        ("0x1c", ".long", "dwarf-alternate-file"),
        ("0x1f20", ".long", "dwarf-alternate-file"),
        ("0x20", ".quad", "dwarf-type-unit-reference"),
        ("0x16", ".long", "dwarf-indirect-form"),
    ],
)
def test_references_to_elsewhere_are_refused(tmp_path: Path, form: str, directive: str, slug: str) -> None:
    text = CIRCLE.replace("0x31, 0x13", f"0x31, {form}")
    text = text.replace(".long .Lfirst - .Lstart", f"{directive} 0").replace(
        ".long .Lsecond -", f"{directive} 0 -"
    )
    with pytest.raises(RefusedError) as caught:
        read_dwarf(assembled(tmp_path, text.replace("0 - .Lstart", "0")))
    assert caught.value.slug == slug


def test_references_in_a_circle_are_an_error(tmp_path: Path) -> None:
    unit = assembled(tmp_path, CIRCLE)
    with pytest.raises(FormatError, match="circle"):
        read_dwarf(unit)


def test_a_sibling_that_points_back_is_an_error(tmp_path: Path) -> None:
    unit = assembled(tmp_path, CIRCLE.replace(".Lend - .Lstart", "0"))
    with pytest.raises(FormatError, match="sibling"):
        read_dwarf(unit)


# One unit: two subprograms that call each other their abstract origin.
CIRCLE = """
    .section .debug_abbrev,"",@progbits
    .uleb128 1, 0x11
    .byte 1
    .uleb128 0, 0
    .uleb128 2, 0x2e
    .byte 1
    .uleb128 1, 0x13, 0x31, 0x13, 0x20, 0xb, 0, 0
    .byte 0
    .section .debug_info,"",@progbits
.Lstart:
    .long .Lafter - .Lversion
.Lversion:
    .short 5
    .byte 1, 8
    .long .debug_abbrev
    .uleb128 1
.Lfirst:
    .uleb128 2
    .long .Lend - .Lstart
    .long .Lsecond - .Lstart
    .byte 1
    .byte 0
.Lend:
.Lsecond:
    .uleb128 2
    .long .Llast - .Lstart
    .long .Lfirst - .Lstart
    .byte 1
    .byte 0
.Llast:
    .byte 0
.Lafter:
"""


def assembled(folder: Path, text: str) -> Path:
    (folder / "unit.s").write_text(text)
    subprocess.run(["as", "--64", "unit.s", "-o", "unit.o"], cwd=folder, check=True)
    return folder / "unit.o"


@pytest.mark.parametrize("suffix", [".xz", ".gz", ".zst"])
def test_packed_modules_read_like_plain_ones(tmp_path: Path, suffix: str) -> None:
    path = compiled(tmp_path, "-g", "-c", output="one.ko")
    plain = list(read_dwarf(path).effects())
    assert plain
    if suffix == ".zst" and shutil.which("zstd") is None:
        pytest.skip("zstd is not installed")
    packed = tmp_path / f"one.ko{suffix}"
    if suffix == ".zst":
        subprocess.run(["zstd", "-q", str(path)], check=True)
    else:
        packed.write_bytes({".xz": lzma.compress, ".gz": gzip.compress}[suffix](path.read_bytes()))
    assert list(read_dwarf(packed).effects()) == plain
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(FormatError, match="broken"):
        read_dwarf(packed)


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.ko"):
        open_image(tmp_path / "nothing.ko")


def separated(folder: Path, *flags: str) -> tuple[Path, Path]:
    """A stripped image and its debug file."""
    path = compiled(folder, "-g", "-shared", "-fPIC", *flags, output="image.so")
    debug = folder / "image.so.debug"
    subprocess.run(["objcopy", "--only-keep-debug", str(path), str(debug)], check=True)
    subprocess.run(["objcopy", "-g", f"--add-gnu-debuglink={debug}", str(path)], check=True)
    return path, debug


def test_a_debug_file_is_read_where_it_is_named(tmp_path: Path) -> None:
    path, debug = separated(tmp_path, "-Wl,--build-id")
    other = tmp_path / "elsewhere"
    debug.rename(other)
    with pytest.raises(UserError):
        read_dwarf(path)
    assert {e.body.symbol for e in read_dwarf(path, debug=other).effects()} == {"leaf", "middle"}


def test_a_debug_file_is_found_by_link_and_by_build_identifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, debug = separated(tmp_path, "-Wl,--build-id")
    assert len(read_dwarf(path)) > 2
    identifier = _dwarffind.build_id(open_image(path)).hex()
    place = tmp_path / "debug" / ".build-id" / identifier[:2]
    place.mkdir(parents=True)
    debug.rename(place / f"{identifier[2:]}.debug")
    monkeypatch.setattr(_dwarffind, "DEBUG_FOLDER", tmp_path / "debug")
    assert len(read_dwarf(path)) > 2


def test_a_debug_file_of_another_build_is_refused(tmp_path: Path) -> None:
    path, _ = separated(tmp_path, "-Wl,--build-id=0x1234")
    other = tmp_path / "other"
    other.mkdir()
    _, debug = separated(other, "-Wl,--build-id=0x5678")
    with pytest.raises(RefusedError) as caught:
        read_dwarf(path, debug=debug)
    assert caught.value.slug == "debug-file-mismatch"


def test_an_image_without_symbols_warns_that_clones_have_no_names(
    images: dict[str, bytes], tmp_path: Path
) -> None:
    image = bytearray(images["gcc, version 5"])
    elf = ElfFile(bytes(image))
    (headers,) = struct.unpack_from("<Q", image, 40)
    for section in elf.sections:
        if section.name in (".symtab", ".dynsym"):
            struct.pack_into("<I", image, headers + 64 * section.index + 4, 1)
    result = outcome(tmp_path / "stripped.so", image)
    assert isinstance(result, EffectTable)
    assert any("no symbol table" in warning for warning in result.warnings)
    assert {effect.user.symbol for effect in result.effects()} == {"user", "split"}


@pytest.mark.parametrize("compiler", ["clang-16", "clang-19"])
def test_functions_that_are_not_called_as_declared_are_named(tmp_path: Path, compiler: str) -> None:
    source = """
    int g;
    static __attribute__((noinline)) int drops_one(int a, int unused) { g += a; return g; }
    int user(int x) { return drops_one(x, 3) + drops_one(x + g, 4); }
    """
    path = compiled(tmp_path, "-g", "-c", compiler=compiler, source=source)
    assert [function.symbol for function in nocall_functions(path)] == ["drops_one"]
