"""`.<object>.cmd` files: what Kbuild remembers of the command that made an object.

The format is Make syntax, written by the kernel's scripts/Kbuild.include (`make-cmd`) and scripts/basic/fixdep.c:
`cmd_TARGET := COMMAND` (`savedcmd_TARGET` since 6.2), then `source_TARGET := FILE` and `deps_TARGET := \\ …`.
In it `$` is doubled and `#` is written `$(pound)`.
"""

from __future__ import annotations

import os.path
import re
from dataclasses import dataclass
from pathlib import Path

from klpkit.build.command import TranslationUnit, compile_command
from klpkit.errors import FormatError

_FIRST = re.compile(rb"(?:saved)?cmd_(\S+) := (.*)\n")
_SOURCE = re.compile(rb"\nsource_\S+ := (.*)\n")
_MODULE_FILE = re.compile(rb"""-DKBUILD_MODFILE='"([^"']*)"'""")
_COMPILES = re.compile(rb" -c (?:.* )?-o | -o (?:.* )?-c ")
# What tools/build/Build.include of the kernel writes for the first of the programs that a build itself runs.
_DEPENDENCIES_ALONE = b"# cannot find fixdep ("
# Since 6.12 Kbuild defines KBUILD_MODFILE for built-in code only.
SOME_MODULE = "?"
# The command and the source stand in the first few kilobytes; the rest is the list of headers.
HEAD_SIZE = 16 * 1024


@dataclass(frozen=True, slots=True)
class CmdHead:
    """What the first lines of a `.cmd` file say, undecoded beyond what an index needs.

    `target` is as the file spells it, relative to where the command ran.  `source` is empty for what is not a
    compilation.  `kernel` tells kernel code from programs that run during the build.  `module` is the value of
    KBUILD_MODFILE where the code was compiled as part of a module, `SOME_MODULE` where the command names none.
    """

    target: str
    command: str
    source: str
    kernel: bool
    module: str


def parse_head(content: bytes, path: Path) -> CmdHead | None:
    """The head of the `.cmd` file `path` from its first bytes; None where it holds no command.

    Raises `FormatError` for a file that is cut off or is not a `.cmd` file.
    """
    first = _FIRST.match(content)
    if first is None:
        if content.startswith(_DEPENDENCIES_ALONE):
            return None
        if content.startswith((b"cmd_", b"savedcmd_")):
            raise FormatError(path, "line 1", "the command has no end", hint="build the object again")
        if not content.strip():
            raise FormatError(path, "", "the file is empty", hint="build the object again")
        raise FormatError(path, "line 1", "not a Kbuild .cmd file", hint="build the object again")
    command = first[2]
    source = _SOURCE.search(content, first.end() - 1)
    compiles = source is not None and _COMPILES.search(command) is not None
    return CmdHead(
        target=os.fsdecode(first[1]),
        command=_decode(command, path) if compiles else "",
        source=os.fsdecode(source[1]) if source is not None and compiles else "",
        kernel=b"-D__KERNEL__" in command,
        module=_module(command),
    )


def _module(command: bytes) -> str:
    if b"-DMODULE" not in command:
        return ""
    module = _MODULE_FILE.search(command)
    return os.fsdecode(module[1]) if module else SOME_MODULE


def _decode(command: bytes, path: Path) -> str:
    text = os.fsdecode(command).replace("$(pound)", "#").replace("$$", "\0")
    if "$" in text:
        raise FormatError(path, "line 1", "a Make variable in the command", hint="build the object again")
    return text.replace("\0", "$")


def read_head(path: Path) -> CmdHead | None:
    """The head of the `.cmd` file `path`, read from as few bytes as possible."""
    try:
        with open(path, "rb") as stream:
            content = stream.read(HEAD_SIZE)
            if len(content) == HEAD_SIZE and b"\nsource_" not in content:
                content += stream.read()
    except OSError as error:
        raise FormatError(path, "", error.strerror or "unreadable", hint="check its permissions") from error
    return parse_head(content, path)


def read_unit(path: Path, *, owner: str = "", directory: Path | None = None) -> TranslationUnit | None:
    """The translation unit that the `.cmd` file `path` describes, None where it is no compilation.

    `directory` is where the command ran; it is needed only where the target is spelled as an absolute path, as in
    external modules before Linux 6.13.
    """
    head = read_head(path)
    if head is None or not head.source:
        return None
    return unit_of(head, path, owner=owner, directory=directory)


def unit_of(head: CmdHead, path: Path, *, owner: str, directory: Path | None) -> TranslationUnit:
    """The translation unit of a parsed head; raises `FormatError` where its command is not plain."""
    where = command_directory(head.target, path) or directory
    if where is None:
        raise FormatError(
            path,
            "line 1",
            f"{head.target} does not say where the command ran",
            hint="name the kernel's build tree",
        )
    parsed = compile_command(head.command, path, "line 1")
    if parsed is None:
        raise FormatError(path, "line 1", "no compile command was found", hint="build the object again")
    compiler, arguments, _ = parsed
    return TranslationUnit(
        object=_normal(where, head.target),
        source=_normal(where, head.source),
        directory=where,
        compiler=compiler,
        arguments=arguments,
        owner=owner,
        record=path,
    )


def command_directory(target: str, path: Path) -> Path | None:
    """The folder in which the command for `target` ran, from where its `.cmd` file lies; None if absolute.

    Raises `FormatError` where the two do not fit together.
    """
    if target.startswith("/"):
        return None
    folder = path.parent
    for part in reversed(Path(os.path.normpath(target)).parent.parts):
        if folder.name != part:
            raise FormatError(
                path, "line 1", f"names {target}, which lies elsewhere", hint="build the object again"
            )
        folder = folder.parent
    return folder


def _normal(directory: Path, name: str) -> Path:
    return Path(os.path.normpath(directory / name))
