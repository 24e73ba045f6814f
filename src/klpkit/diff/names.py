"""Which symbol names are the author's, and which carry a number or hash of the compiler's.

A name of the author's is an identity where it is unique.  A name of the compiler's (`foo.isra.0`, `CSWTCH.12`,
`__func__.7`, `bar.llvm.1234`, `.LC3`) is none: the object behind it is matched by its content and its users.
What remains before the compiler's suffix, the declared name, only ever *forbids* a match: two objects whose
declared names differ are never one.
"""

from __future__ import annotations

import re

# What GCC and LLVM append after a dot; a bare number is GCC's mark of a static local or compiler-made object.
_WORDS = (
    "isra|constprop|part|cold|llvm|lto_priv|simdclone|localalias|specialized|nonlocal|str|outlined|uncold|"
    "resume|destroy|cleanup|warm|hot|cl|_omp_fn|omp_fn|localpromotealias|startup|exit|__uniq|__part|const|"
    "content|argprom|retelim|argelim|assume|llvmhash|merged|Tgm|llvm_merged|clone|alias|stub"
)
_SUFFIX = re.compile(rf"^(.+?)(?:\.(?:(?:{_WORDS})(?:\.[0-9a-fA-F_]+)*|\d+))+$")
_UNIQUE = re.compile(r"^(__UNIQUE_ID_|__initcall__kmod_|__addressable_|\.L|\.?L[CBV]\w*\d+$|\$)")
_RUST = re.compile(r"^(_ZN.+?)17h[0-9a-f]{16}E(.*)$")

# Suffixes that only rename: the object before the suffix is one of the source's, promoted or made unique.
_RENAMED = re.compile(r"^(.+?)\.(?:llvm\.[0-9a-fA-F]+|lto_priv\.\d+|__uniq\.\d+)$")
_COLD = re.compile(r"^(.+)\.cold(?:\.\d+)?$")
PREFIXES = ("__pfx_", "__cfi_")


def declared(name: str) -> str | None:
    """What the compiler's suffix was put on, None where the whole name is the author's."""
    if name.startswith(("__UNIQUE_ID_", "__initcall__kmod_", "__addressable_", ".L", "$")):
        unique = _UNIQUE.match(name)
        return unique.group(1) if unique else name
    if "." in name:
        found = _SUFFIX.match(name)
        return found.group(1) if found else None
    if name.startswith("_ZN"):
        rust = _RUST.match(name)
        return rust.group(1) if rust else None
    return None


def renamed(name: str) -> str | None:
    """The source's name of a promoted local (`bar` of `bar.llvm.1234`), None where nothing was promoted."""
    found = _RENAMED.match(name)
    return found.group(1) if found else None


def cold_parent(name: str) -> str | None:
    """The function that a cold part was split from (`f.isra.0` of `f.isra.0.cold.3`)."""
    found = _COLD.match(name)
    return found.group(1) if found else None


def prefix_owner(name: str) -> str | None:
    """The function that a prefix symbol (`__pfx_f`, `__cfi_f`) stands in front of."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return name[len(prefix) :]
    return None
