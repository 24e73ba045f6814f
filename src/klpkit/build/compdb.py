"""`compile_commands.json`: Clang's "JSON Compilation Database Format Specification"."""

from __future__ import annotations

import json
import os.path
from pathlib import Path
from typing import Any

from klpkit.build.command import TranslationUnit, compile_command, output_word, source_word, split_compiler
from klpkit.errors import FormatError

NAME = "compile_commands.json"


def read_compdb(path: Path) -> list[TranslationUnit]:
    """The translation units that the compilation database `path` lists, in its order.

    Raises `FormatError` naming the entry where one is broken or its command needs a shell.
    """
    try:
        entries = json.loads(path.read_bytes())
    except OSError as error:
        raise FormatError(path, "", error.strerror or "unreadable", hint="check its permissions") from error
    except ValueError as error:
        raise FormatError(path, "", f"not JSON: {error}", hint="let the build system write it again") from error
    if not isinstance(entries, list):
        raise FormatError(path, "", "not a list of commands", hint="let the build system write it again")
    return [_unit(entry, path, f"entry {number}") for number, entry in enumerate(entries)]


def _unit(entry: Any, path: Path, place: str) -> TranslationUnit:
    hint = "see Clang's JSON Compilation Database Format Specification"
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise FormatError(path, place, "names no file", hint=hint)
    directory = path.parent / str(entry.get("directory", ""))
    compiler, arguments = _command(entry, path, place)
    spelled = output_word(arguments) or str(entry.get("output", "")) or f"{Path(entry['file']).stem}.o"
    return TranslationUnit(
        object=_normal(directory, spelled),
        source=_normal(directory, entry["file"]),
        directory=_normal(directory, "."),
        compiler=compiler,
        arguments=arguments,
        record=path,
    )


def _command(entry: dict[str, Any], path: Path, place: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    words = entry.get("arguments")
    if isinstance(words, list) and len(words) > 1 and all(isinstance(word, str) for word in words):
        compiler, arguments = split_compiler(words)
        if response := next((word for word in arguments if word.startswith("@")), ""):
            hint = "have the build system write arguments into the database"
            raise FormatError(path, place, f"the response file {response}", hint=hint)
    elif isinstance(entry.get("command"), str):
        parsed = compile_command(entry["command"], path, place)
        if parsed is None:
            raise FormatError(path, place, "not a plain compile command", hint="klpkit never runs a shell for it")
        compiler, arguments, _ = parsed
    else:
        raise FormatError(path, place, "neither `arguments` nor `command`", hint="write the database again")
    if not source_word(arguments):
        raise FormatError(path, place, "the command names no source", hint="write the database again")
    return compiler, arguments


def _normal(directory: Path, name: str) -> Path:
    return Path(os.path.normpath(directory.absolute() / name))
