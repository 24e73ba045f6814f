"""Which compiler a command runs and which switches it knows, asked of the compiler itself.

Answers are kept in klpkit's cache under the compiler's resolved path, size and modification time, so an upgrade
asks again.  Version text is for people; nothing decides by it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Literal, cast

from klpkit import programs
from klpkit.cachedir import atomic_write, cache_dir
from klpkit.errors import EnvironmentLackError, UserError

Kind = Literal["gcc", "clang"]
FORMAT = 2

# Programs that run the compiler named after them.
WRAPPERS = frozenset({"ccache", "sccache", "distcc", "icecc", "klpkit-cc"})


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler: `words` run it without wrappers, `key` changes when the program file does.

    `supported` holds the positive spellings of the switches it knows (`-fipa-ra`), as `levels.flags_for` wants.
    """

    kind: Kind
    version: str
    target: str
    supported: frozenset[str]
    words: tuple[str, ...]
    key: str


def identify(compiler_words: Sequence[str]) -> Compiler:
    """The compiler that `compiler_words` (a path or name, wrappers before it allowed) run.

    Raises `EnvironmentLackError` where there is no such program and `UserError` where it is neither GCC nor
    Clang.
    """
    return _identified(unwrapped(compiler_words))


def unwrapped(words: Sequence[str]) -> tuple[str, ...]:
    """`words` without the programs that only run the compiler named after them."""
    return tuple(word for word in words if PurePosixPath(word).name not in WRAPPERS)


@cache
def _identified(words: tuple[str, ...]) -> Compiler:
    if not words:
        raise UserError("no compiler is named", hint="give the compiler's name after its wrapper")
    key = compiler_key(words)
    path = cache_dir("compilers") / f"probe-{key}.json"
    known = read_cached(path)
    if known is None:
        known = _asked(words)
        write_cached(path, known)
    return Compiler(
        kind=cast("Kind", known["kind"]),
        version=str(known["version"]),
        target=str(known["target"]),
        supported=frozenset(cast("list[str]", known["supported"])),
        words=words,
        key=key,
    )


def compiler_key(words: Sequence[str]) -> str:
    """A word that changes with the resolved path, size or modification time of the program, and with `words`."""
    found = shutil.which(words[0])
    if found is None:
        raise EnvironmentLackError(f"{words[0]}: compiler not found", hint="install it or put it on PATH")
    path = Path(found).resolve()
    stat = path.stat()
    text = "\0".join([str(path), str(stat.st_size), str(stat.st_mtime_ns), *words])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _asked(words: tuple[str, ...]) -> dict[str, object]:
    macros = _output([*words, "-dM", "-E", "-x", "c", "/dev/null"])
    if " __clang__ " in macros:
        kind, supported = "clang", _clang_switches(words)
    elif " __GNUC__ " in macros:
        kind, supported = "gcc", _gcc_switches(words)
    else:
        raise UserError(
            f"{words[0]} is neither GCC nor Clang: it does not define __GNUC__",
            hint="name the compiler that built the unit",
        )
    version = _output([*words, "--version"]).partition("\n")[0]
    target = _output([*words, "-dumpmachine"]).strip()
    return {"kind": kind, "version": version, "target": target, "supported": sorted(supported)}


def _gcc_switches(words: tuple[str, ...]) -> set[str]:
    """Every `-f…` option that GCC's own help names."""
    text = _output([*words, "--help=optimizers", "--help=common"])
    names = (line.split(None, 1)[0] for line in text.splitlines() if line.startswith("  -f"))
    return {name.partition("=")[0] for name in names}


def _clang_switches(words: tuple[str, ...]) -> set[str]:
    """Those of Clang's switches in our table that it takes without a complaint."""
    from klpkit.compilers.clang import SWITCHES

    return {switch for switch in SWITCHES if _takes(words, switch)}


def _takes(words: tuple[str, ...], switch: str) -> bool:
    argv = [*words, "-Werror", switch, "-fsyntax-only", "-x", "c", "/dev/null"]
    return programs.run(argv, timeout=60, check=False).status == 0


def _output(argv: list[str]) -> str:
    environment = {**os.environ, "LC_ALL": "C", "COLUMNS": "200"}
    return programs.run(argv, env=environment, timeout=60).stdout.decode(errors="replace")


def read_cached(path: Path) -> dict[str, object] | None:
    """A cached answer, None where there is none or it is of another format."""
    try:
        known = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return known if isinstance(known, dict) and known.get("format") == FORMAT else None


def write_cached(path: Path, answer: dict[str, object]) -> None:
    """Keep `answer` for `read_cached`."""
    with atomic_write(path) as stream:
        stream.write(json.dumps({"format": FORMAT, **answer}))
