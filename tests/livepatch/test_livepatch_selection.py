"""What goes into a live patch and what stays in the kernel: the silent errors first."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_kernel import CFLAGS, Toy, ToyPair, defined, run, undefined

from klpkit.elf import ElfObject
from klpkit.errors import RefusedError
from klpkit.livepatch import INCLUDE
from klpkit.livepatch.glue import Glue, glue_source
from klpkit.livepatch.model import Kind
from klpkit.livepatch.planning import Plan, plan_module


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


def only(plan: Plan) -> ElfObject:
    assert len(plan.carved) == 1
    return plan.carved[0]


SITES = """
#define SITE(table, size) asm volatile("1: nop\\n.pushsection " table ",\\"a\\"\\n.long 1b - .\\n.zero " size \\
    "\\n.popsection\\n.pushsection .discard.reachable\\n.long 1b - .\\n.popsection")
extern int exported(int);
int f(int x) {{ SITE("__ex_table", "8"); SITE("__bug_table", "8"); return exported(x) + {0}; }}
int g(int x) {{ SITE("__ex_table", "8"); SITE("__bug_table", "8"); SITE("__bug_table", "8"); return exported(x); }}
"""


def test_each_entry_of_a_special_section_comes_with_its_function_and_no_other_does(toy: Toy) -> None:
    model = only(toy.plan(toy.pair(SITES.format(1), SITES.format(2))))
    code = next(section for section in model.sections if section.name == ".text.f")
    sizes = {section.name: len(section.data) for section in model.sections}
    assert (sizes["__ex_table"], sizes["__bug_table"], sizes[".discard.reachable"]) == (12, 12, 8)
    assert sizes["__mcount_loc"] == 8
    assert ".text.g" not in sizes
    for section in model.sections:
        if section.name in ("__ex_table", "__bug_table", ".discard.reachable", "__mcount_loc"):
            for entry in section.relocations[0].entries:
                assert entry.symbol is not None
                assert entry.symbol.section is code
    nops = sorted(entry.addend for s in model.sections if s.name == ".discard.reachable"
                  for entry in s.relocations[0].entries)  # fmt: skip
    assert all(bytes(code.data)[at] == 0x90 for at in nops)


TWINS = """
extern int exported(int);
static int state = {start};
int set_{name}(int x) {{ return state = exported(x); }}
int get_{name}(void) {{ return state; }}
"""


@pytest.mark.parametrize("ours_first", [True, False])
def test_a_static_variable_is_that_of_its_own_source_among_others_of_its_name(toy: Toy, ours_first: bool) -> None:
    text = TWINS.format(start=7, name="ours")
    pair = toy.pair(text, text.replace("exported(x)", "exported(x) + state"))
    twin = toy.compile("twin", TWINS.format(start=9, name="theirs"))
    objects = (pair.original, twin) if ours_first else (twin, pair.original)
    target = toy.target(others=objects)
    plan = plan_module([pair], target)
    (reference,) = [r for r in plan.kernel.references.values() if r.name == "state"]
    meant = target.vmlinux.positions("state")[reference.sympos - 1]
    assert target.vmlinux.read(meant.address, 1) == b"\7"
    assert (reference.kind, reference.object, reference.patched_object) == (Kind.KLP, "vmlinux", "vmlinux")


LOCALS = """
extern int exported(int);
int first(int x) {{ {new} static int count = 3; count += x; return exported(count); }}
int second(int x) {{ static int count = 5; count += x; return exported(count); }}
"""


def test_a_static_local_is_found_by_the_shipped_code_when_numbers_shift(toy: Toy) -> None:
    """The patched object numbers its static locals anew: `count.1` there is not `count.1` in the kernel."""
    new = "static int calls; if (calls++ > x) exported(calls);"
    pair = toy.pair(
        LOCALS.format(new=""), LOCALS.format(new=new).replace('exported(count); }\n"', "exported(count); }")
    )
    target = toy.target(pair)
    plan = plan_module([pair], target)
    (reference,) = [r for r in plan.kernel.references.values() if r.name.startswith("count")]
    meant = target.vmlinux.positions(reference.name)[0]
    assert target.vmlinux.read(meant.address, 1) == b"\3"
    model = only(plan)
    assert not any(name.startswith("count") for name in defined(model))
    assert any(name.startswith("calls") for name in defined(model))


def test_state_that_stays_is_never_copied_and_new_state_is(toy: Toy) -> None:
    text = "int kept = 1;\nstatic int hits;\n{}int f(int x) {{ return {} + (hits += x); }}\n"
    pair = toy.pair(
        text.format("", "kept"), text.format("static int fresh[4] = { 1, 2, 3 };\n", "fresh[x & 3] + kept")
    )
    model = only(toy.plan(pair))
    assert "fresh" in defined(model)
    assert not {"kept", "hits"} & defined(model)
    assert {s for s in undefined(model) if "kept" in s or "hits" in s} == {
        "kept",
        ".klp.sym.rela.vmlinux.vmlinux.hits,0",
    }


RICH = """
extern int exported(int);
typedef int (*op_t)(int);
struct ops {{ const char *name; op_t op; int data[3]; }};
int base[8] = {{ 10, 11, 12, 13, 14, 15, 16, 17 }};
static int total;
static __attribute__((noinline)) int helper(int x) {{ total += x; return exported(x) * 2; }}
static __attribute__((noinline)) int twice(int x) {{ return x * 2 + {0}; }}
static const struct ops table[] = {{ {{ "one", helper, {{ 1, 2, {0} }} }}, {{ "two", twice, {{ 4, 5, 6 }} }} }};
__attribute__((noinline, cold)) int rare(int x) {{ base[1] = x; return total; }}
int pick(int x)
{{
    const char *word = x > 2 ? "large value" : "small";
    static const int weights[] = {{ 3, 5, 7, {0} }};
    int sum = weights[x & 3] + word[x & 3] + base[x & 7];
    if (__builtin_expect(x == 1000, 0))
        return rare(x);
    switch (x) {{
    case 1: sum += 17; break;
    case 2: sum += 29; break;
    case 3: sum += {0}; break;
    case 4: sum += 91; break;
    case 5: sum += 13; break;
    case 6: sum += 47; break;
    }}
    return sum + table[x & 1].op(x) + table[x & 1].data[x % 3] + table[x & 1].name[1];
}}
"""
MAIN = """
extern int printf(const char *, ...);
int exported(int x) {{ return x + 3; }}
void __fentry__(void) {{}}
extern int {0}(int);
extern int base[8];
int main(void)
{{
    for (int x = 0; x < 40; x++)
        printf("%d ", {0}(x));
    printf("%d %d\\n", {0}(1000), base[1]);
    return 0;
}}
"""


def test_the_new_code_beside_the_old_program_does_what_the_patched_program_does(toy: Toy, tmp_path: Path) -> None:
    """Relocations are made anew for all that was cut out; the processor is the judge."""
    flags = ("-no-pie", "-static", "-mcmodel=small")
    sides = []
    for side, number in (("original", 1), ("patched", 2)):
        folder = tmp_path / side
        folder.mkdir()
        (folder / "unit.c").write_text(RICH.format(number))
        sides.append(folder / "unit.o")
        kept = [flag for flag in CFLAGS if flag != "-mcmodel=kernel"]
        run("gcc", *kept, "-mcmodel=small", "-c", "-o", "unit.o", "unit.c", cwd=folder)
    expected = _output(toy, tmp_path, "expected", "pick", [sides[1]], flags)
    kernel = toy.target(others=(_kernel_copy(toy, RICH.format(1)),))
    plan = plan_module([ToyPair(*sides)], kernel)
    model = only(plan)
    for symbol in model.symbols:
        # The program has the old objects under their own names.
        if symbol.section is None and symbol.name.startswith(".klp.sym.rela."):
            symbol.name = symbol.name.removeprefix(".klp.sym.rela.vmlinux.vmlinux.").partition(",")[0]
    _redirect(model)
    carved = tmp_path / "carved.o"
    model.write(carved)
    old = tmp_path / "old.o"
    run(
        "objcopy",
        "--globalize-symbol=total",
        "--globalize-symbol=helper",
        "--globalize-symbol=twice",
        sides[0],
        old,
    )
    assert _output(toy, tmp_path, "live", "klpp_pick", [old, carved], flags) == expected


def _redirect(model: ElfObject) -> None:
    """Let references to replaced functions reach the new code, as ftrace does in the kernel."""
    new = {symbol.name.removeprefix("klpp_"): symbol for symbol in model.symbols if symbol.section is not None}
    for table in [table for section in model.sections for table in section.relocations]:
        for entry in table.entries:
            if entry.symbol is not None and entry.symbol.section is None:
                entry.symbol = new.get(entry.symbol.name, entry.symbol)


def _kernel_copy(toy: Toy, text: str) -> Path:
    return toy.compile("inkernel", text)


def _output(toy: Toy, work: Path, name: str, function: str, objects: list[Path], flags: tuple[str, ...]) -> str:
    (work / f"{name}.c").write_text(MAIN.format(function))
    run("gcc", "-O1", "-w", *flags, "-o", work / name, work / f"{name}.c", *objects, "-Wl,-z,noexecstack")
    return run(work / name)


def test_an_exported_symbol_is_an_ordinary_one_and_another_a_klp_relocation(toy: Toy) -> None:
    text = "extern int exported(int), hidden(int);\nint f(int x) {{ return exported(x) + hidden(x) + {}; }}\n"
    plan = toy.plan(toy.pair(text.format(1), text.format(2)))
    assert undefined(only(plan)) == {"exported", "__fentry__", "hidden"}


def test_a_changed_function_is_called_anew_and_its_address_stays_the_old_one(toy: Toy) -> None:
    """A pointer to new code could outlive the module; the old function is redirected while the patch is in."""
    text = (
        "typedef int (*op_t)(int);\nextern op_t hook;\n"
        '__attribute__((noinline)) int f(int x) {{ asm volatile(""); return x + {0}; }}\n'
        "int g(int x) {{ hook = f; return f(x) * {0} + 1; }}\n"
    )
    pair = toy.pair(text.format(1), text.format(2))
    model = only(toy.plan(pair, others=(toy.compile("hook", "int (*hook)(int);"),)))
    assert "f" in undefined(model)
    entries = [e for s in model.sections if s.name == ".text.g" for e in s.relocations[0].entries]
    called = [e.symbol.name for e in entries if e.symbol and e.symbol.name in ("klpp_f", "f")]
    assert sorted(called) == ["f", "klpp_f"]


def test_a_function_that_is_new_in_another_unit_is_linked_within_the_module(toy: Toy) -> None:
    user = toy.pair(
        "int f(int x) { return x; }\n", "extern int fresh(int);\nint f(int x) { return fresh(x); }\n", "user"
    )
    maker = toy.pair(
        "int other;\n",
        "int other;\nint fresh(int x) { return x * 3; }\nint idle(int x) { return x * 5; }\n",
        "maker",
    )
    plan = toy.plan(user, maker)
    first, second = plan.carved
    assert "fresh" in undefined(first)
    assert "fresh" in defined(second)
    assert "idle" not in defined(second)


def test_two_functions_of_one_name_get_two_names(toy: Toy) -> None:
    text = (
        "static __attribute__((noinline)) int same(int x) {{ return x * 3 + {0}; }}\n"
        "int {1}(int x) {{ return same(x) + {0}; }}\n"
    )
    a = toy.pair(text.format(1, "a"), text.format(2, "a"), "a")
    b = toy.pair(text.format(5, "b"), text.format(6, "b"), "b")
    plan = toy.plan(a, b)
    functions = plan.objects[0].functions
    assert len({function.symbol for function in functions}) == 4
    assert sorted(f.sympos for f in functions if f.name == "same") == [1, 2]


SHARED = """
#define __sched __attribute__((section(".sched.text"), noinline))
extern int exported(int);
static __sched int helper(int x) {{ asm volatile(""); return x * 5; }}
int __sched f(int x) {{ return helper(x) + helper(x + 1) + {}; }}
int __sched last(int x) {{ return exported(helper(x)); }}
"""


def test_calls_within_a_shared_section_become_relocations(toy: Toy) -> None:
    """The assembler resolved them: in the module they would lead to whatever stands there."""
    model = only(toy.plan(toy.pair(SHARED.format(1), SHARED.format(2))))
    code = next(section for section in model.sections if section.name == ".sched.text")
    symbol = next(symbol for symbol in model.symbols if symbol.name == "klpp_f")
    assert (symbol.section, symbol.size) == (code, len(code.data) - symbol.value)
    calls = [
        entry
        for entry in code.relocations[0].entries
        if entry.symbol and entry.symbol.name == ".klp.sym.rela.vmlinux.vmlinux.helper,0"
    ]
    assert len(calls) == 2
    assert {(entry.type, entry.addend) for entry in calls} == {(4, -4)}
    for entry in calls:
        assert bytes(code.data)[entry.offset - 1] in (0xE8, 0xE9)
        assert bytes(code.data)[entry.offset : entry.offset + 4] == bytes(4)


# --- refusals ----------------------------------------------------------------------------------------------


def refused(toy: Toy, original: str, patched: str, **options: object) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        toy.plan(toy.pair(original, patched), **options)  # type: ignore[arg-type]
    return caught.value


def test_no_change_makes_no_module(toy: Toy) -> None:
    assert refused(toy, "int f(void) { return 1; }", "int f(void) { return 1; }").slug == "nothing-changed"


def test_a_symbol_that_the_kernel_does_not_have_is_refused(toy: Toy) -> None:
    error = refused(
        toy, "int f(int x) { return x; }", "extern int absent(int);\nint f(int x) { return absent(x); }"
    )
    assert error.slug == "symbol-not-in-target"
    assert "absent" in error.message


def test_a_weak_symbol_that_the_kernel_does_not_have_stays_weak(toy: Toy) -> None:
    new = "extern int absent(int) __attribute__((weak));\nint f(int x) { return absent ? absent(x) : 1; }"
    model = only(toy.plan(toy.pair("int f(int x) { return x; }", new)))
    assert [symbol.bind for symbol in model.symbols if symbol.name == "absent"] == [2]


def test_freed_memory_is_refused(toy: Toy) -> None:
    init = toy.compile("init", 'int setup __attribute__((section(".init.data"))) = 1;')
    new = "extern int setup;\nint f(int x) { return setup; }"
    assert refused(toy, "int f(int x) { return x; }", new, others=(init,)).slug == "init-reference"


def test_changed_state_is_refused_with_the_diffs_word(toy: Toy) -> None:
    text = "int state = {0};\nint f(int x) {{ return state + {0}; }}"
    assert refused(toy, text.format(1), text.format(2)).slug == "changed-data"


def test_a_doubtful_name_is_refused_where_no_shipped_code_is_at_hand(toy: Toy) -> None:
    text = TWINS.format(start=7, name="ours")
    pair = toy.pair(text, text.replace("exported(x)", "exported(x) + state"))
    target = toy.target(pair, others=(toy.compile("twin", TWINS.format(start=9, name="theirs")),))
    target.vmlinux.elf = None
    target.vmlinux.columns.__dict__["sources"] = None
    with pytest.raises(RefusedError) as caught:
        plan_module([pair], target)
    assert caught.value.slug == "doubtful-symbol"


def test_a_function_whose_landing_pad_is_gone_is_not_pointed_to(toy: Toy) -> None:
    text = "extern int hidden(int);\nextern int (*hook)(int);\nint f(int x) {{ {} return hidden(x); }}\n"
    pair = toy.pair(text.format(""), text.format("hook = hidden;"))
    target = toy.target(pair, others=(toy.compile("hook", "int (*hook)(int);"),))
    target.vmlinux.__dict__["sealed"] = frozenset({target.vmlinux.address("hidden")})
    with pytest.raises(RefusedError) as caught:
        plan_module([pair], target)
    assert caught.value.slug == "sealed-function"
    # One that was never called indirectly has no landing pad that could be taken away.
    target.vmlinux.__dict__["sealed"] = frozenset({target.vmlinux.address("exported")})
    with pytest.raises(RefusedError) as caught:
        plan_module([pair], target)
    assert caught.value.slug == "sealed-function"
    called = toy.pair(text.format(""), text.format("x++;"))
    assert plan_module([called], target).objects[0].functions[0].name == "f"


def test_a_source_of_two_modules_is_refused(toy: Toy) -> None:
    text = "int f(int x) {{ return x + {}; }}"
    pair = toy.pair(text.format(1), text.format(2), owner="drivers/a, drivers/b")
    with pytest.raises(RefusedError) as caught:
        toy.plan(pair)
    assert caught.value.slug == "several-owners"


CALLBACK = """
#define __section__ section
#define KLPKIT_NO_KERNEL
struct klp_object;
#include "klpkit.h"
extern int hidden(int);
int f(int x) {{ return x + {0}; }}
static int before(struct klp_object *object) {{ return hidden(3); }}
{1}
"""


def test_callbacks_are_found_and_come_along(toy: Toy) -> None:
    folder = toy.work / "linux"
    folder.mkdir()
    (folder / "livepatch.h").write_text("")
    run("cp", INCLUDE / "klpkit.h", toy.work)
    for side in ("original", "patched"):
        (toy.work / side).mkdir()
        run("cp", "-r", toy.work / "klpkit.h", folder, toy.work / side)
    new = CALLBACK.format(2, "KLPKIT_PRE_PATCH(vmlinux, before);\nKLPKIT_STATE(7, 2);\nKLPKIT_STATE(3, 1);")
    plan = toy.plan(toy.pair("int f(int x) { return x + 1; }\n", new.replace('"klpkit.h"', '"klpkit.h"')))
    assert plan.objects[0].callbacks == (("pre_patch", "before"),)
    assert plan.states == [(3, 1), (7, 2)]
    assert "{ .id = 7, .version = 2 }" in glue_source(Glue(plan.objects, (), plan.states))
    model = only(plan)
    assert "before" in defined(model)
    assert "hidden" in undefined(model)
    assert not any(section.name.startswith(".klp.callbacks") for section in model.sections)


def test_a_weak_function_that_the_kernel_overrides_is_not_patched(toy: Toy) -> None:
    """The name stands for another body in the kernel: replacing that by ours would be silent and wrong."""
    text = "int __attribute__((weak)) f(int x) {{ return x + {}; }}\nint g(int x) {{ return f(x); }}\n"
    strong = toy.compile("strong", "int f(int x) { return x * 100; }")
    assert refused(toy, text.format(1), text.format(2), others=(strong,)).slug == "overridden-weak"
    plan = toy.plan(toy.pair(text.format(1), text.format(2)))
    assert "f" in [function.name for function in plan.objects[0].functions]


LOOP = """
extern int exported(int), kthread_should_stop(void);
{1}
int loop(int x) {{ while (!kthread_should_stop()) x = exported(x); return x + {0}; }}
int f(int x) {{ return x + {0} {2}; }}
"""


def test_hazards_are_told(toy: Toy) -> None:
    new = "static int fresh = 1;\nint grow(int x) { return fresh += x; }"
    stub = toy.compile("stub", "int kthread_should_stop(void) { return 0; }")
    plan = toy.plan(toy.pair(LOOP.format(1, "", ""), LOOP.format(2, new, "+ grow(x)")), others=(stub,))
    told = {(warned.slug, warned.symbol) for warned in plan.warnings}
    assert told == {("thread-loop", "loop"), ("new-state", "fresh")}


def test_a_function_that_moves_to_another_source_is_refused(toy: Toy) -> None:
    """Units that only call it are not compiled anew, and would go on with the old body."""
    a = toy.pair("int kept; int f(int x) { return x; }\n", "int kept;\n", "a")
    b = toy.pair(
        "int g(int x) { return x; }\n", "int f(int x) { return x * 2; } int g(int x) { return f(x); }\n", "b"
    )
    with pytest.raises(RefusedError) as caught:
        toy.plan(a, b)
    assert caught.value.slug == "moved-function"


def test_a_function_that_is_no_longer_static_is_still_the_kernels_own(toy: Toy) -> None:
    text = (
        '{0}__attribute__((noinline)) int f(int x) {{ asm volatile(""); return x; }}\n'
        "int g(int x) {{ return f(x) + {1}; }}\n"
    )
    model = only(toy.plan(toy.pair(text.format("static ", 1), text.format("", 2))))
    assert ".klp.sym.rela.vmlinux.vmlinux.f,0" in undefined(model)
