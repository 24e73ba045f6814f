"""Whole drafts of small units, compiled by the real compiler."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path
from textwrap import dedent

import pytest

from klpkit.build.command import TranslationUnit
from klpkit.build.replays import replay
from klpkit.elf import ElfFile
from klpkit.errors import RefusedError, UserError
from klpkit.extract.making import UnitDraft, draft_unit
from klpkit.extract.running import CompiledOriginal

HEADER = """\
#ifndef H
#define H
struct thing { int x; };
int outside(struct thing *t);
extern int exported;
static inline int small(int a) { return a + 1; }
#define TWICE(a) ((a) * 2)
#define SMALLER(a) small(-(a))
#endif
"""
OTHER = "#ifndef O\n#define O\nint unrelated(void);\n#endif\n"


class FakeKernel:
    """A kernel that exports `exported` and has everything else but `nowhere`; `module_…` are in a module."""

    def exporter(self, name: str) -> str | None:
        return "vmlinux" if name == "exported" else None

    def find(self, name: str) -> tuple[str, str, int] | None:
        home = "mod" if "module_" in name else "vmlinux"
        return None if name == "nowhere" else (home, name, 2 if name == "twice_there" else 0)


def draft(
    folder: Path,
    text: str,
    *functions: str,
    uncallable: tuple[str, ...] = (),
    flags: tuple[str, ...] = (),
    compiler: str = "gcc",
) -> UnitDraft:
    (folder / "h.h").write_text(HEADER)
    (folder / "o.h").write_text(OTHER)
    source = folder / "unit.c"
    source.write_text(dedent(text))
    arguments = ("-O2", "-Wall", "-Werror=implicit-function-declaration", *flags, "-c", "-o", "unit.o", "unit.c")
    unit = TranslationUnit(folder / "unit.o", source, folder, (compiler,), arguments)
    work = folder / "work"
    work.mkdir()
    original = replay(unit, workdir=folder / "original").object
    return draft_unit(unit, functions, original, FakeKernel(), work, home="vmlinux", uncallable=uncallable)


RELYING = {
    # What a function of the header calls, the type of a member: each is in a header that it does not include.
    "calls": ("int early(int);", "static inline int late(int a) { return early(a); }", "return late(1);"),
    "holds": (
        "struct early { int x; };",
        "struct late { struct early e; };",
        "struct late l = {{1}}; return l.e.x;",
    ),
}


@pytest.mark.parametrize("compiler", ["gcc", "clang-16", "clang-19"])
@pytest.mark.parametrize("way", RELYING)
def test_a_header_that_relies_on_another_one_gets_that_one_alone(tmp_path: Path, compiler: str, way: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} on this machine")
    early, late, body = RELYING[way]
    (tmp_path / "early.h").write_text(f"{early}\n")
    (tmp_path / "late.h").write_text(f"{late}\n")
    text = (
        f'#include "o.h"\n#include "early.h"\n#include "h.h"\n#include "late.h"\nint target(void) {{ {body} }}\n'
    )
    made = draft(tmp_path, text, "target", compiler=compiler)
    assert made.text.startswith('#include "early.h"\n#include "late.h"\n\nint klpp_target(void)')
    assert not made.all_includes


def test_all_includes_are_kept_where_the_compiler_does_not_say_which_it_misses(tmp_path: Path) -> None:
    (tmp_path / "early.h").write_text("#define EARLY\n")
    (tmp_path / "late.h").write_text("#ifndef EARLY\n#error not alone\n#endif\nint late(int);\n")
    text = '#include "o.h"\n#include "early.h"\n#include "late.h"\nint target(void) { return late(1); }\n'
    made = draft(tmp_path, text, "target")
    assert made.text.startswith('#include "o.h"\n#include "early.h"\n#include "late.h"\n')
    assert made.all_includes


def test_directives_without_words_are_passed_over(tmp_path: Path) -> None:
    text = '#include "h.h"\n#pragma\n#\n#define EMPTY\n#undef EMPTY\nint target(void) { return 1; }\n'
    assert "int klpp_target(void)" in draft(tmp_path, text, "target").text


def test_only_what_is_needed_is_copied(tmp_path: Path) -> None:
    made = draft(
        tmp_path,
        """\
        #include "h.h"
        #include "o.h"

        #define UNUSED 1
        /* How many. */
        #define LIMIT TWICE(4)
        struct own { struct thing t; int n; };
        struct never { int x; };
        static int unused_function(void) { return unrelated(); }
        int caller(struct own *o) { return unused_function() + o->n; }

        /* Does it. */
        int target(struct own *o)
        {
            return o->n < LIMIT ? outside(&o->t) : exported;    /* kept */
        }
        """,
        "target",
    )
    assert made.text == dedent(
        """\
        #include "h.h"

        /* How many. */
        #define LIMIT TWICE(4)

        struct own { struct thing t; int n; };

        /* Does it. */
        int klpp_target(struct own *o)
        {
            return o->n < LIMIT ? outside(&o->t) : exported;    /* kept */
        }

        #include <klpkit.h>
        KLPKIT_RELOC(vmlinux, vmlinux, outside, 0);
        """
    )
    assert made.functions == {"target": "klpp_target"}
    assert not made.all_includes


COUNTER = """\
    static int state = 7;
    static int never_written = 5;
    __attribute__((noinline)) static int helper(int a) { return a * state++; }
    static inline int inlined(int a) { return a + never_written; }
    int target(int a)
    {
        static int calls;

        return helper(a) + inlined(a) + ++calls;
    }
    int other(int a) { return helper(a) + state; }
"""


def test_state_of_the_running_kernel_is_referred_to_and_the_rest_copied(tmp_path: Path) -> None:
    made = draft(tmp_path, COUNTER, "target")
    assert "extern int state;" not in made.text
    assert "int helper(int a);" in made.text
    assert "return a * state++" not in made.text
    assert "static inline int inlined(int a) { return a + never_written; }" in made.text
    assert "static int never_written = 5;" in made.text
    assert "extern int klpp_target_calls;" in made.text
    assert "++klpp_target_calls" in made.text
    assert "KLPKIT_RELOC(vmlinux, vmlinux, helper, 0);" in made.text
    assert "KLPKIT_RELOC_AS(klpp_target_calls, vmlinux, vmlinux, calls." in made.text
    assert made.copied == ("inlined",)


def test_a_function_that_assumes_its_callers_is_copied_and_shares_the_state(tmp_path: Path) -> None:
    made = draft(tmp_path, COUNTER, "target", uncallable=("helper",))
    assert "static int helper(int a) { return a * state++; }" in made.text
    assert "extern int state;" in made.text
    assert "KLPKIT_RELOC(vmlinux, vmlinux, state, 0);" in made.text


NOINLINE = "__attribute__((noinline)) "


def test_two_functions_call_each_other_s_copies(tmp_path: Path) -> None:
    text = (
        f"static int g(int);\n{NOINLINE}int f(int a) {{ return g(a); }}\n"
        f"{NOINLINE}static int g(int a) {{ return a ? f(a - 1) : 0; }}\n"
    )
    made = draft(tmp_path, text, "f", "g")
    assert "int klpp_f(int a) { return klpp_g(a); }" in made.text
    assert "int klpp_g(int a) { return a ? klpp_f(a - 1) : 0; }" in made.text
    symbols = {symbol.name for symbol in ElfFile.open(made.object).symbols if symbol.section}
    assert {"klpp_f", "klpp_g"} <= symbols


def test_a_system_call_s_static_body_gets_a_name_for_the_glue(tmp_path: Path) -> None:
    text = (
        "#define SYSCALL_DEFINE1(name, t, a) static long __do_sys_##name(t a); long __x64_sys_##name(t a) "
        "{ return __do_sys_##name(a); } __attribute__((noinline)) static long __do_sys_##name(t a)\n"
        "SYSCALL_DEFINE1(kill, int, sig)\n{\n\treturn sig + 1;\n}\n"
    )
    made = draft(tmp_path, text, "__do_sys_kill", "__x64_sys_kill")
    assert made.functions == {"__do_sys_kill": "klpp___do_sys_kill", "__x64_sys_kill": "__x64_sys_klpp_kill"}
    symbols = {symbol.name for symbol in ElfFile.open(made.object).symbols if symbol.section and symbol.bind}
    assert set(made.functions.values()) <= symbols
    assert made.copied == ()


def test_a_function_without_code_of_its_own_stays_static(tmp_path: Path) -> None:
    text = "static inline int g(int a)\n{\n\treturn a * 3;\n}\nint f(int a) { return g(a) + 1; }\n"
    made = draft(tmp_path, text, "f", "g")
    assert "static inline int klpp_g(int a)\n" in made.text
    assert "int f" not in made.text
    symbols = {symbol.name for symbol in ElfFile.open(made.object).symbols if symbol.section}
    assert "klpp_g" not in symbols


def test_what_a_header_declares_is_not_repeated(tmp_path: Path) -> None:
    text = (
        f'#include "h.h"\n{NOINLINE}int outside(struct thing *t) {{ return t->x; }}\n'
        f"{NOINLINE}static int inside(struct thing *t) {{ return outside(t); }}\n"
        "int f(struct thing *t) { return outside(t) + inside(t); }\n"
    )
    made = draft(tmp_path, text, "f")
    assert "extern int inside(struct thing *t);" in made.text.replace(NOINLINE, "")
    assert "int outside(struct thing *t);" not in made.text


def test_a_copy_that_is_used_before_its_definition_is_declared(tmp_path: Path) -> None:
    """A header declares the original only; a definition that comes first declares itself."""
    early = "int user(struct thing *t) { return outside(t) + 1; }\n"
    body = "int outside(struct thing *t) { return t->x; }\n"
    made = draft(tmp_path, f'#include "h.h"\n{NOINLINE}{early}{body}', "user", "outside")
    assert "extern typeof(outside) klpp_outside;\n" in made.text
    assert [symbol.name for symbol in ElfFile.open(made.object).symbols if symbol.name == "outside"] == []


def test_a_copy_that_is_defined_first_is_not_declared(tmp_path: Path) -> None:
    text = (
        '#include "h.h"\nint outside(struct thing *t) { return t->x; }\n'
        "int user(struct thing *t) { return outside(t) + 1; }\n"
    )
    assert "extern typeof" not in draft(tmp_path, text, "user", "outside").text


def test_an_array_s_bound_is_that_of_the_kernel(tmp_path: Path) -> None:
    text = (
        'static const char *names[] = { "a", "b", "c" };\nstatic char grid[][4] = { "x", "y" };\n'
        "void set(int i, char c) { names[i] = 0; grid[i][0] = c; }\n"
        "unsigned f(int i) { return sizeof(names) / sizeof(names[0]) + grid[i][1] + (names[i] != 0); }\n"
    )
    made = draft(tmp_path, text, "f")
    assert "extern const char * names[24 / sizeof(const char *)];" in made.text
    assert "extern char grid[8 / sizeof(char[4])][4];" in made.text


def test_a_macro_inside_a_structure_is_copied_once(tmp_path: Path) -> None:
    text = "struct s {\n\tint flags;\n#define FLAG 4\n};\nint f(struct s *p) { return p->flags & FLAG; }\n"
    assert draft(tmp_path, text, "f").text.count("#define FLAG") == 1


def test_a_header_s_macro_uses_the_edited_copy_of_a_header_s_function(tmp_path: Path) -> None:
    made = draft(tmp_path, '#include "h.h"\nint f(int a) { return SMALLER(a); }\n', "small", "f")
    assert "#undef SMALLER\n#define SMALLER(a) klpp_small(-(a))\n" in made.text


def test_a_static_variable_whose_macro_hides_it_is_refused(tmp_path: Path) -> None:
    text = "#define STATE(name) static int name = 3\nint f(int a)\n{\n\tSTATE(n);\n\n\treturn n += a;\n}\n"
    with pytest.raises(RefusedError, match="static-local-declaration"):
        draft(tmp_path, text, "f")


def test_a_weak_function_s_copy_is_not_weak(tmp_path: Path) -> None:
    made = draft(tmp_path, "#define __weak __attribute__((weak))\nint __weak f(void) { return 3; }\n", "f")
    assert "int klpp_f(void)" in made.text


def test_a_comment_that_goes_on_behind_a_copy_is_taken_whole(tmp_path: Path) -> None:
    text = (
        "#define LEAST 6 /* A comment\n   of two lines. */\n#define MOST 150\n"
        'struct s { char x[LEAST]; }; /* Another\n one. */\n#define PATH "/*"\n'
        "const char *f(struct s *s) { return s->x[MOST % 3] ? PATH : 0; } // not /* one\n"
        "int unrelated;\n"
    )
    made = draft(tmp_path, text, "f").text
    assert "of two lines. */\n" in made
    assert "one. */\n" in made
    assert "unrelated" not in made


JUMP_LABEL = """\
#define NULL ((void *)0)
#define likely(x) (x)
#define unlikely(x) (x)
struct static_key { int enabled; };
struct static_key_false { struct static_key key; };
int static_key_count(struct static_key *key);
static inline __attribute__((always_inline)) int static_key_false(struct static_key *key)
{
    asm goto("1: nop\\n.pushsection __jump_table, \\"aw\\"\\n.quad 1b - ., %l[yes] - ., %c0 - .\\n.popsection"
             : : "i"(key) : : yes);
    return 0;
yes:
    return 1;
}
#define static_branch_unlikely(x) static_key_false(&(x)->key)
"""
EVENT = """\
#include <linux/jump_label.h>
#include <linux/tracepoint.h>
extern struct static_key_false module_key;
extern int __traceiter_module_event(void *data, int a);
static inline void trace_it(int a)
{
    if (static_branch_unlikely(&module_key))
        __DO_TRACE_CALL(module_event, a);
}
"""
TRACEPOINT = """\
#define __DO_TRACE_CALL(name, args) do { asm(".pushsection .static_call_sites, \\"aw\\"\\n.quad " #name " - .\\n"\\
    ".popsection"); } while (0)
"""


def with_keys(folder: Path, text: str, *functions: str) -> UnitDraft:
    (folder / "linux").mkdir()
    (folder / "linux" / "jump_label.h").write_text(f"#pragma once\n{JUMP_LABEL}")
    (folder / "linux" / "tracepoint.h").write_text(f"#pragma once\n{TRACEPOINT}")
    (folder / "event.h").write_text(EVENT)
    return draft(folder, text, *functions, flags=("-I.", "-fno-pic"))


def test_a_key_of_the_kernel_stays_a_jump_label(tmp_path: Path) -> None:
    text = """\
        #include <linux/jump_label.h>
        extern struct static_key_false core_key;
        int f(int a) { return static_branch_unlikely(&core_key) ? a : 3; }
        """
    made = with_keys(tmp_path, text, "f")
    assert not made.keys_as_data
    assert ElfFile.open(made.object).sections.find("__jump_table")
    assert "KLPKIT_RELOC(vmlinux, vmlinux, core_key, 0);" in made.text


def test_keys_of_a_module_are_asked_as_data(tmp_path: Path) -> None:
    text = """\
        #define BEFORE 1
        #include "event.h"
        int f(int a)
        {
            trace_it(a);
            return BEFORE;
        }
        """
    made = with_keys(tmp_path, text, "f")
    assert made.keys_as_data
    sections = ElfFile.open(made.object).sections
    assert not sections.find("__jump_table")
    assert not sections.find(".static_call_sites")
    names = {each.name for each in made.references}
    assert names == {"static_key_count", "module_key", "__traceiter_module_event"}
    assert made.text.index("#define BEFORE") < made.text.index("/* Keys and static calls of a module")


def test_a_key_of_a_module_that_no_macro_asks_is_refused(tmp_path: Path) -> None:
    text = """\
        extern int module_key;
        int f(void)
        {
            asm(".pushsection __jump_table, \\"aw\\"\\n.quad %c0\\n.popsection" : : "i"(&module_key));
            return 0;
        }
        """
    with pytest.raises(RefusedError, match=r"module_key, a key of a module.*module-key"):
        draft(tmp_path, text, "f", flags=("-fno-pic",))


def test_a_per_cpu_variable_is_the_kernel_s(tmp_path: Path) -> None:
    text = """\
        #define DEFINE_PER_CPU(type, name) __attribute__((section(".data..percpu"))) __typeof__(type) name
        static DEFINE_PER_CPU(int, hits);
        static DEFINE_PER_CPU(long [4], rows) = {1};
        int f(int a)
        {
            asm("addl $1, %%gs:%0" : "+m"(hits));
            rows[a]++;
            return a;
        }
        """
    made = draft(tmp_path, text, "f", flags=("-fno-pic",))
    assert "percpu" not in made.text
    assert not ElfFile.open(made.object).sections.find(".data..percpu")
    for name in ("hits", "rows"):
        assert f"KLPKIT_RELOC(vmlinux, vmlinux, {name}, 0);" in made.text


def test_a_header_that_is_a_template_is_refused_where_it_matters(tmp_path: Path) -> None:
    (tmp_path / "t.h").write_text("static int CAT(KIND, _do)(int a) { return a * FACTOR; }\n")
    part = '#define KIND {0}\n#define FACTOR {1}\n#include "t.h"\n#undef KIND\n#undef FACTOR\n'
    text = (
        "#define CAT_(a, b) a##b\n#define CAT(a, b) CAT_(a, b)\n"
        f"{part.format('one', 2)}{part.format('two', 3)}"
        "int f(int a) { return one_do(a) + two_do(a); }\nint g(int a) { return a + 1; }\n"
    )
    assert "klpp_g" in draft(tmp_path, text, "g").text
    (tmp_path / "work").rename(tmp_path / "done")
    with pytest.raises(RefusedError, match=r"t\.h several times.* f can't .*template-header"):
        draft(tmp_path, text, "f")


STATIC = "#define noinline __attribute__((noinline))\n#define STATIC static noinline\n"


def test_a_macro_for_static_hides_no_copy(tmp_path: Path) -> None:
    text = f"{STATIC}STATIC int f(int a)\n{{\n\treturn a * 3;\n}}\nint user(int a) {{ return f(a); }}\n"
    made = draft(tmp_path, text, "f")
    assert "\nnoinline int klpp_f(int a)\n" in made.text
    assert "klpp_f" in {symbol.name for symbol in ElfFile.open(made.object).symbols if symbol.bind}


def test_a_macro_for_static_is_not_in_declarations(tmp_path: Path) -> None:
    text = (
        f"{STATIC}STATIC int g(int a) {{ return a * 3; }}\nstatic int v;\nint f(int a) {{ return g(a) + v++; }}\n"
    )
    made = draft(tmp_path, text, "f").text
    assert "extern int g(int a);" in made.replace("noinline ", "")


def test_a_copy_that_a_macro_keeps_static_is_refused(tmp_path: Path) -> None:
    text = "#define FN(name) static int name\nFN(f)(int a)\n{\n\treturn a * 3;\n}\nint (*user)(int) = f;\n"
    with pytest.raises(RefusedError, match="copy-not-visible"):
        draft(tmp_path, text, "f")


def test_conditionals_inside_a_copy_stay_whole(tmp_path: Path) -> None:
    text = (
        "#ifdef NO\nint f(long a)\n#else\nint f(int a)\n#endif\n{\n#ifdef NO\n return 1;\n#endif\n return a;\n}\n"
    )
    made = draft(tmp_path, text, "f")
    assert made.text.count("#if") == made.text.count("#endif") == 2


def test_only_the_configuration_s_branch_is_copied(tmp_path: Path) -> None:
    text = """\
        #include "h.h"
        #ifdef CONFIG_OFF
        static int helper(long a) { return unknown_here(a); }
        #else
        static int helper(int a) { return a + 1; }
        #endif
        int f(int a)
        {
            int b = helper(a);

        #ifdef CONFIG_OFF
            b = never(b);
        #endif

        #if IS_ENABLED(CONFIG_ON)
            b += 2;
        #endif
            return b;
        }
        """
    made = draft(tmp_path, text, "f", flags=("-DCONFIG_ON=1", "-DIS_ENABLED(x)=x"))
    assert made.text == dedent(
        """\
        static int helper(int a) { return a + 1; }

        int klpp_f(int a)
        {
            int b = helper(a);

            b += 2;
            return b;
        }
        """
    )


def test_an_option_that_the_source_changes_settles_nothing(tmp_path: Path) -> None:
    text = (
        "#undef CONFIG_ON\n#define CONFIG_NEW 1\nint f(int a)\n{\n#ifdef CONFIG_ON\n return 1;\n#endif\n"
        "#ifdef CONFIG_NEW\n return 2;\n#endif\n return a;\n}\n"
    )
    assert draft(tmp_path, text, "f", flags=("-DCONFIG_ON=1",)).text.count("#endif") == 2


def test_a_header_s_function_is_copied_from_the_header(tmp_path: Path) -> None:
    made = draft(tmp_path, '#include "h.h"\nint f(int a) { return small(a); }\n', "small", "f")
    assert "int klpp_small(int a) { return a + 1; }" in made.text
    assert "return klpp_small(a);" in made.text


def test_an_included_source_stands_where_it_is_included(tmp_path: Path) -> None:
    (tmp_path / "part.c").write_text("static int part(struct thing *t)\n{\n\treturn outside(t) + LOCAL;\n}\n")
    text = '#include "h.h"\n#define LOCAL 3\n#include "part.c"\nint f(struct thing *t) { return part(t); }\n'
    made = draft(tmp_path, text, "f")
    order = [made.text.index(word) for word in ('"h.h"', "#define LOCAL", "part(struct", "klpp_f(")]
    assert order == sorted(order)
    assert "part.c" not in made.text


def test_exports_are_left_behind(tmp_path: Path) -> None:
    text = '#define EXPORT(f) extern typeof(f) f; asm(".globl e_" #f)\nint f(void) { return 3; }\nEXPORT(f);\n'
    assert "EXPORT" not in draft(tmp_path, text, "f").text


def test_a_missing_include_is_noticed_by_the_compiler(tmp_path: Path) -> None:
    # The macro's body is what needs o.h; the name `unrelated` appears nowhere in the text that is kept.
    text = (
        '#include "h.h"\n#include "o.h"\n#define PASTE(a, b) a##b\nint f(void) { return PASTE(unre, lated)(); }\n'
    )
    made = draft(tmp_path, text, "f")
    assert '#include "o.h"' in made.text


def test_a_symbol_that_the_kernel_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"nowhere.*symbol-not-in-kernel"):
        draft(tmp_path, "int nowhere(void);\nint f(void) { return nowhere(); }\n", "f")


def test_positions_go_into_the_annotation(tmp_path: Path) -> None:
    made = draft(tmp_path, "int twice_there(void);\nint f(void) { return twice_there(); }\n", "f")
    assert "KLPKIT_RELOC(vmlinux, vmlinux, twice_there, 2);" in made.text


def test_an_unknown_function_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no function g"):
        draft(tmp_path, "int f(void) { return 0; }\n", "g")


def test_a_static_variable_that_a_person_named_like_a_macro_s_is_the_kernel_s(tmp_path: Path) -> None:
    text = (
        '#include "h.h"\n'
        "#define say_once(x) ({ static int __said; if (!__said) { __said = 1; outside(x); } })\n"
        "int f(struct thing *t)\n{\n\tstatic int __enabled = 0;\n\n\tsay_once(t);\n\treturn __enabled++;\n}\n"
    )
    made = draft(tmp_path, text, "f")
    assert "extern int klpp_f___enabled;\n" in made.text
    assert "static int __enabled" not in made.text
    (static,) = (each for each in made.references if each.name == "klpp_f___enabled")
    assert static.symbol.startswith("__enabled.")
    assert made.anew == ("f",)


def test_a_static_array_s_bound_may_have_parentheses(tmp_path: Path) -> None:
    text = "#define MOST (1 << 3)\nint f(int i)\n{\n\tstatic int x[MOST];\n\n\treturn x[i & 7]++;\n}\n"
    assert "extern int klpp_f_x[(1 << 3)];\n" in draft(tmp_path, text, "f").text


TWO = "static int x; if (a > {n}) x++; return x + {n};"


def test_a_static_variable_is_told_from_that_of_a_function_inside(tmp_path: Path) -> None:
    """`outer` refers to both `x`, and only the code of `inner` itself says which is whose."""
    inner = f"static inline int inner(int a) {{ {TWO.format(n=3)} }}\n"
    outer = "int outer(int a) { static long x; x += a; return inner(a) + x; }\n"
    made = draft(tmp_path, f"{inner}{outer}int (*kept)(int) = inner;\n", "outer")
    (static,) = (each for each in made.references if each.name == "klpp_outer_x")
    known = {symbol.name: symbol.size for symbol in ElfFile.open(tmp_path / "original/unit.o").symbols}
    assert sorted(size for name, size in known.items() if name.startswith("x.")) == [4, 8]
    assert known[static.symbol] == 8


def test_static_variables_that_the_code_does_not_tell_apart_are_refused(tmp_path: Path) -> None:
    """Neither function has code of its own, and both have an `x`."""
    one, two = (
        f"static inline int {name}(int a) {{ {TWO.format(n=n)} }}\n" for name, n in (("one", 3), ("two", 5))
    )
    users = "int f(int a) { return one(a) + two(a * 7); }\n"
    with pytest.raises(RefusedError, match="static-local-ambiguous"):
        draft(tmp_path, one + two + users, "one", "f")


def test_two_static_variables_of_one_name_in_a_function_are_refused(tmp_path: Path) -> None:
    text = "int f(int a) { if (a) { static int x; return ++x; } else { static int x; return x += 2; } }\n"
    with pytest.raises(RefusedError, match="static-local-ambiguous"):
        draft(tmp_path, text, "f")


def test_what_a_macro_defines_is_written_with_its_operators(tmp_path: Path) -> None:
    text = (
        "#define MAKE(name) int make_##name(int a) "
        "{ a <<= 2; return a != 3 && a++ >= 4 ? a-- : a || !a ? a >> 1 : (a |= 8, a ^= 1); }\n"
        "MAKE(one)\n"
    )
    made = draft(tmp_path, text, "make_one")
    assert "return a != 3 && a ++ >= 4" in made.text


def test_the_copy_of_an_inline_function_is_traced_no_more_than_the_kernel_s(tmp_path: Path) -> None:
    text = (
        "#define notrace __attribute__((no_instrument_function))\n#define inline inline notrace\n"
        "static inline int f(int a) { return a * 3; }\nint (*kept)(int) = f;\n"
    )
    assert "\nnotrace int klpp_f(int a)" in draft(tmp_path, text, "f").text


def test_a_header_s_state_is_the_kernel_s_or_the_draft_is_refused(tmp_path: Path) -> None:
    header = (
        "#ifndef T\n#define T\nstatic inline int tick(int a) { static int ticks; return a + ++ticks; }\n#endif\n"
    )
    text = '#include "tick.h"\nint f(int a) { return tick(a) * 2; }\n'
    for folder in (tmp_path / "one", tmp_path / "both"):
        folder.mkdir()
        (folder / "tick.h").write_text(header)
    with pytest.raises(RefusedError, match=r"own beside the kernel's ticks \[doubled-state\]"):
        draft(tmp_path / "one", text, "f")
    assert "extern int klpp_tick_ticks;" in draft(tmp_path / "both", text, "f", "tick").text


def test_a_copy_has_lock_classes_of_its_own(tmp_path: Path) -> None:
    text = (
        "struct lock_class_key { int x; };\nvoid hold(struct lock_class_key *);\n"
        "void f(void) { static struct lock_class_key busy; hold(&busy); }\n"
    )
    assert "static struct lock_class_key busy;" in draft(tmp_path, text, "f").text


def test_a_static_variable_is_the_kernel_s_even_if_no_reference_is_seen(tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    source.write_text("int f(void) { static int x; return x++; }\n")
    unit = TranslationUnit(tmp_path / "a.o", source, tmp_path, ("gcc",), ("-O2", "-c", "-o", "a.o", "a.c"))
    original = CompiledOriginal(replay(unit, workdir=tmp_path / "w").object)
    original.__dict__["_static_uses"] = defaultdict(dict)
    assert original.static_local("f", "x", set()) == "x.0"
    with pytest.raises(RefusedError, match="static-local-ambiguous"):
        original.static_local("f", "x", {"g"})


@pytest.mark.parametrize("order", [("f", "g"), ("g", "f")])
def test_an_empty_variable_does_not_hide_the_one_at_its_place(tmp_path: Path, order: tuple[str, str]) -> None:
    bodies = {
        "f": "int f(void) { static int x; static struct empty key; hold(&key); return x++; }\n",
        "g": "int g(void) { static int x; return x += 2; }\n",
    }
    source = tmp_path / "a.c"
    source.write_text("struct empty {}; void hold(void *);\n" + "".join(bodies[name] for name in order))
    unit = TranslationUnit(tmp_path / "a.o", source, tmp_path, ("gcc",), ("-O2", "-c", "-o", "a.o", "a.c"))
    original = CompiledOriginal(replay(unit, workdir=tmp_path / "w").object)
    found = {name: original.static_local(name, "x", {"f", "g"} - {name}) for name in ("f", "g")}
    assert all(found[name] in original._static_uses[name]["x"] for name in ("f", "g"))
    assert found["f"] != found["g"]
