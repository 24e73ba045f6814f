# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH118, PTH119, PTH122
"""C sources compiled with their public functions marked as not inlinable.

At `only-inline-static` GCC's own option does this, but not with `-flto` and not before GCC 9: then a link with LTO
makes public functions local and inlines them.  So the source is preprocessed, the compiler is asked which public
functions it defines, and a `noinline` redeclaration of each is put after the text.  Line markers keep file
names, line numbers and debug information as they were, comments stay for the warnings that read them
(`-Wimplicit-fallthrough`); the dependency file is written by the first step.
"""

from __future__ import annotations

import os

from klpkit.compilers.driver import run
from klpkit.compilers.driver.asking import dumps
from klpkit.compilers.driver.attributes import emitted_public_names, public_functions
from klpkit.compilers.driver.dumpfile import OPTION, DumpFile
from klpkit.compilers.driver.talk import DriverError
from klpkit.compilers.driver.variants import pairs, quiet, without_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from klpkit.compilers.driver.compiling import Job

_DEPENDENCIES = ("-MD", "-MMD", "-MP", "-MG", "-Wp,-M")
_DEPENDENCY_VALUES = ("-MF", "-MT", "-MQ")


def compile_marked(job: Job) -> tuple[int, bytes | None, frozenset[str]]:
    """Compile; (wait status, the dump, the public functions of the source)."""
    if job.language != "c":
        raise DriverError(
            f"{job.source}: at level 'only-inline-static' with -flto, the public functions of a {job.language} "
            "source can't be marked as not inlinable",
            hint="use level 'none' or 'inline' for it, or compile it with -fno-lto",
        )
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="klpkit-cc-") as folder:
        text = os.path.join(folder, "source.i")
        status = run.run([job.command.compiler, *_preprocessing(job), "-E", "-C", "-o", text])
        if status:
            return status, None, frozenset()
        return _compile_text(job, text)


def _compile_text(job: Job, text: str) -> tuple[int, bytes | None, frozenset[str]]:
    words = [*_source_replaced(job, text)]
    _, cgraph = dumps([job.command.compiler, *quiet(words), "-O0"])
    names = emitted_public_names(cgraph)
    with open(text, "a", encoding="utf-8") as stream:
        stream.write(redeclarations(names))
    dump = DumpFile()
    stem = os.path.basename(job.source) if job.source != "-" else "stdin.c"
    naming = [] if any(word == "-dumpbase" for word in words) else ["-dumpbase", stem]
    status = run.run([job.command.compiler, *words, *naming, OPTION])
    public = frozenset(symbol for symbol, named in public_functions(cgraph).items() if named)
    return status, dump.content(), public


def redeclarations(names: list[str]) -> str:
    """C text that marks the functions `names`, which are defined above it, as not inlinable."""
    quiet_words = ("-Wattributes", "-Wredundant-decls", "-Wpedantic")
    pragmas = "".join(f'#pragma GCC diagnostic ignored "{word}"\n' for word in quiet_words)
    marks = "".join(f"extern __typeof__({name}) {name} __attribute__((__noinline__));\n" for name in names)
    return f"\n{pragmas}{marks}" if names else ""


def _preprocessing(job: Job) -> list[str]:
    """The words that preprocess, with macros kept for -g3 and the dependency file named as for the whole call."""
    words = without_output(job.words)
    if not any(word in ("-MD", "-MMD") for word in words):
        return words
    if "-MF" not in words:
        words += ["-MF", os.path.splitext(job.object)[0] + ".d"]
    if "-MT" not in words and "-MQ" not in words:
        words += ["-MQ", job.object]
    return words


def _source_replaced(job: Job, text: str) -> list[str]:
    """The words that compile the preprocessed `text` in place of the source."""
    words: list[str] = []
    for _, pair in pairs(job.words):
        if pair[0] in _DEPENDENCY_VALUES or pair[0].startswith(_DEPENDENCIES) or pair[0] == "-x":
            continue
        words += ["-x", "cpp-output", text] if pair == [job.source] else pair
    return words if "-o" in words else [*words, "-o", job.object]
