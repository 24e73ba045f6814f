"""Clang's optimisation records: reading them, and what each remark means."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from klpkit.errors import FormatError, UserError
from klpkit.records.model import EffectTable, Location
from klpkit.records.optrecords import HARMLESS, LOCAL_PASSES, MEANINGS, SILENT_PASSES, read_opt_records
from klpkit.records.remarks import KINDS, Argument, Remark, RemarkSyntaxError, parse_remark

CLANGS = ("clang-16", "clang-19")
SOURCE = r"""
extern int ext(int), cold_thing(const char *) __attribute__((cold));
void abort(void) __attribute__((noreturn));
static int small(int a) { return a * 3 + 1; }
static inline __attribute__((always_inline)) int always(int a) { return ext(a) + small(a); }
static int byptr(const int *p, int unused) __attribute__((noinline));
static int byptr(const int *p, int unused) { return ext(*p) + ext(*p * 2); }
static int odd(int a) __asm__("we'ird \"x\" # {name}");
static int odd(int a) { return ext(a) - 1; }
int user1(int a) { return always(a) + byptr(&a, 3); }
int user2(int a) { return odd(a); }
int user6(int a) {
    if (a > 1000) { cold_thing("a"); cold_thing("b"); cold_thing("c"); cold_thing("d"); abort(); }
    return ext(a);
}
"""
HOT_COLD = ("-mllvm", "-hot-cold-split=true", "-mllvm", "-hotcoldsplit-threshold=-1")
OUTLINE = ("-mllvm", "-ir-outliner", "-mllvm", "-ir-outlining-no-cost")
DOCUMENT = """--- !Passed
Pass:            inline
Name:            Inlined
DebugLoc:        { File: a.c, Line: 11, Column: 26 }
Function:        user
Args:
  - Callee:          body
    DebugLoc:        { File: a.c, Line: 4, Column: 0 }
  - String:          ' inlined into '
  - Caller:          user
    DebugLoc:        { File: a.c, Line: 10, Column: 0 }
...
"""


@pytest.fixture(params=CLANGS)
def clang(request: pytest.FixtureRequest) -> str:
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


def record(clang: str, folder: Path, *flags: str, name: str = "a.c") -> Path:
    source = folder / name
    source.write_text(SOURCE)
    out = folder / "a.opt.yaml"
    how = ["-O2", "-fsave-optimization-record", f"-foptimization-record-file={out}", "-Wno-all"]
    subprocess.run([clang, *how, *flags, "-c", source.name, "-o", "a.o"], cwd=folder, check=True)
    return out


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "r.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def summary(table: EffectTable) -> set[tuple[str, str, str]]:
    return {(effect.body.symbol, effect.user.symbol, effect.cause) for effect in table.effects()}


Pairs = list[tuple[str, Any]]


def oracle(text: str) -> Remark:
    """The same document as PyYAML reads it; maps as pairs, for LLVM's outliner repeats a key."""

    class Loader(yaml.BaseLoader):
        pass

    Loader.add_constructor("tag:yaml.org,2002:map", lambda loader, node: loader.construct_pairs(node, deep=True))
    for kind in KINDS:
        Loader.add_constructor(
            f"!{kind}", lambda loader, node: (node.tag[1:], loader.construct_pairs(node, deep=True))
        )
    kind, pairs = yaml.load(text, Loader)
    fields = dict(pairs)
    args = tuple(Argument(item[0][0], item[0][1], place(item[1:])) for item in fields.get("Args", ()))
    return Remark(kind, fields["Pass"], fields["Name"], fields["Function"], place(pairs), args)


def place(pairs: Pairs) -> Location | None:
    at = dict(dict(pairs).get("DebugLoc") or [("File", "")])
    return Location(at["File"], int(at["Line"]), int(at["Column"])) if at["File"] else None


@pytest.mark.parametrize("flags", [("-g",), (), ("-g", *HOT_COLD), OUTLINE], ids=["g", "plain", "cold", "outline"])
def test_every_document_clang_writes_reads_as_pyyaml_reads_it(
    clang: str, tmp_path: Path, flags: tuple[str]
) -> None:
    name = "it's a, {long}: #name that makes LLVM break the line of a place after a comma, as it does.c"
    documents = record(clang, tmp_path, *flags, name=name).read_text().split("\n...\n")[:-1]
    assert len(documents) > 20
    for document in documents:
        assert parse_remark(document) == oracle(document)


def test_inlining_names_both_functions_their_places_and_the_call(clang: str, tmp_path: Path) -> None:
    table = read_opt_records(record(clang, tmp_path, "-g"), unit="a.o")
    found = {(e.body.symbol, e.user.symbol): e for e in table.effects()}
    assert set(found) >= {("always", "user1"), ('we\'ird "x" # {name}', "user2")}
    # LLVM 16 inlines `small` into `always` first, LLVM 19 into `user1` afterwards.
    assert {body for body, _ in found} == {"always", "small", 'we\'ird "x" # {name}'}
    effect = found["always", "user1"]
    assert (effect.body.unit, effect.cause) == ("a.o", "inline")
    assert effect.body.location == Location("a.c", 5)
    assert effect.user.location == Location("a.c", 10)
    assert effect.where == Location("a.c", 10)
    assert table.warnings == []


def test_a_split_off_cold_part_depends_on_its_function(clang: str, tmp_path: Path) -> None:
    table = read_opt_records(record(clang, tmp_path, *HOT_COLD))
    assert ("user6", "user6.cold.1", "cold") in summary(table)


def test_an_outliner_does_not_name_the_users_so_it_warns(clang: str, tmp_path: Path) -> None:
    source = "int ext(int);" + "".join(
        f"int f{i}(int a) {{ int s = {i}; s += ext(a) * ext(s); s ^= ext(s + a); return s * ext(s - a); }}"
        for i in range(4)
    )
    (tmp_path / "o.c").write_text(source)
    flags = ["-O2", *OUTLINE, "-fsave-optimization-record", "-c", "o.c", "-o", "o.o"]
    subprocess.run([clang, *flags], cwd=tmp_path, check=True)
    (warning,) = read_opt_records(tmp_path / "o.opt.yaml").warnings
    assert "iroutliner" in warning
    assert "Outlined" in warning


def test_a_removed_argument_leaves_no_remark_so_its_pass_is_listed_as_silent(clang: str, tmp_path: Path) -> None:
    out = record(clang, tmp_path)
    subprocess.run([clang, "-O2", "-S", "-emit-llvm", "-w", "a.c", "-o", "a.ll"], cwd=tmp_path, check=True)
    (definition,) = re.findall(r"define.*@byptr\(.*", (tmp_path / "a.ll").read_text())
    assert "%1" not in definition
    assert "deadargelim" not in out.read_text()
    assert "deadargelim" in SILENT_PASSES


def test_partial_inlining_is_inlining_and_its_summary_no_warning(tmp_path: Path) -> None:
    text = DOCUMENT.replace("Pass:            inline", "Pass:            partial-inlining")
    text = text.replace("Name:            Inlined", "Name:            PartiallyInlined")
    closing = (
        "Function:        body\nArgs:\n  - String:          Partially inlined into at least one caller\n...\n"
    )
    text += "--- !Passed\nPass:            partial-inlining\nName:            PartiallyInlined\n" + closing
    table = read_opt_records(write(tmp_path, text))
    assert summary(table) == {("body", "user", "inline")}
    assert table.warnings == []


def test_the_original_of_a_specialised_copy_comes_from_its_name(tmp_path: Path) -> None:
    table = read_opt_records(write(tmp_path, DOCUMENT.replace("user\n", "op.specialized.2\n")))
    assert summary(table) == {
        ("body", "op.specialized.2", "inline"),
        ("op", "op.specialized.2", "constprop"),
    }


@pytest.mark.parametrize("name", ["single-impl", "virtual-const-prop"])
def test_devirtualised_calls_depend_on_their_target(tmp_path: Path, name: str) -> None:
    text = (
        f"--- !Passed\nPass:            wholeprogramdevirt\nName:            {name}\nFunction:        caller\n"
        f"Args:\n  - Optimization:    {name}\n  - String:          ': devirtualized a call to '\n"
        "  - FunctionName:    target\n...\n"
    )
    assert summary(read_opt_records(write(tmp_path, text))) == {("target", "caller", "devirtualisation")}


@pytest.mark.parametrize(
    "change", [("inline\n", "brand-new\n"), ("Inlined\n", "Reinlined\n")], ids=["pass", "name"]
)
def test_an_unknown_remark_is_a_warning_never_dropped(tmp_path: Path, change: tuple[str, str]) -> None:
    table = read_opt_records(write(tmp_path, DOCUMENT.replace(*change) * 3))
    assert len(table) == 0
    (warning,) = table.warnings
    assert "3 remark(s)" in warning
    assert change[1].strip() in warning


def test_an_inlining_remark_without_its_callee_is_a_warning(tmp_path: Path) -> None:
    table = read_opt_records(write(tmp_path, DOCUMENT.replace("Callee:", "Mystery:")))
    assert (len(table), len(table.warnings)) == (0, 1)


def test_missed_and_local_remarks_give_nothing(tmp_path: Path) -> None:
    text = DOCUMENT.replace("!Passed", "!Missed") + DOCUMENT.replace("inline\n", "licm\n")
    table = read_opt_records(write(tmp_path, text))
    assert (len(table), table.warnings) == (0, [])


def test_no_pass_is_both_local_and_interprocedural() -> None:
    assert not LOCAL_PASSES & {name for name, _ in [*MEANINGS, *HARMLESS]}
    assert not LOCAL_PASSES & set(SILENT_PASSES)


def test_the_path_is_the_unit_where_none_is_given(tmp_path: Path) -> None:
    path = write(tmp_path, DOCUMENT)
    assert read_opt_records(path).function(0).unit == str(path)


def test_a_comma_in_a_file_name_without_quotes_is_part_of_it(clang: str, tmp_path: Path) -> None:
    table = read_opt_records(record(clang, tmp_path, "-g", name="a,b.c"))
    assert {effect.where.file for effect in table.effects() if effect.where} == {"a,b.c"}


def test_an_empty_file_holds_no_remark(tmp_path: Path) -> None:
    assert len(read_opt_records(write(tmp_path, ""))) == 0


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (DOCUMENT + DOCUMENT[:-4], 13),
        (DOCUMENT + DOCUMENT[:-30] + "\n" + DOCUMENT, 13),
        (DOCUMENT + "rubbish\n" + DOCUMENT, 13),
        (DOCUMENT + DOCUMENT.replace("!Passed", "!Wished"), 13),
        (DOCUMENT + DOCUMENT.replace("Pass: ", "Puss: "), 13),
        (DOCUMENT + DOCUMENT.replace("Column: 26 }", "Column: 26"), 17),
        (DOCUMENT + DOCUMENT.replace("' inlined into '", "' inlined into "), 21),
        (DOCUMENT + DOCUMENT.replace("Callee:          body", "Callee:"), 19),
        (DOCUMENT + DOCUMENT.replace("Function:        user\n", ""), 22),
        ("\0\1\2binary", 1),
    ],
    ids=["no-end", "cut", "rubbish", "kind", "key", "brace", "quote", "value", "function", "binary"],
)
def test_a_malformed_document_is_refused_with_its_line_or_counted(tmp_path: Path, text: str, line: int) -> None:
    path = write(tmp_path, text)
    with pytest.raises(FormatError, match=rf"r\.yaml: line {line}: ") as caught:
        read_opt_records(path)
    assert "--lenient" in caught.value.hint
    table = read_opt_records(path, lenient=True)
    assert "1 malformed document(s) skipped" in table.warnings[-1]
    assert len(table) == (0 if text.startswith("\0") else 1)


@pytest.mark.parametrize("magic", [b"RMRK\0", b"REMARKS\0x", b"\x1f\x8b\x08"], ids=["bitstream", "strtab", "gzip"])
def test_another_form_is_refused_with_a_hint(tmp_path: Path, magic: bytes) -> None:
    with pytest.raises(UserError, match="-fsave-optimization-record=yaml"):
        read_opt_records(write(tmp_path, magic + b"\0" * 20))


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="line 7: this is not UTF-8"):
        read_opt_records(write(tmp_path, DOCUMENT.encode().replace(b"body", b"b\xffdy")))


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read_opt_records(tmp_path / "none.yaml")


# LLVM's own choice of style needs not be known: any style that YAML allows for the value must read back the same.
TEXT = st.text(st.characters(blacklist_categories=("Cs",), max_codepoint=0x2FFF), max_size=30)
LINE = st.text(st.characters(min_codepoint=32, max_codepoint=0x7E), min_size=1, max_size=20)


def double(value: str) -> str:
    return '"' + "".join(c if " " <= c <= "~" and c not in '"\\' else f"\\U{ord(c):08X}" for c in value) + '"'


def single(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


SCALAR = st.one_of(TEXT.map(double), LINE.map(single), st.from_regex(r"[A-Za-z_][A-Za-z0-9_.^-]*", fullmatch=True))
PLACE = st.builds("{{ File: {}, Line: {}, Column: {} }}".format, SCALAR, st.integers(0, 9999), st.integers(0, 99))
ARGUMENT = st.builds("  - {}:   {}\n{}".format, st.sampled_from(["Callee", "Caller", "String"]), SCALAR,
                     st.one_of(st.just(""), PLACE.map("    DebugLoc:        {}\n".format)))  # fmt: skip
DOCUMENTS = st.builds(
    "--- !{}\nPass:            {}\nName:            {}\n{}Function:        {}\n{}".format,
    st.sampled_from(sorted(KINDS)),
    SCALAR,
    SCALAR,
    st.one_of(st.just(""), PLACE.map("DebugLoc:        {}\n".format)),
    SCALAR,
    st.lists(ARGUMENT, max_size=4).map(lambda args: "Args:\n" + "".join(args) if args else ""),
)


@given(DOCUMENTS)
def test_generated_documents_read_as_pyyaml_reads_them(document: str) -> None:
    assert parse_remark(document) == oracle(document)


@given(st.integers(0, len(DOCUMENT)), st.integers(0, 12), LINE)
def test_a_damaged_document_is_refused_or_read_as_pyyaml_reads_it(at: int, length: int, junk: str) -> None:
    document = DOCUMENT[:-4]
    damaged = document[:at] + junk + document[at + length :]
    with contextlib.suppress(RemarkSyntaxError):
        assert parse_remark(damaged) == oracle(damaged)
