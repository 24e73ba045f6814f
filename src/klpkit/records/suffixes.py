"""What compilers append to a function's assembler name, and which function a name with suffixes came from.

`foo.part.0.isra.0.cold` is the cold part of an argument-changed copy of a part of `foo`.  A suffix is a hint to
look for the parent in the same object and never proof: an `asm("…")` label, another language's mangling or a
nested function can have dots of its own.  Nothing here compares names with their numbers taken away.

Only the standard built-ins are used: the compiler driver imports this on every call.
"""

from __future__ import annotations

# Suffix word → cause of `klpkit.records.causes`, for words that a number follows (`foo.part.0`).
NUMBERED = {
    "constprop": "constprop",
    "isra": "isra",
    "part": "part",
    "cold": "cold",
    "__part": "part",
    "_omp_fn": "part",
    "_omp_cpyfn": "part",
    "_loopfn": "part",
    "_paral_fn": "part",
    "omp_outlined": "part",
    "extracted": "part",
    "simdclone": "simdclone",
    "specialized": "constprop",
    "argelim": "isra",
    "retelim": "isra",
    "argprom": "isra",
    "clone": "clone",
    "lto_priv": "same-function",
    "localalias": "icf",
    "llvm": "same-function",
    "__uniq": "same-function",
    "tmclone": "clone",
}
# The same for words that end a name themselves (`foo.cold`).
BARE = {
    "cold": "cold",
    "argelim": "isra",
    "retelim": "isra",
    "argprom": "isra",
    "omp_outlined": "part",
    "extracted": "part",
    "localalias": "icf",
    "resolver": "target-clone",
    "ifunc": "target-clone",
    "default": "target-clone",
    "avx": "target-clone",
    "avx2": "target-clone",
    "avx512f": "target-clone",
    "sse2": "target-clone",
    "sse3": "target-clone",
    "ssse3": "target-clone",
    "sse4_1": "target-clone",
    "sse4_2": "target-clone",
    "popcnt": "target-clone",
    "resume": "part",
    "destroy": "part",
    "cleanup": "part",
    "actor": "part",
    "cfi": "same-function",
    "cfi_jt": "same-function",
}
# Causes that leave the function what it is: it keeps its calling convention and can be patched by its symbol.
RENAMES = frozenset(("same-function", "icf"))
PREFIXES = ("__pfx_", "__cfi_")
_SIMD = "_ZGV"


def parent(symbol: str) -> tuple[str, str] | None:
    """The name that `symbol` was made from by its last suffix, and the cause; None for a name without one.

    A number alone (`foo.0`) counts as a copy of `foo`: LLVM numbers specialised functions so.
    """
    stem, dot, word = symbol.rpartition(".")
    if not dot:
        return _simd_parent(symbol)
    if word in BARE:
        return (stem, BARE[word]) if stem else None
    if word.startswith("arch_"):
        return (stem, "target-clone") if stem else None
    if not _is_number(word):
        return None
    base, dot, kind = stem.rpartition(".")
    if dot and base and kind in NUMBERED:
        return base, NUMBERED[kind]
    return (stem, "clone") if stem and word.isdecimal() else None


def _is_number(word: str) -> bool:
    """Whether `word` is a clone's number; LLVM's module hashes are decimal or hexadecimal."""
    return bool(word) and not word.strip("0123456789abcdefABCDEF")


def _simd_parent(symbol: str) -> tuple[str, str] | None:
    """`_ZGVbN4vl_foo` → `foo`: the x86 and AArch64 vector function ABIs put the copy's kind in front."""
    if not symbol.startswith(_SIMD) or len(symbol) < 8 or symbol[5] not in "MN":
        return None
    kind, underscore, name = symbol[len(_SIMD) :].partition("_")
    if not underscore or not name or not kind[2:3].isalnum():
        return None
    return name, "simdclone"


def ancestry(symbol: str) -> list[tuple[str, str]]:
    """All names that `symbol` came from, nearest first, each with the cause of the step to it."""
    found = []
    step = parent(symbol)
    while step:
        found.append(step)
        step = parent(step[0])
    return found


def source_name(symbol: str) -> str:
    """The name that `symbol` has in the source, as far as its suffixes tell."""
    steps = ancestry(symbol)
    return steps[-1][0] if steps else symbol
