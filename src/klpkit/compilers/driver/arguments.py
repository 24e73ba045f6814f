# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH119, PTH122
"""What a compiler call does: which stage it stops at, what it compiles, where the output goes.

Spellings are those of "Overall Options" in the GCC manual; Clang's driver reads the same ones.
"""

from __future__ import annotations

import os

# Stages, by what comes out.
INFORM, PREPROCESS, CHECK, ASSEMBLY, OBJECT, LINK = "inform", "preprocess", "check", "assembly", "object", "link"

# Options whose value is the next word.  Those that are also written joined have no entry of their own for that.
TAKES_VALUE = frozenset(
    [
        "-o",
        "-x",
        "-I",
        "-D",
        "-U",
        "-L",
        "-l",
        "-u",
        "-T",
        "-z",
        "-e",
        "-B",
        "-A",
        "-G",
        "-F",
        "-include",
        "-imacros",
        "-isystem",
        "-iquote",
        "-idirafter",
        "-iprefix",
        "-iwithprefix",
        "-iwithprefixbefore",
        "-isysroot",
        "-imultilib",
        "-imultiarch",
        "-Xlinker",
        "-Xassembler",
        "-Xpreprocessor",
        "-Xclang",
        "-mllvm",
        "-MF",
        "-MT",
        "-MQ",
        "--param",
        "-aux-info",
        "-dumpbase",
        "-dumpdir",
        "-dumpbase-ext",
        "-wrapper",
        "--sysroot",
        "-arch",
        "-target",
        "-Tbss",
        "-Tdata",
        "-Ttext",
        "-framework",
        "-gcc-toolchain",
        "--output",
        "--language",
        "--include",
        "--include-directory",
    ]
)

_ENDS = {
    "-E": PREPROCESS, "-M": PREPROCESS, "-MM": PREPROCESS, "--preprocess": PREPROCESS,
    "-fsyntax-only": CHECK, "--analyze": CHECK,
    "-S": ASSEMBLY, "--assemble": ASSEMBLY,
    "-c": OBJECT, "--compile": OBJECT,
    "-###": INFORM, "--version": INFORM, "--help": INFORM, "-dumpversion": INFORM, "-dumpmachine": INFORM,
    "-dumpspecs": INFORM, "-dumpfullversion": INFORM, "--target-help": INFORM,
}  # fmt: skip
_RANK = (INFORM, PREPROCESS, CHECK, ASSEMBLY, OBJECT, LINK)
_INFORM_PREFIXES = ("-print-", "--print-", "--help=")

_C, _CXX, _HEADER, _ASSEMBLER = "c", "c++", "header", "assembler"
_BY_SUFFIX = {
    ".c": _C, ".i": _C, ".m": "objective-c", ".mi": "objective-c",
    ".cc": _CXX, ".cp": _CXX, ".cxx": _CXX, ".cpp": _CXX, ".CPP": _CXX, ".c++": _CXX, ".C": _CXX, ".ii": _CXX,
    ".mm": "objective-c++", ".M": "objective-c++", ".mii": "objective-c++",
    ".h": _HEADER, ".H": _HEADER, ".hh": _HEADER, ".hpp": _HEADER, ".hxx": _HEADER, ".h++": _HEADER,
    ".s": _ASSEMBLER, ".S": _ASSEMBLER, ".sx": _ASSEMBLER,
    ".f": "f77", ".for": "f77", ".f90": "f95", ".F90": "f95", ".f95": "f95", ".F": "f77", ".f03": "f95",
    ".adb": "ada", ".ads": "ada", ".d": "d", ".go": "go",
}  # fmt: skip
_BY_LANGUAGE = {
    "c": _C, "cpp-output": _C, "c++": _CXX, "c++-cpp-output": _CXX,
    "assembler": _ASSEMBLER, "assembler-with-cpp": _ASSEMBLER,
}  # fmt: skip


class Call:
    """One compiler call, read.

    `sources` are `(position in words, path, language)` of what is compiled, without assembler sources and
    headers; `inputs` are the other files, for the linker.  `words` has response files expanded.
    """

    __slots__ = ("dumpdir", "inputs", "lto", "output", "saves", "sources", "stage", "words")

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.stage = LINK
        self.sources: list[tuple[int, str, str]] = []
        self.inputs: list[str] = []
        self.output = ""
        self.lto = False
        self.saves = False
        self.dumpdir = ""
        self._read()
        if not self.sources and not self.inputs:
            self.stage = INFORM

    def _read(self) -> None:
        language = ""
        skip = False
        for position, word in enumerate(self.words):
            if skip:
                skip = False
            elif word == "-" or not word.startswith("-"):
                self._input(position, word, language)
            elif word in TAKES_VALUE:
                skip = True
                value = self.words[position + 1] if position + 1 < len(self.words) else ""
                language = self._valued(word, value, language)
            elif word.startswith("-x"):
                language = word[2:]
            elif word.startswith("--language="):
                language = word[11:]
            else:
                self._plain(word)

    def _valued(self, word: str, value: str, language: str) -> str:
        if word in ("-o", "--output"):
            self.output = value
        elif word == "-dumpdir":
            self.dumpdir = value
        elif word == "-l":
            self.inputs.append("-l" + value)
        elif word in ("-x", "--language"):
            return value
        return "" if language == "none" else language

    def _plain(self, word: str) -> None:
        stage = _ENDS.get(word) or (INFORM if word.startswith(_INFORM_PREFIXES) else LINK)
        if _RANK.index(stage) < _RANK.index(self.stage):
            self.stage = stage
        elif word.startswith(("-flto", "-fno-lto")):
            self.lto = word == "-flto" or word.startswith("-flto=")
        elif word.startswith("-save-temps"):
            self.saves = True
        elif word.startswith("-o"):
            self.output = word[2:]
        elif word.startswith("--output="):
            self.output = word[9:]
        elif word.startswith("-l"):
            self.inputs.append(word)

    def _input(self, position: int, path: str, language: str) -> None:
        suffix = os.path.splitext(path)[1]
        if language and language != "none":
            kind = _HEADER if language.endswith("-header") else _BY_LANGUAGE.get(language, language)
        else:
            kind = _BY_SUFFIX.get(suffix, "")
        if kind and kind not in (_HEADER, _ASSEMBLER):
            self.sources.append((position, path, kind))
        else:
            self.inputs.append(path)

    def object_of(self, source: str) -> str:
        """Where the object of `source` goes when the call stops there."""
        stem = os.path.splitext(os.path.basename(source))[0]
        return self.output or f"{stem}.o"

    def has(self, prefix: str) -> bool:
        """Whether a word starts with `prefix`."""
        return any(word.startswith(prefix) for word in self.words)
