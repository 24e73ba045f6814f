"""What top-level C declares and uses, read from expanded text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klpkit.extract.items import Name, declared, head_tokens, items


def names(text: str) -> list[tuple[str, str]]:
    (item,) = items([(1, text)])
    return [(name.text, name.kind) for name in item.declares]


TAGS = [("s", "tag"), ("e", "tag")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int a;", [("a", "variable")]),
        ("static const char *a = \"int b;\", *c[2];", [("a", "variable"), ("c", "variable")]),
        ("extern struct s a;", [("a", "extern")]),
        ("struct s { int x; struct t *y; } a, *b;", [("s", "tag"), ("a", "variable"), ("b", "variable")]),
        ("struct s;", [("s", "forward")]),
        ("struct s { enum e { A, B = 3 } x; };", [*TAGS, ("A", "constant"), ("B", "constant")]),
        ("enum { A = sizeof(int), B };", [("A", "constant"), ("B", "constant")]),
        ("typedef int (*fn_t)(int a);", [("fn_t", "typedef")]),
        ("typedef struct { int x; } t, *p;", [("t", "typedef"), ("p", "typedef")]),
        ("typedef unsigned long __attribute__((aligned(8))) u;", [("u", "typedef")]),
        ("int f(int a, char b);", [("f", "prototype")]),
        ("int *f(void) { return 0; }", [("f", "function")]),
        ("static __attribute__((always_inline)) struct s *f(struct t *x) { return x->s; }", [("f", "function")]),
        ("__attribute__((section(\".a\"))) __typeof__(int) v;", [("v", "variable")]),
        ("int (*table[3])(void) = { 0 };", [("table", "variable")]),
        ("int (f)(int x) { return x; }", [("f", "function")]),
        ("void (*signal(int s, void (*h)(int)))(int);", [("signal", "prototype")]),
        ("foo_t (*fp)(void);", [("fp", "variable")]),
        ("foo_t f(bar_t x) { return x; }", [("f", "function")]),
        ("_Static_assert(sizeof(int) == 4, \"a;b\");", []),
        ("asm(\".globl x\");", []),
        ("extern __typeof__(f) f;", [("f", "extern")]),
        ("struct s a = { .x = { 1, 2 }, .f = g };", [("a", "variable")]),
        ("static __attribute__((used)) int a asm(\"b\") = 1;", [("a", "variable")]),
    ],
)  # fmt: skip
def test_declared_names_are_found(text: str, expected: list[tuple[str, str]]) -> None:
    assert names(text) == expected


def test_items_end_where_declarations_do() -> None:
    text = [(1, "int a; struct s { int x; };"), (2, "int f(void)"), (3, "{ if (1) { ; } }"), (4, "int b = 1;")]
    assert [(item.first, item.last) for item in items(text)] == [(1, 1), (1, 1), (2, 3), (4, 4)]


def test_members_and_tags_are_no_ordinary_uses() -> None:
    (item,) = items([(1, "int f(struct s *p) { return p->count + q.size + total + sizeof(struct t); }")])
    assert item.uses == {"f", "p", "q", "total"}
    assert item.tags == {"s", "t"}


def test_a_head_is_without_body_and_initialiser() -> None:
    function, variable = items([(1, "int f(int a) { return g(a); } int x[2] = { h };")])
    assert " ".join(head_tokens(function)) == "int f ( int a )"
    assert " ".join(head_tokens(variable)) == "int x [ 2 ]"


def test_text_that_never_ends_is_an_item_too() -> None:
    assert [item.tokens for item in items([(7, "int a = (")])] == [["int", "a", "=", "("]]


_WORDS = st.sampled_from(
    ["int", "a", "b", "struct", "(", ")", "{", "}", "[", "]", ";", ",", "=", "*", "typedef", "enum"]
)


@given(st.lists(_WORDS, max_size=30))
def test_no_text_is_lost_or_breaks_the_reader(words: list[str]) -> None:
    found = items([(1, " ".join(words))])
    assert [token for item in found for token in item.tokens] == words
    for item in found:
        assert all(isinstance(name, Name) for name in declared(item.tokens))
