"""Changing C text word by word."""

from __future__ import annotations

import pytest

from klpkit.errors import RefusedError
from klpkit.extract.items import items
from klpkit.extract.statics import static_locals, without_static_locals
from klpkit.extract.syscalls import call_of, copied_call, copied_name
from klpkit.extract.text import prototype, renamed, without_static


def test_only_the_function_is_renamed() -> None:
    text = 'int f(void) { return p->f + q.f + f() + x->\n f; } /* f */ char *s = "f";\n#define G(f) f(1)\n'
    expected = 'int k(void) { return p->f + q.f + k() + x->\n f; } /* f */ char *s = "f";\n#define G(k) k(1)\n'
    assert renamed(text, {"f": "k"}) == expected


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("static int f(int a)\n{\n\treturn a;\n}", "f", "extern int f(int a);"),
        ("/* a */\nstatic noinline int *f(long *x,\n\t\tint b)\n{ }", "f", "extern int *f(long *x, int b);"),
        ("static int x = 3;", "x", "extern int x;"),
        ("static char names[N][4] = { 1 };", "names", "extern char names[N][4];"),
        ("static const char *names[] = { 0 };", "names", ""),
        ("static DEFINE_MUTEX(lock);", "lock", ""),
        ("DEFINE_THING(f, int a)\n{ }", "f", ""),
        ("#if X\nstatic int f(void)\n#endif\n{ }", "f", ""),
    ],
)  # fmt: skip
def test_a_prototype_is_read_off_a_definition_or_not_at_all(text: str, name: str, expected: str) -> None:
    assert prototype(text, name) == expected


def test_a_structure_may_have_the_function_s_name() -> None:
    text = "static int f(struct f *f1, union /* of */ f *f2) { return sizeof(struct f) + f(f1, f2); }"
    expected = text.replace("int f(", "int klpp_f(").replace("+ f(", "+ klpp_f(")
    assert renamed(text, {"f": "klpp_f"}) == expected


def test_static_goes_from_the_function_and_nothing_else() -> None:
    text = "static int a;\nstatic inline int f(int x)\n{\n\tstatic int n;\n\treturn n;\n}\nstatic int g(void);\n"
    expected = "static int a;\nint f(int x)\n{\n\tstatic int n;\n\treturn n;\n}\nstatic int g(void);\n"
    assert without_static(text, "f") == expected
    assert without_static(text, "f", inline="notrace") == expected.replace("int f", "notrace int f")


def test_static_locals_are_declared_outside_under_a_name_of_their_own() -> None:
    text = "int f(void)\n{\n\tstatic unsigned long n[2] = { g(1, 2), 3 };\n\n\treturn ++n[0] + p->n;\n}\n"
    (item,) = items(enumerate(text.split("\n"), 1))
    (local,) = static_locals(item, "f")
    assert local.declaration == "extern unsigned long klpp_f_n[2];"
    changed = without_static_locals(text, [local])
    assert "static unsigned long" not in changed
    assert "return ++klpp_f_n[0] + p->n;" in changed


@pytest.mark.parametrize(
    "declaration",
    [
        "static const int x = 1;",
        "static const char *const x[] = { 0 };",
        "static int __done;",
        "static struct r _rs;",
        "static struct _ddebug descriptor = { .line = 3 };",
        "static struct lock_class_key busy_key;",
    ],
)
def test_constants_and_what_macros_make_for_each_use_stay(declaration: str) -> None:
    (item,) = items([(1, f"int f(void) {{ {declaration} return 0; }}")])
    assert list(static_locals(item, "f")) == []


@pytest.mark.parametrize("declaration", ["static int count = 3, *q;", "static int (*hook)(void);"])
def test_state_that_would_be_doubled_is_refused(declaration: str) -> None:
    (item,) = items([(1, f"int f(void) {{ {declaration} return 0; }}")])
    with pytest.raises(RefusedError, match="static-local-declaration"):
        list(static_locals(item, "f"))


@pytest.mark.parametrize(
    ("declaration", "expected"),
    [
        (
            'static __attribute__((section(".data..percpu"))) __typeof__(int) x;',
            "extern __typeof__ (int) klpp_f_x;",
        ),
        ("static typeof(y[0]) x[4];", "extern typeof (y[0]) klpp_f_x[4];"),
    ],
)
def test_a_type_may_be_that_of_something(declaration: str, expected: str) -> None:
    (item,) = items([(1, f"int f(void) {{ {declaration} return 0; }}")])
    assert [local.declaration for local in static_locals(item, "f")] == [expected]


def test_a_pointer_to_constant_text_is_no_constant() -> None:
    (item,) = items([(1, "int f(void) { static const char *x; return 0; }")])
    assert [local.name for local in static_locals(item, "f")] == ["x"]


def test_a_system_call_is_copied_under_another_name() -> None:
    text = "/* doc */\nSYSCALL_DEFINE2(kill, pid_t, pid, int, sig)\n{\n}"
    assert call_of(text) == "kill"
    assert "SYSCALL_DEFINE2(klpp_kill, pid_t, pid, int, sig)" in copied_call(text, "klpp_")
    assert copied_name("__x64_sys_kill", "kill", "klpp_") == "__x64_sys_klpp_kill"
    assert call_of("int kill(void);") == ""
