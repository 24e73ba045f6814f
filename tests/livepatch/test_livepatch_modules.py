"""Patches of modules: whose symbols are whose, and when they are resolved."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_kernel import Toy, ToyPair, run

from klpkit.elf import ElfFile, ElfObject, ObjSection
from klpkit.errors import RefusedError
from klpkit.livepatch.klprela import KlpReference, write_klp_relocations
from klpkit.livepatch.model import Kind, Reference
from klpkit.livepatch.planning import Plan, plan_module
from klpkit.target import Export
from klpkit.target.module import Module


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


def shipped(toy: Toy, name: str, *objects: Path) -> Module:
    path = toy.work / f"{name}.ko"
    run("ld", "-r", "-o", path, *objects)
    toy.modules[name] = Module(path, ElfFile.open(path))
    return toy.modules[name]  # type: ignore[return-value]


def plan(toy: Toy, pair: ToyPair, *rest: Path) -> Plan:
    shipped(toy, "toy_mod", pair.original, *rest)
    return plan_module([pair], toy.target())


def reference(made: Plan, name: str) -> Reference:
    (found,) = [each for each in made.kernel.references.values() if each.name == name]
    return found


TEXT = """
extern int exported(int), hidden(int), own(int), theirs(int);
extern char __this_module[];
static int state = 4;
int set(int x) {{ return state = x; }}
int f(int x)
{{
    state++;
    return exported(x) + hidden(x) + own(x) + theirs(x) + state + (x > (long)__this_module) + {};
}}
"""


def test_symbols_of_a_module_are_resolved_with_it_and_those_of_the_kernel_when_the_patch_loads(toy: Toy) -> None:
    shipped(toy, "maker", toy.compile("maker", "int theirs(int x) { return x; }"))
    toy.exports["theirs"] = Export("theirs", None, "", True, "drivers/toy/maker")
    pair = toy.pair(TEXT.format(1), TEXT.format(2), owner="drivers/toy/toy-mod")
    own = toy.compile("own", "int own(int x) { return x; } char __this_module[64];")
    made = plan(toy, pair, own)
    assert [(patched.name, [f.name for f in patched.functions]) for patched in made.objects] == [
        ("toy_mod", ["f"])
    ]
    places = {
        name: (reference(made, name).kind, reference(made, name).object, reference(made, name).patched_object)
        for name in ("exported", "hidden", "own", "theirs", "state", "__this_module")
    }
    assert places == {
        "exported": (Kind.EXPORT, "vmlinux", ""),
        "hidden": (Kind.KLP, "vmlinux", "vmlinux"),
        "own": (Kind.KLP, "toy_mod", "toy_mod"),
        "theirs": (Kind.KLP, "maker", "toy_mod"),
        "state": (Kind.KLP, "toy_mod", "toy_mod"),
        "__this_module": (Kind.KLP, "toy_mod", "toy_mod"),
    }


LOCALS = """
extern int exported(int);
int first(int x) {{ {new} static int count = 3; count += x; return exported(count); }}
int second(int x) {{ static int count = 5; count += x; return exported(count); }}
"""


def test_a_static_local_of_a_module_is_found_by_the_relocations_of_its_shipped_code(toy: Toy) -> None:
    new = "static int calls; if (calls++ > x) exported(calls);"
    pair = toy.pair(LOCALS.format(new=""), LOCALS.format(new=new), owner="toy_mod")
    made = plan(toy, pair)
    (found,) = [each for each in made.kernel.references.values() if each.name.startswith("count")]
    module = toy.modules["toy_mod"]
    assert isinstance(module, Module)
    symbol = module.positions(found.name)[0]
    assert module.code(symbol, 1) == b"\3"


def test_twin_functions_of_a_module_are_told_apart_by_their_code(toy: Toy) -> None:
    text = (
        "static __attribute__((noinline)) int twin(int x) {{ return x * {0}; }}\n"
        "int use{0}(int x) {{ return twin(x) + {1}; }}\n"
    )
    pair = toy.pair(text.format(3, 0), text.format(3, 7), owner="toy_mod")
    other = toy.compile("other", text.format(5, 0))
    made = plan(toy, pair, other)
    found = reference(made, "twin")
    module = toy.modules["toy_mod"]
    assert isinstance(module, Module)
    symbols = module.positions("twin")
    sources = [symbol.source for symbol in symbols]
    assert sources[found.sympos - 1] == "unit.c"


def test_a_symbol_of_a_modules_init_memory_is_refused(toy: Toy) -> None:
    text = "extern int setup;\nint f(int x) {{ return x + {}; }}\n"
    pair = toy.pair(text.format("1"), text.format("setup"), owner="toy_mod")
    init = toy.compile("init", 'int setup __attribute__((section(".init.data"))) = 1;')
    with pytest.raises(RefusedError) as caught:
        plan(toy, pair, init)
    assert caught.value.slug in ("init-reference", "symbol-not-in-target")


def test_a_module_that_is_not_there_is_refused(toy: Toy) -> None:
    text = "int f(int x) {{ return x + {}; }}"
    with pytest.raises(RefusedError) as caught:
        toy.plan(toy.pair(text.format(1), text.format(2), owner="fs/absent"))
    assert caught.value.slug in ("no-modules", "no-such-module")


TRACED = """
extern int exported(int);
struct tracepoint {{ const char *name; long key[2]; }};
struct tracepoint __tracepoint_toy;
long other_key[2];
static inline __attribute__((always_inline)) int enabled(void)
{{
    asm goto("1: jmp %l[yes]\\n.pushsection __jump_table,\\"aw\\"\\n.balign 8\\n.long 1b - .\\n"
             ".long %l[yes] - .\\n.quad {key} + 2 - .\\n.popsection" : : : : yes);
    return 0;
yes:
    return 1;
}}
int f(int x) {{ if (enabled()) exported(x + 7); return x + {number}; }}
int keep(void) {{ return __tracepoint_toy.key[0] + other_key[0]; }}
"""


def traced(toy: Toy, key: str) -> Plan:
    sides = [TRACED.format(key=key, number=number) for number in (1, 2)]
    return plan(toy, toy.pair(*sides, owner="toy_mod"))


def count_nops(section: ObjSection) -> int:
    return sum(bytes(section.data).count(nop) for nop in (b"\x66\x90", b"\x0f\x1f\x44\x00\x00"))


def test_a_modules_tracepoint_is_silent_in_patched_code(toy: Toy) -> None:
    """With the entry gone nothing would make the compiled jump a no-op: the probe would run always."""
    made = traced(toy, "__tracepoint_toy+8")
    (model,) = made.carved
    assert not any(section.name == "__jump_table" for section in model.sections)
    code = next(section for section in model.sections if section.name == ".text.f")
    compiled = ElfObject.read(toy.work / "patched" / "unit.o")
    before = next(section for section in compiled.sections if section.name == ".text.f")
    assert count_nops(code) == count_nops(before) + 1
    assert [(warned.slug, warned.symbol) for warned in made.warnings] == [("silent-tracepoint", "f")]


def test_another_key_of_a_module_is_left_to_be_refused(toy: Toy) -> None:
    made = traced(toy, "other_key")
    (model,) = made.carved
    assert any(section.name == "__jump_table" for section in model.sections)
    assert reference(made, "other_key").patched_object == "toy_mod"
    wanted = [KlpReference(r.symbol, r.patched_object, r.object, r.name, r.sympos)
              for r in made.kernel.references.values() if r.name == "other_key"]  # fmt: skip
    with pytest.raises(RefusedError) as caught:
        write_klp_relocations(model, wanted)
    assert caught.value.slug == "module-key"
