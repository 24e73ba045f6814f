"""`klpkit-cc COMPILER ARGS…`: the compiler, with two more options.

A call that compiles nothing, or asks for no level, becomes the compiler; all else runs it and looks at what it
left behind.
"""

from __future__ import annotations

import gc
import os
import sys

from klpkit.compilers.driver import options, run, words
from klpkit.compilers.driver.talk import BUG, NAME, DriverError, report, say, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from klpkit.compilers.driver.options import Wanted
    from klpkit.compilers.driver.words import Command

_STAGES_BEFORE_LINK = frozenset(("-c", "-E", "-S", "-M", "-MM", "-fsyntax-only", "--version"))


def main(arguments: list[str] | None = None) -> int:
    """Run the driver on `arguments`; the exit status.

    As the program itself (no `arguments`) it ends the process here: Python's own way out costs 2 ms.
    """
    if arguments is not None:
        return _status(arguments)
    # A call is too short for cycles to matter.
    gc.disable()
    run.die_of_interrupts()
    status = _status(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status)


def _status(arguments: list[str]) -> int:
    try:
        return _drive(arguments)
    except DriverError as error:
        report(error)
        return error.status
    except Exception as error:  # noqa: BLE001 - the last resort of a program
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    """Report what the slower parts of klpkit raise; anything else is a bug."""
    from klpkit.errors import KlpkitError

    if isinstance(error, KlpkitError):
        report(DriverError(error.message, hint=error.hint))
        return error.exit_code
    import traceback

    traceback.print_exception(error)
    say(f"{NAME}: this is a bug in klpkit; please report it")
    return BUG


def _drive(arguments: list[str]) -> int:
    if arguments and arguments[0] in ("--help", "-h", "--version", "--launcher"):
        from klpkit.compilers.driver import usage

        return usage.show(arguments[0])
    command = words.split(arguments)
    wanted, left = options.take_ours(command.arguments)
    command.arguments = left
    if wanted.level is None:
        if wanted.listing:
            warn(f"'{options.LIST}' has no effect without '{options.EASE}'")
        if not _STAGES_BEFORE_LINK.intersection(left):
            from klpkit.compilers.driver import unlevelled

            unlevelled.warn_of_link(left)
        return _become(command, [])
    return _at_level(command, wanted)


def _become(command: Command, flags: list[str]) -> int:
    from klpkit.compilers.driver import response

    all_words = response.fitting([*command.arguments, *flags])
    return run.replace([*command.wrapper, command.compiler, *all_words])


def _at_level(command: Command, wanted: Wanted) -> int:
    from klpkit.compilers.driver import arguments, features, response

    call = arguments.Call(response.all_expanded(command.arguments))
    if call.stage == arguments.INFORM:
        return _become(command, [])
    known = features.of(command.path)
    if known.kind == "clang":
        from klpkit.compilers.driver import clang

        clang.refuse_parts(call, wanted)
    assert wanted.level is not None
    flags = known.flags_for(wanted.level, "compile", call.lto)
    if call.stage not in (arguments.OBJECT, arguments.LINK):
        return _become(command, flags)
    if not call.sources:
        if call.stage == arguments.LINK:
            from klpkit.compilers.driver import linking

            return linking.link(command, call, wanted, known)
        return _become(command, [])
    from klpkit.compilers.driver import sources

    return sources.compile_all(command, call, wanted, known)
