"""How a function can be replaced: told from objects compiled on the spot, for four architectures and an image."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from klpkit.errors import RefusedError
from klpkit.impact.forbidden import RULES, SLUGS, forbidden_section
from klpkit.impact.patchability import NOCALL, NOTRACE, UNTRACED_OBJECT, assess, functions_of
from klpkit.impact.result import How, Patchability
from klpkit.records.model import Function

SOURCE = """
struct s { int a, b; };
extern int other(int);
#define __section(name) __attribute__((section(name)))
static __attribute__((noinline)) int clone(struct s *p, int unused) { return other(p->a) * 3; }
int plain(struct s *p) { return clone(p, 1) + clone(p + 1, 2) * 2; }
__attribute__((no_instrument_function, patchable_function_entry(0, 0))) int quiet(int x) { return other(x) + 1; }
__section(".init.text") int booting(int x) { return other(x) + 2; }
__section(".noinstr.text") __attribute__((no_instrument_function)) int still(int x) { return other(x) + 3; }
__section(".sched.text") int scheduling(int x) { return other(x) + 4; }
static int swallowed(int x) { return x * 9; }
int swallows(int x) { return swallowed(other(x)) + swallowed(x); }
"""

TRACED = {
    "x86_64": ("gcc", "-pg", "-mfentry", "-mrecord-mcount"),
    "x86_64 before objtool": ("gcc", "-pg", "-mfentry"),
    "x86_64 with landing pads": ("gcc", "-pg", "-mfentry", "-fcf-protection=branch"),
    "x86_64 by clang": ("clang-16", "-pg", "-mfentry"),
    "aarch64": ("aarch64-linux-gnu-gcc", "-fpatchable-function-entry=2"),
    "aarch64 with bti": ("aarch64-linux-gnu-gcc", "-fpatchable-function-entry=2", "-mbranch-protection=standard"),
    "aarch64 before the entry": ("aarch64-linux-gnu-gcc", "-fpatchable-function-entry=4,2"),
    "ppc64le": ("powerpc64le-linux-gnu-gcc", "-pg", "-mprofile-kernel"),
    "s390x": ("s390x-linux-gnu-gcc", "-pg", "-mfentry", "-mrecord-mcount", "-mnop-mcount", "-fno-pic"),
    "loongarch64": ("clang-19", "--target=loongarch64-linux-gnu", "-fpatchable-function-entry=2"),
}


def build(folder: Path, cc: str = "gcc", *flags: str, source: str = SOURCE, output: str = "a.o") -> Path:
    if not shutil.which(cc):
        pytest.skip(f"{cc} is not installed")
    path = folder / output
    command = [cc, "-O2", "-fno-pie", *flags, "-c", "-x", "c", "-", "-o", str(path)]
    subprocess.run(command, input=source.encode(), check=True)
    return path


def ask(path: Path, *symbols: str, narrowed: dict[str, str] | None = None) -> list[Patchability]:
    return assess(path, [Function("u", symbol) for symbol in symbols], owner="vmlinux", narrowed=narrowed or {})


@pytest.mark.parametrize("sections", ["", "-ffunction-sections"])
@pytest.mark.parametrize("kind", TRACED)
def test_ftrace_locations_are_found(tmp_path: Path, kind: str, sections: str) -> None:
    cc, *flags = TRACED[kind]
    path = build(tmp_path, cc, *flags, *filter(None, [sections]))
    plain, quiet, scheduling, booting = ask(path, "plain", "quiet", "scheduling", "booting")
    assert (plain.how, plain.ftrace, plain.forbidden, plain.owner) == (How.SYMBOL, True, "", "vmlinux")
    assert (quiet.ftrace, quiet.notes) == (False, (NOTRACE,))
    assert (scheduling.ftrace, scheduling.forbidden, scheduling.section) == (True, "", ".sched.text")
    assert (booting.forbidden, booting.section) == ("init-code", ".init.text")


def test_call_padding_on_x86_is_no_ftrace_location(tmp_path: Path) -> None:
    (plain,) = ask(build(tmp_path, "gcc", "-fpatchable-function-entry=16,16"), "plain")
    assert (plain.ftrace, plain.notes) == (False, (UNTRACED_OBJECT,))


def test_a_copy_goes_through_its_callers_and_what_was_swallowed_is_gone(tmp_path: Path) -> None:
    path = build(tmp_path)
    (copy,) = [f.symbol for f in functions_of(path) if f.symbol.startswith("clone.")]
    made, source, swallowed, absent = ask(path, copy, "clone", "swallowed", "never_heard_of")
    assert made.how is How.CALLERS
    assert "patch its callers" in made.notes[0]
    assert source.how is How.GONE
    assert copy in source.notes[0]
    assert swallowed.how is absent.how is How.GONE


def test_a_function_of_another_object_is_unknown(tmp_path: Path) -> None:
    (other,) = ask(build(tmp_path), "other")
    assert (other.how, other.notes) == (How.UNKNOWN, ("its code is in another object",))


def test_a_renamed_function_is_patched_by_its_new_symbol(tmp_path: Path) -> None:
    source = 'static __attribute__((used)) int f(int x) __asm__("f.llvm.1234"); static int f(int x) { return x; }'
    (found,) = ask(build(tmp_path, source=source), "f")
    assert found.how is How.SYMBOL
    assert "its symbol is f.llvm.1234" in found.notes


def test_functions_narrowed_to_their_callers_are_replaced_by_symbol_but_not_called(tmp_path: Path) -> None:
    path = build(tmp_path)
    plain, swallows = ask(path, "plain", "swallows", narrowed={"plain": "it takes its argument for 5"})
    assert (plain.how, plain.callable, plain.notes[0]) == (How.SYMBOL, False, "it takes its argument for 5")
    assert (swallows.how, swallows.callable) == (How.SYMBOL, None)


def test_functions_with_another_calling_convention_go_through_their_callers(tmp_path: Path) -> None:
    (found,) = assess(build(tmp_path), [Function("u", "plain")], nocall=["plain"])
    assert (found.how, found.callable) == (How.CALLERS, False)


def test_debugging_information_tells_a_changed_calling_convention(tmp_path: Path) -> None:
    source = SOURCE.replace("clone", "kept_name")
    (kept,) = ask(build(tmp_path, "clang-16", "-g", source=source), "kept_name")
    assert (kept.how, kept.notes[0]) == (How.CALLERS, NOCALL)


def test_functions_with_one_body_are_noted(tmp_path: Path) -> None:
    source = ".type f,@function\nf:\n.type g,@function\ng: ret\n.size f,1\n.size g,1\n"
    path = tmp_path / "a.o"
    subprocess.run(["gcc", "-c", "-x", "assembler", "-", "-o", path], input=source.encode(), check=True)
    (found,) = ask(path, "f")
    assert "it shares its code with g" in found.notes


def test_a_repeated_static_name_is_noted(tmp_path: Path) -> None:
    one = build(tmp_path, source="static __attribute__((used)) int f(int x) { return x; }", output="one.o")
    two = build(tmp_path, source="static __attribute__((used)) int f(int x) { return -x; }", output="two.o")
    both = tmp_path / "both.o"
    subprocess.run(["ld", "-r", one, two, "-o", both], check=True)
    (found,) = ask(both, "f")
    assert any("2 functions have this name" in note for note in found.notes)


IMAGE = """
.text
.globl _start, __noinstr_text_start, __noinstr_text_end, __start_mcount_loc, __stop_mcount_loc
.type _start,@function
_start: nop; nop; nop; nop; nop; ret
.size _start,.-_start
.type unseen,@function
unseen: nop; nop; ret
.size unseen,.-unseen
__noinstr_text_start:
.type quiet,@function
quiet: nop; ret
.size quiet,.-quiet
__noinstr_text_end:
.data
__start_mcount_loc: .quad _start
__stop_mcount_loc:
"""


def test_a_linked_image_tells_locations_and_forbidden_code(tmp_path: Path) -> None:
    image = tmp_path / "image"
    command = ["gcc", "-nostdlib", "-static", "-x", "assembler", "-", "-o", image]
    subprocess.run(command, input=IMAGE.encode(), check=True)
    start, unseen, quiet = ask(image, "_start", "unseen", "quiet")
    assert (start.ftrace, start.forbidden) == (True, "")
    assert (unseen.ftrace, unseen.forbidden) == (False, "")
    assert (quiet.ftrace, quiet.forbidden) == (False, "noinstr-code")


def test_an_image_without_a_list_of_locations_says_unknown(tmp_path: Path) -> None:
    image = tmp_path / "image"
    source = b"int f(int x) { return x; } int main(void) { return f(1); }"
    subprocess.run(["gcc", "-pg", "-mfentry", "-x", "c", "-", "-o", image], input=source, check=True)
    (found,) = ask(image, "f")
    assert found.ftrace is None


def test_intermediate_code_is_refused(tmp_path: Path) -> None:
    path = build(tmp_path, "gcc", "-flto", "-fno-fat-lto-objects")
    with pytest.raises(RefusedError, match="intermediate"):
        ask(path, "plain")
    with pytest.raises(RefusedError, match="intermediate"):
        functions_of(path)


@pytest.mark.parametrize(
    ("section", "traced", "slug"),
    [
        (".text", True, ""),
        (".text.hot.f", True, ""),
        (".text.init_something", True, ""),
        (".ref.text", True, ""),
        (".spinlock.text", True, ""),
        (".init.text", True, "init-code"),
        (".init.text.f", True, "init-code"),
        (".text.startup", True, "init-code"),
        (".exit.text", False, "exit-code"),
        (".kprobes.text", True, ""),
        (".kprobes.text", False, "kprobes-code"),
        (".cpuidle.text", None, "noinstr-code"),
        ("__ksymtab+f", None, "export-table"),
        ("__ksymtab_strings", None, "export-table"),
    ],
)
def test_sections_that_must_not_be_patched(section: str, traced: bool | None, slug: str) -> None:
    assert forbidden_section(section, traced) == slug


def test_every_slug_is_explained() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reasons.md").read_text()
    for slug in (*SLUGS, "lto-object", "elf32"):
        assert f"`{slug}`" in text
    assert len({rule.section for rule in RULES}) == len(RULES)
