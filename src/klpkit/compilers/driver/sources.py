# Plain os.path: importing pathlib costs 4 ms a call.
# ruff: noqa: PTH113
"""A call that compiles: one source as it is; several, or a compilation with a link, one step at a time.

The steps are those that the compiler's driver itself would take; done apart, each source has its own dump, and
its object is there to be read before the link.
"""

from __future__ import annotations

import os

from klpkit.compilers.driver import run
from klpkit.compilers.driver.arguments import OBJECT
from klpkit.compilers.driver.compiling import Job, compile_source, deliver
from klpkit.compilers.driver.response import fitting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from klpkit.compilers.driver.arguments import Call
    from klpkit.compilers.driver.features import Features
    from klpkit.compilers.driver.options import Wanted
    from klpkit.compilers.driver.words import Command


def compile_all(command: Command, call: Call, wanted: Wanted, features: Features) -> int:
    """Do what `call` says and deliver what it must; the exit status."""
    assert wanted.level is not None
    flags = features.flags_for(wanted.level, "compile", call.lto)
    if features.kind != "gcc":
        return run.replace([*command.wrapper, command.compiler, *fitting([*call.words, *flags])])
    single = len(call.sources) == 1
    if call.stage == OBJECT and single and not call.inputs:
        _, source, language = call.sources[0]
        words = [*call.words, *flags]
        job = Job(command, words, source, call.object_of(source), language=language, lto=call.lto)
        return _one(job, wanted, features)
    if call.stage == OBJECT and call.output:
        # The compiler refuses one output for several inputs, in its own words.
        return run.replace([*command.wrapper, command.compiler, *fitting(call.words)])
    from klpkit.compilers.driver import steps

    return steps.take(command, call, wanted, features, flags)


def _one(job: Job, wanted: Wanted, features: Features) -> int:
    try:
        status, unit = compile_source(job, wanted, features)
        if unit:
            deliver(unit, wanted)
    except Exception:
        remove_outputs([job])
        raise
    return run.end(status)


def remove_outputs(jobs: list[Job]) -> None:
    """Remove the objects of a call that fails after it compiled them, so that no make takes them for good."""
    for job in jobs:
        if job.compiled and os.path.isfile(job.object):
            os.unlink(job.object)
