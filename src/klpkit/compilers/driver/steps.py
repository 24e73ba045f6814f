# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH118, PTH119, PTH122
"""Several sources in one call, or sources and a link: the steps of the compiler's driver, taken one at a time."""

from __future__ import annotations

import os

from klpkit.compilers.driver import run
from klpkit.compilers.driver.arguments import OBJECT, Call
from klpkit.compilers.driver.auxiliary import auxiliary_names
from klpkit.compilers.driver.compiling import Job, Unit, compile_source, deliver
from klpkit.compilers.driver.response import fitting
from klpkit.compilers.driver.sources import remove_outputs
from klpkit.compilers.driver.variants import of_one_source, without_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from klpkit.compilers.driver.features import Features
    from klpkit.compilers.driver.options import Wanted
    from klpkit.compilers.driver.words import Command


def take(command: Command, call: Call, wanted: Wanted, features: Features, flags: list[str]) -> int:
    """Compile each source of `call`, then link if it says so; the exit status."""
    if call.stage == OBJECT:
        return _objects(command, call, wanted, features, flags)
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="klpkit-cc-") as folder:
        status = _program(command, call, wanted, features, flags, folder)
    return run.end(status)


def _objects(command: Command, call: Call, wanted: Wanted, features: Features, flags: list[str]) -> int:
    """`-c` with several inputs: each on its own; like the compiler, go on after one that fails."""
    jobs = [
        Job(
            command,
            [*of_one_source(call, position), *flags],
            source,
            call.object_of(source),
            language=language,
            lto=call.lto,
        )
        for position, source, language in call.sources
    ]
    try:
        status = _compiled(jobs, wanted, features, _rest(command, call))
    except Exception:
        remove_outputs(jobs)
        raise
    return run.end(status)


def _rest(command: Command, call: Call) -> list[str]:
    """The call for the inputs that are no sources of ours (assembler, headers), empty where there are none."""
    dropped = {position for position, _, _ in call.sources}
    words = [word for at, word in enumerate(call.words) if at not in dropped]
    return [*command.wrapper, command.compiler, *fitting(words)] if call.inputs else []


def _compiled(jobs: list[Job], wanted: Wanted, features: Features, rest: list[str]) -> int:
    """Run `jobs` and the call `rest`, then deliver if all went well; the first bad wait status."""
    units: list[Unit] = []
    worst = 0
    for job in jobs:
        status, unit = compile_source(job, wanted, features)
        units += [unit] if unit else []
        worst = worst or status
        if run.interrupted():
            return status
    if rest:
        worst = run.run(rest) or worst
    if not worst:
        for unit in units:
            deliver(unit, wanted)
    return worst


def _program(
    command: Command, call: Call, wanted: Wanted, features: Features, flags: list[str], folder: str
) -> int:
    """Compile each source into `folder`, then link; the wait status."""
    jobs: list[Job] = []
    names = auxiliary_names([command.compiler, *fitting(call.words)])
    for number, (position, source, language) in enumerate(call.sources):
        stem = os.path.splitext(os.path.basename(source))[0] or "stdin"
        target = os.path.join(folder, f"{number}-{stem}.o")
        told = names[number] if len(names) == len(call.sources) else {}
        if call.saves and "-dumpbase" in told:
            target = told.get("-dumpdir", "") + os.path.splitext(told["-dumpbase"])[0] + ".o"
        words = [*without_output(of_one_source(call, position)), *flags, "-c", "-o", target, *_naming(call, told)]
        job = Job(command, words, source, target, language=language, lto=call.lto)
        job.unit, job.member = call.output or "a.out", source
        jobs.append(job)
    status = _compiled(jobs, wanted, features, [])
    if status or run.interrupted():
        return status
    return _link(command, call, wanted, features, [job.object for job in jobs])


def _naming(call: Call, told: dict[str, str]) -> list[str]:
    """The words that give auxiliary files the names that the call as a whole gives them."""
    words = [
        word
        for option in ("-dumpdir", "-dumpbase", "-dumpbase-ext")
        if option in told
        for word in (option, told[option])
    ]
    for option in ("-MD", "-MMD"):
        if option in call.words and option in told and "-MF" not in call.words:
            words += ["-MF", told[option]]
            if "-MT" not in call.words and "-MQ" not in call.words:
                words += ["-MQ", call.output or "a.out"]
    return words


def _link(command: Command, call: Call, wanted: Wanted, features: Features, objects: list[str]) -> int:
    """Link `objects` in the places of the sources; the wait status."""
    words = list(call.words)
    languages = any(word.startswith("-x") for word in words)
    for (position, _, _), target in reversed(list(zip(call.sources, objects, strict=True))):
        words[position : position + 1] = ["-x", "none", target] if languages else [target]
    linked = Call(words)
    if features.kind == "gcc":
        from klpkit.compilers.driver import linking

        found = linking.lto_inputs(linked)
        if found or call.lto:
            return linking.link_lto(command, linked, wanted, features, found)
    return run.run([*command.wrapper, command.compiler, *fitting(words)])
