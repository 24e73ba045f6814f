"""A translation unit and its command, and how a compile command is found in what a build system wrote down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Literal

from klpkit import programs
from klpkit.build.shellwords import ShellTrickError, Simple, is_assignment, split_commands
from klpkit.errors import FormatError, KlpkitError

Language = Literal["c", "c++", "assembler", "other"]
Family = Literal["gcc", "clang", "unknown"]

# Programs that run the compiler named after them.
WRAPPERS = frozenset({"ccache", "sccache", "distcc", "icecc", "klpkit-cc"})
# Of these the ones that only save time: a replay does without them.
CACHING_WRAPPERS = WRAPPERS - {"klpkit-cc"}

_LANGUAGES: dict[str, Language] = {
    ".c": "c",
    ".i": "c",
    ".cc": "c++",
    ".cp": "c++",
    ".cpp": "c++",
    ".cxx": "c++",
    ".c++": "c++",
    ".C": "c++",
    ".ii": "c++",
    ".S": "assembler",
    ".s": "assembler",
}
_X_LANGUAGES: dict[str, Language] = {
    "c": "c",
    "cpp-output": "c",
    "c++": "c++",
    "c++-cpp-output": "c++",
    "assembler": "assembler",
    "assembler-with-cpp": "assembler",
}
# Options whose value is the next word.
_VALUE_OPTIONS = """
    -o -x -include -imacros -I -isystem -iquote -idirafter -iprefix -iwithprefix -iwithprefixbefore -isysroot
    -imultilib -D -U -MF -MT -MQ -MJ -Xassembler -Xpreprocessor -Xclang -Xlinker -arch -target -T -u -z -L -l
    -A -B -aux-info -dumpbase -dumpbase-ext -dumpdir -auxbase -auxbase-strip --param -mllvm -wrapper -specs
    -serialize-diagnostics -ivfsoverlay -gcc-toolchain --sysroot -include-pch -F -framework -iframework
    -Xanalyzer -Xarch_host -fplugin-arg -e -index-store-path --output --include --define-macro
"""
VALUE_OPTIONS = frozenset(_VALUE_OPTIONS.split())


@dataclass(frozen=True, slots=True)
class TranslationUnit:
    """One compiled source with its exact command line.

    `object`, `source` and `directory` (where the command runs) are absolute.  `compiler` is the program with its
    wrappers, `arguments` everything after it, verbatim.  `owner` is `vmlinux` or a module as in `fs/ext4/ext4`,
    several joined by `, ` where one object is linked into more than one, and empty where unknown.
    `record` is the file that told the command; the header list is read from it when it is asked for.
    """

    object: Path
    source: Path
    directory: Path
    compiler: tuple[str, ...]
    arguments: tuple[str, ...]
    owner: str = ""
    record: Path | None = field(default=None, compare=False)

    @property
    def argv(self) -> tuple[str, ...]:
        """The whole command."""
        return self.compiler + self.arguments

    @property
    def language(self) -> Language:
        """The language that the compiler takes the source for."""
        return language_of(self.source, self.arguments)

    @property
    def kind(self) -> Family:
        """The compiler's family, asked of the compiler itself."""
        return compiler_family(self.compiler, self.directory)

    @property
    def headers(self) -> tuple[Path, ...]:
        """The headers that the source included when it was last compiled; empty where no list is at hand."""
        from klpkit.build.dependencies import headers_of

        return headers_of(self)

    @property
    def source_argument(self) -> str:
        """The source as the command spells it."""
        return source_word(self.arguments)


def compile_command(text: str, path: Path, place: str = "") -> tuple[tuple[str, ...], tuple[str, ...], str] | None:
    """The compile command in a shell line: (compiler, arguments, what runs after it), None where there is none.

    Raises `FormatError` naming `path` where the line holds a compile command that is not a plain list of words,
    or more than one.
    """
    try:
        commands = split_commands(text)
    except ShellTrickError as error:
        if " -c " not in text:
            return None
        raise _refused(path, place, str(error)) from error
    compiles = [command for command in commands if is_compile(command.words)]
    if not compiles:
        return None
    if len(compiles) > 1:
        raise _refused(path, place, "more than one compile command in a line")
    _refuse_tricks(commands, compiles[0], path, place)
    compiler, arguments = split_compiler(compiles[0].words)
    after = commands[commands.index(compiles[0]) + 1 :]
    return compiler, arguments, "; ".join(programs.quoted(command.words) for command in after)


def _refuse_tricks(commands: Sequence[Simple], compile_: Simple, path: Path, place: str) -> None:
    """Refuse what could make the compile command mean something else than its words."""
    if compile_ is not commands[0] and any(c.words != ("set", "-e") for c in commands[: commands.index(compile_)]):
        raise _refused(path, place, f"{commands[0].words[0]} runs before the compiler")
    if compile_.before not in ("", "(", ";", "&&", "\n") or compile_.after not in ("", ")", ";", "&&", "\n"):
        operator = compile_.after if compile_.after not in ("", ")", ";", "&&", "\n") else compile_.before
        raise _refused(path, place, f"{operator!r} beside the compile command")
    if is_assignment(compile_.words[0]):
        raise _refused(path, place, f"the assignment {compile_.words[0]} before the compiler")
    if response := next((word for word in compile_.words if word.startswith("@")), ""):
        raise _refused(path, place, f"the response file {response}")


def _refused(path: Path, place: str, problem: str) -> FormatError:
    hint = "klpkit never gives a recorded command to a shell; record this unit in a compile_commands.json"
    return FormatError(path, place, f"not a plain compile command: {problem}", hint=hint)


def is_compile(words: Sequence[str]) -> bool:
    """Whether `words` compile one source to an object."""
    return "-c" in words and bool(source_word(words[1:]))


def split_compiler(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`words` as (compiler with its wrappers, arguments)."""
    count = 1
    while count < len(words) and PurePosixPath(words[count - 1]).name in WRAPPERS:
        count += 1
    return tuple(words[:count]), tuple(words[count:])


def source_word(arguments: Sequence[str]) -> str:
    """The source that `arguments` name, "" where there is none; the last one where there are several."""
    found, skip = "", False
    for word in arguments:
        if skip:
            skip = False
        elif word in VALUE_OPTIONS:
            skip = True
        elif not word.startswith("-") and PurePosixPath(word).suffix in _LANGUAGES:
            found = word
    return found


def output_word(arguments: Sequence[str]) -> str:
    """The value of `-o`, "" where there is none."""
    for index, word in enumerate(arguments):
        if word == "-o" and index + 1 < len(arguments):
            return arguments[index + 1]
        if word.startswith("-o") and len(word) > 2:
            return word[2:]
    return ""


def language_of(source: Path, arguments: Sequence[str]) -> Language:
    """The language of `source`: what `-x` says, else its suffix."""
    for option, value in pairwise(arguments):
        if option == "-x":
            return _X_LANGUAGES.get(value, "other")
    return _LANGUAGES.get(source.suffix, "other")


@cache
def compiler_family(compiler: tuple[str, ...], directory: Path | None = None) -> Family:
    """The family of `compiler`, found from the macros that it predefines."""
    argv = (*without_caching(compiler), "-dM", "-E", "-x", "c", "/dev/null")
    try:
        macros = programs.run(argv, cwd=directory, timeout=60).stdout
    except KlpkitError:
        return "unknown"
    if b"#define __clang__ " in macros:
        return "clang"
    return "gcc" if b"#define __GNUC__ " in macros else "unknown"


def without_caching(compiler: Sequence[str]) -> tuple[str, ...]:
    """`compiler` without the wrappers that only save time."""
    return tuple(word for word in compiler if PurePosixPath(word).name not in CACHING_WRAPPERS)
