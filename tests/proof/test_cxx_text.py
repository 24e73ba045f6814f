"""C++ text and names: where attributes and bodies are, what people call a function, what the unwinder is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klpkit.elf import ElfFile
from klpkit.programs import run
from klpkit.proof.asking import _split
from klpkit.proof.changes import changes
from klpkit.proof.cxxnames import identifier, matching, plain, qualified
from klpkit.proof.cxxtext import CxxText
from klpkit.proof.hiding import HidingError
from klpkit.proof.interposing import _may_throw
from klpkit.proof.marking import _DUMPED, Marking
from klpkit.proof.unwinding import unwinding

needs_gcc = pytest.mark.skipif(shutil.which("g++-12") is None, reason="g++-12 is not installed")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("int @f(int x) {#", "f"),
        ("int *@f(int x) noexcept(g(1)) {#", "f"),
        ("C::@C(int x) : a(x), b{x}, D<int>(x) {#", "C"),
        ("C::@C(int x) try : a(x) {#", "C"),
        ("struct C { @C(std::initializer_list<int> l = {}) {#", "C"),
        ("template<class T> auto @f(T x) -> decltype(x) {#", "f"),
        ("long @t<long>(long x) {#", "t"),
        ("int @operator()(int x) const {#", "operator"),
        ("bool @operator<(const C &o) const {#", "operator"),
        ("@operator int() {#", "operator"),
        ("C::@~C() {#", "~"),
        ("namespace ns { [[nodiscard]] static inline int @f() {#", "f"),
    ],
)
def test_the_body_behind_a_name(text: str, name: str) -> None:
    at, body = text.index("@"), text.index("#") - 1
    whole = text.replace("@", "").replace("#", "") + " } int after;"
    head = CxxText(whole).head_at(1, at + 1)
    assert head is not None
    assert whole[head.name :].startswith(name)
    assert head.opening == body - 1


@pytest.mark.parametrize(
    "text", ["struct @D : C { using C::C; };", "@C() = default;", "int @f(int);", "class @B {};", "@", "int @f("]
)
def test_a_name_without_a_body_has_no_head(text: str) -> None:
    assert CxxText(text.replace("@", "")).head_at(1, text.index("@") + 1) is None


def test_a_lambda_takes_its_attribute_behind_the_parameters() -> None:
    text = "int u() { auto f = [x](int y) mutable { return y; }; }"
    head = CxxText(text).head_at(1, text.index("[") + 1)
    assert head is not None
    assert text[: head.name].rstrip().endswith("(int y)")


def test_words_that_let_the_front_end_compute_calls_are_found() -> None:
    text = "int a; static constexpr int f(int x) { return x; }"
    head = CxxText(text).head_at(1, text.index("f(") + 1)
    assert head is not None
    assert [text[at:].split()[0] for at in head.constant] == ["constexpr"]


@given(st.text(alphabet="{}()<>[];:=~ab \n\"'*,", max_size=60), st.integers(1, 5), st.integers(1, 60))
def test_any_text_has_a_head_or_none(text: str, line: int, column: int) -> None:
    head = CxxText(text).head_at(line, column)
    assert head is None or text[head.opening] == "{"


@pytest.mark.parametrize(
    ("title", "whole", "short"),
    [
        ("ns::f(int)", "ns::f", "ns::f"),
        ("int ns::f<int, C<char> >(int, C<char>) const", "ns::f<int, C<char> >", "ns::f"),
        ("C::operator()(int)", "C::operator()", "C::operator()"),
        ("C::operator int()", "C::operator int", "C::operator int"),
        ("bool operator< <int>(C<int> const&)", "operator< <int>", "operator< <int>"),
        ("(anonymous namespace)::f(int)", "(anonymous namespace)::f", "(anonymous namespace)::f"),
        ("C<int>::~C()", "C<int>::~C", "C::~C"),
        ("user", "user", "user"),
    ],
)
def test_titles_are_taken_apart(title: str, whole: str, short: str) -> None:
    assert qualified(title) == whole
    assert plain(title) == short


def test_less_of_a_name_means_more_functions() -> None:
    titles = {"_Z1fi": "f(int)", "_ZN2ns1fEi": "ns::f(int)", "_ZN2ns1fEl": "ns::f(long)"}
    assert matching("_Z1fi", titles) == ["_Z1fi"]
    assert matching("f", titles) == ["_Z1fi"]
    assert matching("ns::f( int )", titles) == ["_ZN2ns1fEi"]
    assert matching("ns::f", titles) == ["_ZN2ns1fEi", "_ZN2ns1fEl"]
    assert matching("g", titles) == []


@pytest.mark.parametrize(
    ("spec", "file", "name"),
    [
        ("f", "", "f"),
        ("a/b.c:f", "a/b.c", "f"),
        ("ns::f(int)", "", "ns::f(int)"),
        ("a.cc:ns::f", "a.cc", "ns::f"),
        ("a.cc:_Z1fi", "a.cc", "_Z1fi"),
    ],
)
def test_a_file_is_told_from_a_namespace(spec: str, file: str, name: str) -> None:
    assert _split(spec) == (file, name)


def test_the_word_that_a_source_has() -> None:
    assert identifier("ns::C<int>::~C()") == "C"
    assert identifier("f") == "f"
    assert identifier("ns::f(int)") == "f"


def test_marks_are_found_by_any_symbol_of_a_place_and_only_there() -> None:
    text = "int /*klpkit A B */f() {/*klpkit-body A B */ } int /*klpkit C */g() {/*klpkit-body C */ }"
    hidden = Marking().hidden(text, ["B", "A"], {"C": "noinline"})
    assert hidden.count("noipa") == 1
    assert "/*klpkit-hidden A B */__attribute__((noipa)) f() {/**/if (0)" in hidden
    assert "__attribute__((noinline)) g() {/*klpkit-body C */ }" in hidden
    with pytest.raises(HidingError, match="no text of its own"):
        Marking().hidden(text, ["D"], {})


def test_an_attribute_is_found_behind_what_a_dump_tells_before_it() -> None:
    dump = ";; Function f (_Z1f, funcdef_no=1)\n\nRemoving basic block 7\n__attribute__((noipa))\nint f ()\n{\n}\n"
    dump += ";; Function g (_Z1g, funcdef_no=2)\n\nint g ()\n{\n  __attribute__((noipa))\n}\n"
    found = {match[1]: "noipa" in match[2] for match in _DUMPED.finditer(dump)}
    assert found == {"_Z1f": True, "_Z1g": False}


def test_a_front_end_s_own_nounwind_is_taken_from_one_function_only() -> None:
    text = "define i32 @f() #0 {\n}\ndefine i32 @g() #0 {\n}\nattributes #0 = { mustprogress nounwind uwtable }\n"
    line, mended = _may_throw("define i32 @f() #0 {", text)
    assert line == "define i32 @f() #1 {"
    assert mended == text + "attributes #1 = { mustprogress uwtable }\n"


@needs_gcc
def test_an_exception_table_that_alone_differs_is_a_change(tmp_path: Path) -> None:
    objects = []
    for promise in ("noexcept", ""):
        source = tmp_path / f"a{promise}.cc"
        source.write_text(
            f'extern "C" int probe(int) {promise}; int user(int x) noexcept {{ return probe(x) + 1; }}'
        )
        objects.append(source.with_suffix(".o"))
        run(["g++-12", "-O2", "-c", "-o", str(objects[-1]), str(source)])
    told = [unwinding(ElfFile.open(path))["_Z4useri"][0] for path in objects]
    assert not told[0].table
    assert told[1].table
    assert told[1].personality
    found = changes(*objects).by_symbol
    assert {name: change.how for name, change in found.items()} == {"_Z4useri": "its exception table differs"}


@needs_gcc
def test_where_an_exception_table_lies_makes_no_difference(tmp_path: Path) -> None:
    body = 'extern "C" int probe(int); struct G { ~G(); }; int user(int x) { try { G g; return probe(x); }'
    body += " catch (int) { return 2; } }\n"
    before = "int early(int x) { try { return probe(x); } catch (...) { return 1; } }\n"
    for name, text in (("a", body), ("b", body.replace("struct G", before + "struct G"))):
        (tmp_path / f"{name}.cc").write_text(text)
        run(["g++-12", "-O2", "-c", "-o", str(tmp_path / f"{name}.o"), str(tmp_path / f"{name}.cc")])
    told = [unwinding(ElfFile.open(tmp_path / f"{name}.o"))["_Z4useri"] for name in "ab"]
    assert told[0] == told[1]
    assert told[0][0].refers
