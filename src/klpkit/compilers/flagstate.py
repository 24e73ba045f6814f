"""What the exact flags of a translation unit turn on, as the compiler itself says.

GCC answers `-Q --help=optimizers --help=common` with every switch and its state under the other flags, and
`-dM -E` with the macros that tell the rest.  A kernel has thousands of units and some hundred flag sets, so an
answer is kept for each set of flags that matter.  Function attributes and pragmas (`optimize`) are not seen;
those that name a switch can win over the command line (`klpkit.audit` looks for them in the source).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from klpkit import programs
from klpkit.cachedir import cache_dir
from klpkit.compilers.levels import DEFAULT_LEVEL, GCC_SPELLINGS, Level, flags_for
from klpkit.compilers.passes import Pass, passes_of
from klpkit.compilers.probe import Compiler, read_cached, write_cached
from klpkit.errors import UserError

_STATE = re.compile(r"^  (-f\S+)\s+\[(enabled|disabled)\]$")
_MACROS = ("__OPTIMIZE__", "__EXCEPTIONS", "__CET__", "__ARM_FEATURE_BTI_DEFAULT", "__i386__", "__x86_64__")
# Options that choose code; the rest of a command (paths, macros, warnings, output) can't change a switch.
_KEPT = ("-f", "-m", "-O", "-p", "-std=", "-ansi", "--param")
_DROPPED = (
    "-fdump-",
    "-fmacro-prefix-map",
    "-ffile-prefix-map",
    "-fdebug-prefix-map",
    "-fdiagnostics-",
    "-fplugin",
    "-frandom-seed",
)
_DRIVER = "-fease-live-patching"


@dataclass(frozen=True, slots=True)
class FlagState:
    """What one set of flags means: switches that are on, telling macros, and the flags themselves."""

    kind: str
    language: str
    flags: tuple[str, ...]
    enabled: frozenset[str]
    macros: Mapping[str, str]

    @property
    def optimised(self) -> bool:
        """Whether the compiler optimises at all (anything but `-O0`)."""
        return "__OPTIMIZE__" in self.macros

    @property
    def lto(self) -> bool:
        """Whether the optimisation between functions is left to the link."""
        last = [flag for flag in self.flags if flag.startswith(("-flto", "-fno-lto"))][-1:]
        return bool(last) and last[0].startswith("-flto")

    def on(self, row: Pass) -> bool:
        """Whether the pass `row` is on."""
        if not self.optimised or not all(CONDITIONS[name](self) for name in row.when):
            return False
        if not row.switches:
            return True
        return any(s in self.enabled for s in row.switches) and all(s in self.enabled for s in row.needs)


def _landing_pads(state: FlagState) -> bool:
    branch_protected = int(state.macros.get("__CET__", "0") or "0", 0) & 1
    return bool(branch_protected) or "__ARM_FEATURE_BTI_DEFAULT" in state.macros


def _public_inlining(state: FlagState) -> bool:
    native = [flag for flag in state.flags if flag.startswith("-flive-patching")][-1:]
    return native != ["-flive-patching=inline-only-static"] and _inlining(state)


def _inlining(state: FlagState) -> bool:
    return "-finline" in state.enabled


def _stack_aligned(state: FlagState) -> bool:
    """Whether calls need a stack aligned to more than a word, so that a caller may save the alignment."""
    words = [flag for flag in state.flags if flag.startswith("-mpreferred-stack-boundary=")][-1:]
    least = "2" if "__i386__" in state.macros else "3"
    return words != [f"-mpreferred-stack-boundary={least}"]


CONDITIONS: dict[str, Callable[[FlagState], bool]] = {
    "c++": lambda state: state.language == "c++",
    "exceptions": lambda state: "__EXCEPTIONS" in state.macros,
    "i386": lambda state: "__i386__" in state.macros,
    "inlining": _inlining,
    "landing-pads": _landing_pads,
    "not-profiled": lambda state: not {"-p", "-pg"} & set(state.flags),
    "public-inlining": _public_inlining,
    "stack-aligned": _stack_aligned,
    "vectorised": lambda state: bool({"-ftree-loop-vectorize", "-ftree-slp-vectorize"} & state.enabled),
}


def flag_state(compiler: Compiler, arguments: Sequence[str], language: str, directory: Path) -> FlagState:
    """What `arguments` mean to `compiler`; `language` is `c` or `c++`, `directory` where the command runs."""
    flags = telling_flags(compiler, arguments)
    text = "\0".join([compiler.key, language, *flags])
    path = cache_dir("compilers") / f"flags-{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
    known = read_cached(path)
    if known is None:
        known = _asked(compiler, flags, language, directory)
        write_cached(path, known)
    return FlagState(
        kind=compiler.kind,
        language=language,
        flags=flags,
        enabled=frozenset(cast("list[str]", known["enabled"])),
        macros=cast("dict[str, str]", known["macros"]),
    )


def telling_flags(compiler: Compiler, arguments: Sequence[str]) -> tuple[str, ...]:
    """Those of `arguments` that choose code, in their order, klpkit-cc's option as what it stands for."""
    flags: list[str] = []
    for index, word in enumerate(arguments):
        if word.startswith(_KEPT) and not word.startswith((*_DROPPED, _DRIVER, "-flive-patching-list")):
            flags.append(word)
            if word == "--param" and index + 1 < len(arguments):
                flags.append(arguments[index + 1])
    return (*flags, *_driver_flags(compiler, arguments))


def _driver_flags(compiler: Compiler, arguments: Sequence[str]) -> tuple[str, ...]:
    words = [word for word in arguments if word.startswith(_DRIVER)]
    if not words:
        return ()
    name = words[-1].partition("=")[2] or str(DEFAULT_LEVEL)
    try:
        level = GCC_SPELLINGS.get(name) or Level(name)
    except ValueError as error:
        raise UserError(f"{words[-1]}: {error}", hint="mend the flag in the build") from error
    lto = any(word.startswith("-flto") for word in arguments)
    return flags_for(compiler.kind, level, supported=compiler.supported, stage="compile", lto=lto)


def _asked(compiler: Compiler, flags: tuple[str, ...], language: str, directory: Path) -> dict[str, object]:
    base = [*compiler.words, *flags]
    # Clang has no list of states; the one switch of its table is on unless the flags say otherwise.
    last = [flag for flag in flags if flag in ("-finline", "-fno-inline", "-finline-functions")][-1:]
    enabled = [] if last == ["-fno-inline"] else ["-finline"]
    if compiler.kind == "gcc":
        states = _output([*base, "-Q", "--help=optimizers", "--help=common"], directory)
        found = (_STATE.match(line.rstrip()) for line in states.splitlines())
        enabled = sorted({m[1] for m in found if m and m[2] == "enabled"})
    lines = _output([*base, "-dM", "-E", "-x", language, "/dev/null"], directory).splitlines()
    defined = (line.split(" ", 2) for line in lines if line.startswith("#define "))
    macros = {words[1]: words[2] if len(words) > 2 else "" for words in defined if words[1] in _MACROS}
    return {"enabled": enabled, "macros": macros}


def _output(argv: list[str], directory: Path) -> str:
    environment = {**os.environ, "LC_ALL": "C", "COLUMNS": "200"}
    return programs.run(argv, cwd=directory, env=environment, timeout=60).stdout.decode(errors="replace")


def passes_on(state: FlagState) -> tuple[Pass, ...]:
    """The passes of the compiler's table that `state` turns on."""
    return tuple(row for row in passes_of(state.kind) if state.on(row))
