"""What a C file defines: every shape of definition is found with its name and its lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klpkit.build.csource import definitions, tokenize


def found(text: str) -> list[tuple[str, str, int, int]]:
    return [(d.kind, d.name, d.first, d.last) for d in definitions(text)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("int f(void) { return 0; }", "f"),
        ("static inline int\nf(int a)\n{\n return a;\n}", "f"),
        ("static noinline __init int __must_check f(void) { }", "f"),
        ("__attribute__((noinline)) static void f(void) { }", "f"),
        ('static void __attribute__((section(".x"))) f(void) { }', "f"),
        ("static __printf(1, 2) void f(const char *s, ...) { }", "f"),
        ("__printf(1, 2)\nvoid f(const char *s, ...) { }", "f"),
        ("static void f(struct q *p) __releases(&p->lock) __acquires(p) { }", "f"),
        ("struct s *f(struct s a[2]) { return a; }", "f"),
        ("struct fd CLONED_FD(struct file *f) { return (struct fd){1}; }", "CLONED_FD"),
        ("static enum e __f(int a) { return a; }", "__f"),
        ("int f(a, b)\nint a;\nchar *b;\n{ return a; }", "f"),
        ("int (*f(int a))(int) { return 0; }", "f"),
        ("int (f)(int a) { return a; }", "f"),
        ("void f(int (*cb)(void *), void *p) { cb(p); }", "f"),
        ("SYSCALL_DEFINE3(linkat, int, a, char *, b, int, c)\n{ return 0; }", "__do_sys_linkat"),
        ("SYSCALL_DEFINE0(getpid) { return 0; }", "__do_sys_getpid"),
        ("COMPAT_SYSCALL_DEFINE1(x, int, a) { return 0; }", "__do_compat_sys_x"),
        ("BPF_CALL_2(bpf_x, int, a, int, b) { return 0; }", "____bpf_x"),
        ("DEFINE_IDTENTRY(exc_x) { }", "__exc_x"),
        ("static MY_DEFINE(thing, int a) { }", "thing"),
        ("typeof(int) f(void) { return 0; }", "f"),
        ("_Noreturn void f(void) { for (;;) { } }", "f"),
        ("void f(void) { char c = '}'; char *s = \"}{\"; /* } */ // }\n }", "f"),
        ("int f(void)\n{\n#define X }\n return 0;\n}", "f"),
    ],
)
def test_every_shape_of_function_is_found(text: str, name: str) -> None:
    functions = [d for d in definitions(text) if d.kind == "function"]
    assert [(d.name, d.first, d.last) for d in functions] == [(name, 1, text.count("\n") + 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("struct s {\n int a;\n};", [("type", "s", 1, 3)]),
        ("struct s { int a; } __packed;", [("type", "s", 1, 1)]),
        ("struct __packed s { int a; };", [("type", "s", 1, 1)]),
        ("struct s { int a; } __aligned(8);", [("type", "s", 1, 1)]),
        ("struct s { int a; } one;", [("type", "s", 1, 1), ("variable", "one", 1, 1)]),
        ("typedef struct { int a; } t;", [("type", "", 1, 1), ("type", "t", 1, 1)]),
        ("typedef int (*cb)(int);", [("type", "cb", 1, 1)]),
        ("enum e { A, B = 2 };", [("type", "e", 1, 1)]),
        ("int x = 3;", [("variable", "x", 1, 1)]),
        ("static int __x __read_mostly = 3;", [("variable", "__x", 1, 1)]),
        ("u64 __x;", [("variable", "__x", 1, 1)]),
        ("struct s *LIST;", [("variable", "LIST", 1, 1)]),
        ("typedef unsigned long pte_t;", [("type", "pte_t", 1, 1)]),
        ("static struct s y = { .a = 1,\n .f = g(1) };", [("variable", "y", 1, 2)]),
        ("static const struct ops o __read_mostly = { .f = f };", [("variable", "o", 1, 1)]),
        ("int (*fp)(int) = g;", [("variable", "fp", 1, 1)]),
        ("static DEFINE_SPINLOCK(lock);", [("variable", "lock", 1, 1)]),
        ("int f(int);", [("declaration", "f", 1, 1)]),
        ("EXPORT_SYMBOL(f);", [("invocation", "EXPORT_SYMBOL(f)", 1, 1)]),
        ("#define M(a) \\\n  (a + 1)\n", [("macro", "M", 1, 2)]),
    ],
)
def test_other_definitions_are_told_apart(text: str, expected: list[tuple[str, str, int, int]]) -> None:
    got = found(text)
    assert [entry for entry in got if entry[1] or entry[0] == "type"] == expected


def test_an_invocation_without_semicolon_does_not_swallow_what_follows() -> None:
    text = "BUILDIO(b)\nBUILDIO(w)\n\nstatic int f(void)\n{ }\nLAST(x)\n"
    assert found(text) == [
        ("invocation", "BUILDIO(b)", 1, 1),
        ("invocation", "BUILDIO(w)", 2, 2),
        ("function", "f", 4, 5),
        ("invocation", "LAST(x)", 6, 6),
    ]


def test_a_head_in_each_branch_of_a_conditional_is_known_with_the_common_body() -> None:
    text = "#ifdef A\nint f(int a) {\n#else\nint g(void) {\n#endif\n return 1;\n}\nint h(void) { }\n"
    assert found(text) == [("function", "f", 2, 7), ("function", "g", 4, 7), ("function", "h", 8, 8)]


def test_braces_opened_in_both_branches_are_closed_once() -> None:
    text = "int f(int a)\n{\n#if A\n if (a) {\n#else\n if (!a) {\n#endif\n }\n return 1;\n}\nint g(void) { }\n"
    assert found(text) == [("function", "f", 1, 10), ("function", "g", 11, 11)]


def test_the_conditions_around_a_definition_are_part_of_it() -> None:
    (one,) = definitions("#ifdef A\nint f(void) { }\n#endif\n")
    (other,) = definitions("#ifdef B\nint f(void) { }\n#endif\n")
    (branch,) = definitions("#ifdef A\n#else\nint f(void) { }\n#endif\n")
    assert len({one.conditions, other.conditions, branch.conditions}) == 3
    assert one.mentions(["A"])


def test_linkage_blocks_and_namespaces_are_transparent() -> None:
    text = 'extern "C" {\nint f(void) { }\n}\nint g(void) { }\n'
    assert [entry[1] for entry in found(text) if entry[0] == "function"] == ["f", "g"]


def test_comments_and_layout_do_not_change_a_definition() -> None:
    (one,) = definitions("int f(void) { return 1; }")
    (other,) = definitions("/* x */ int\nf(void)\n{\n\treturn /* y */ 1; // z\n}")
    assert one.tokens == other.tokens


def test_a_macro_mentions_what_it_expands_to_and_not_itself() -> None:
    (macro,) = definitions("#define A(x) B(x) /* C */\n")
    assert macro.mentions(["B"])
    assert not macro.mentions(["A"])
    assert not macro.mentions(["C"])


SHAPES = [
    "int fN(int a)\n{\n\tif (a) {\n\t\treturn 1;\n\t}\n\treturn 0;\n}\n",
    "static void fN(a)\nint a;\n{\n}\n",
    "SYSCALL_DEFINE1(fN, int, a)\n{\n\treturn a;\n}\n",
    "struct sN {\n\tint a;\n};\n",
    "static int vN[] = { 1, 2 };\n",
    "#define MN(x) do { x; } while (0)\n",
    "EXPORT_SYMBOL_GPL(fN);\n",
    "/* a comment with { and ' */\n",
    "#if 1\nint fN(void) {\n#else\nint fN(int a) {\n#endif\n}\n",
    "DEFINE_GUARD(gN, int, f(_T), g(_T))\n",
    "int pN(int, char *);\n",
    'const char *tN = "a } \\" {";\n',
]


@given(st.lists(st.sampled_from(SHAPES), max_size=10))
def test_what_a_definition_is_does_not_depend_on_its_neighbours(shapes: list[str]) -> None:
    texts = [shape.replace("N", str(number)) for number, shape in enumerate(shapes)]
    expected, line = [], 0
    for text in texts:
        expected += [(d.kind, d.name, d.first + line, d.last + line) for d in definitions(text)]
        line += text.count("\n")
    assert sorted(found("".join(texts))) == sorted(expected)


@given(st.text(st.sampled_from("abf(){};=#\"'\\/*\n ,if"), max_size=80))
def test_any_text_is_read_to_its_end_and_lines_stay_inside_it(text: str) -> None:
    last = text.count("\n") + 1
    for definition in definitions(text):
        assert 1 <= definition.first <= definition.last <= last
    assert all(token.line <= last for token in tokenize(text))
