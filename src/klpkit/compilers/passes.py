"""What a compiler does between functions, pass by pass: what relies on it, its switch, whether a record shows it.

The order of GCC's passes is in gcc/passes.def, of LLVM's in llvm/lib/Passes/PassBuilderPipelines.cpp.  A row that
names programs of `effect_programs/` was established by experiment (`experiments.py`, tests/compilers): two
variants of one function's body, and another function's code that differs between them.  The causes are slugs of
`klpkit.records.causes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from klpkit.compilers.gcc import SWITCHES
from klpkit.compilers.levels import Level

Affects = Literal["code", "placement"]


@dataclass(frozen=True, slots=True)
class Pass:
    """One thing that the compiler does between functions.

    `switches` turn it on, any of them; empty where no flag controls it.  `helpers` are switches that tune it.
    `ir_passes` are the passes of LLVM's pipeline that do it, as `opt -passes=` spells them.
    `needs` are switches without which it does nothing, `when` names conditions of `flagstate.CONDITIONS`.
    `recorded` says that GCC's clone dump shows each instance.  `affects` is `code` where another function's
    instructions rely on the body, `placement` where only the place or presence of code does, so that code which
    is running stays right.  `remedy` says how to be rid of it.
    """

    slug: str
    cause: str
    says: str
    switches: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()
    ir_passes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    when: tuple[str, ...] = ()
    recorded: bool = False
    affects: Affects = "code"
    lowest: str = ""
    remedy: str = ""
    programs: tuple[str, ...] = ()

    @property
    def flagless(self) -> bool:
        """Whether no flag that keeps the optimisation level turns it off."""
        return not self.switches and not self.lowest

    def allowed_at(self, level: Level) -> bool:
        """Whether a build at `level` may do it; what no flag can stop is not the level's to forbid."""
        return self.flagless or level.allows(lowest_level(self))


def _switched(slug: str, cause: str, says: str, *switches: str, **more: tuple[str, ...] | bool | str) -> Pass:
    remedy = " ".join("-fno-" + switch.removeprefix("-f") for switch in switches[:1])
    return Pass(slug, cause, says, switches=switches, remedy=remedy, **more)  # type: ignore[arg-type]


GCC_PASSES: tuple[Pass, ...] = (
    # Recorded by the clone dump.
    _switched(
        "inline", "inline", "a function's body is copied into its callers", "-finline", recorded=True,
        helpers=(
            "-fearly-inlining", "-finline-functions", "-finline-small-functions",
            "-finline-functions-called-once", "-findirect-inlining",
        ),
        programs=("inline",),
    ),
    Pass(
        "inline-public", "inline", "a function that other units can call is copied into its callers",
        when=("public-inlining",), recorded=True, lowest="inline",
        remedy="-flive-patching=inline-only-static", programs=("inline-public",),
    ),
    _switched("constprop", "constprop", "a copy of a function is made for constant arguments", "-fipa-cp",
              helpers=("-fipa-cp-clone",), recorded=True, programs=("constprop",)),
    _switched("isra", "isra", "a function's parameters are removed or split", "-fipa-sra", recorded=True,
              programs=("isra",)),
    _switched("part", "part", "the head of a function is inlined, the rest becomes a part",
              "-fpartial-inlining", recorded=True, programs=("part",)),
    # Recorded as a removal; the code that is left does not rely on it.
    Pass("unreachable-function", "unknown", "a function without callers is left out of the object",
         recorded=True, affects="placement", remedy="__attribute__((used)) on the function",
         programs=("unreachable-function",)),
    # Unrecorded, each with a switch.
    _switched("ipa-ra", "ipa-ra", "a caller keeps values in registers that the callee leaves alone", "-fipa-ra",
              when=("not-profiled",), programs=("ipa-ra",)),
    _switched("pure-const", "pure-const",
              "a caller relies on a callee having no side effects, returning fresh memory or never returning",
              "-fipa-pure-const", programs=("pure-const", "noreturn", "malloc-like")),
    _switched("modref", "modref", "a caller relies on what a callee loads and stores", "-fipa-modref",
              programs=("modref",)),
    _switched("icf", "icf", "functions or constants of equal content become one", "-fipa-icf",
              "-fipa-icf-functions", "-fipa-icf-variables", programs=("icf",)),
    _switched("range", "range", "a function relies on the range of its arguments or of what a callee returns",
              "-fipa-vrp", needs=("-fipa-cp",), programs=("range", "range-return")),
    _switched("bit-cp", "bit-cp", "a function relies on known bits of its arguments", "-fipa-bit-cp",
              needs=("-fipa-cp",), programs=("bit-cp",)),
    _switched("reference", "reference", "a caller keeps a static variable over a call that does not write it",
              "-fipa-reference", programs=("reference",)),
    _switched("read-only-variable", "read-only-variable",
              "a static variable that no function writes, or none reads, is optimised away",
              "-fipa-reference-addressable", programs=("read-only-variable", "write-only-variable")),
    _switched("stack-alignment", "stack-alignment",
              "a caller aligns the stack no more than its callee needs", "-fipa-stack-alignment",
              when=("stack-aligned",), programs=("stack-alignment",)),
    _switched("pta", "modref", "pointers are followed through the whole unit", "-fipa-pta"),
    _switched("profile", "unknown", "a function called only from cold code is put with it and made small",
              "-fipa-profile", affects="placement", programs=("profile",)),
    _switched("locality", "clone", "functions are copied and ordered after their callers",
              "-fipa-reorder-for-locality"),
    _switched("devirtualisation", "devirtualisation",
              "a virtual call becomes a direct one where the unit leaves one target", "-fdevirtualize",
              "-fdevirtualize-speculatively", helpers=("-fdevirtualize-at-ltrans",), when=("c++",),
              programs=("devirtualisation",)),
    _switched("whole-program", "unknown", "every function counts as local to the unit", "-fwhole-program"),
    # Unrecorded, and no switch turns it off that leaves a level what it allows.
    Pass("constexpr", "inline", "the front end evaluates a constexpr function at its call",
         when=("c++", "inlining"), remedy="-fno-inline", programs=("constexpr",)),
    Pass("nothrow", "nothrow", "a caller has no cleanup code for a callee found not to throw",
         when=("exceptions",), remedy="declare the callee noexcept, or compile with -fno-exceptions",
         programs=("nothrow",)),
    Pass("address-taken-function", "address-taken",
         "a static function whose address is not taken has no landing pad for indirect calls",
         when=("landing-pads",),
         remedy="patch the function too when a patch takes its address", programs=("address-taken-function",)),
    Pass("address-taken-variable", "address-taken",
         "stores through pointers are assumed to miss a static variable whose address is not taken",
         remedy="patch its users too when a patch takes the variable's address",
         programs=("address-taken-variable",)),
    Pass("local-calling-convention", "calling-convention",
         "a static function that is only called directly takes its arguments in registers", when=("i386",),
         remedy="__attribute__((regparm(0))) on the function, or patch its callers",
         programs=("local-calling-convention",)),
    Pass("variable-alignment", "unknown", "a vectorised loop raises the alignment of a static variable",
         when=("vectorised",), affects="placement", remedy="-fno-tree-vectorize",
         programs=("variable-alignment",)),
    Pass("comdat-local", "unknown", "a static function is moved into the section group of its only caller",
         when=("c++",), affects="placement", remedy="patch through the group's symbol",
         programs=("comdat-local",)),
)  # fmt: skip


_GCC = {row.slug: row for row in GCC_PASSES}


def _as_gcc(*slugs: str) -> tuple[Pass, ...]:
    return tuple(_GCC[slug] for slug in slugs)


# LLVM's passes have no switches of their own: a level is honoured only as far as `-fno-inline` goes.  `opt` can
# leave them out of its pipeline, to find a cause.
CLANG_PASSES: tuple[Pass, ...] = (
    _switched("inline", "inline", "a function's body is copied into its callers", "-finline", recorded=True,
              programs=("inline", "inline-public")),
    Pass("argument-propagation", "range", "a static function relies on the arguments that its callers pass",
         remedy="take the function's address in a used variable", ir_passes=("ipsccp",), programs=("constprop",)),
    Pass("argument-removal", "isra", "a static function's parameters are removed or become values",
         remedy="take the function's address in a used variable", ir_passes=("deadargelim", "argpromotion"),
         programs=("dead-argument",)),
    Pass("return-propagation", "range", "a caller relies on the values that a callee returns",
         remedy="make the callee a weak symbol", ir_passes=("ipsccp",), programs=("range-return",)),
    Pass("attribute-inference", "pure-const",
         "a caller relies on a callee having no side effects, returning fresh memory or never returning",
         remedy="make the callee a weak symbol", ir_passes=("function-attrs", "rpo-function-attrs"),
         programs=("pure-const", "noreturn", "malloc-like")),
    Pass("static-variables", "read-only-variable",
         "a static variable that no function writes, or none reads, is optimised away",
         remedy="make the variable volatile or not static", ir_passes=("globalopt",),
         programs=("read-only-variable", "write-only-variable")),
    Pass("static-aliases", "reference", "a caller keeps a static variable over a call that does not write it",
         remedy="make the variable volatile or not static",
         ir_passes=("require<globals-aa>", "recompute-globalsaa"), programs=("reference",)),
    *_as_gcc("nothrow", "address-taken-function", "address-taken-variable", "local-calling-convention"),
    *_as_gcc("unreachable-function"),
)  # fmt: skip


def passes_of(kind: str) -> tuple[Pass, ...]:
    """The table of a compiler's family, `gcc` or `clang`."""
    return CLANG_PASSES if kind == "clang" else GCC_PASSES


def lowest_level(row: Pass) -> str:
    """The lowest level that allows `row`, "" where none does."""
    return row.lowest or (SWITCHES[row.switches[0]] if row.switches else "")
