"""A call whose user asked for the clone dump himself: his file is read and stays where he expects it."""

from __future__ import annotations

from klpkit.compilers.driver import run
from klpkit.compilers.driver.folders import content

TYPE_CHECKING = False
if TYPE_CHECKING:
    from klpkit.compilers.driver.compiling import Job

_OPTION = "-fdump-ipa-clones"
_STREAMS = ("stdout", "stderr", "-")


def run_with(job: Job) -> tuple[int, bytes | None]:
    """Compile; (wait status, the dump, None where it went to a stream)."""
    path = _place(job)
    status = run.run(job.argv())
    return status, content(path) if path and not status else None


def _place(job: Job) -> str:
    """The file that the dump goes to, empty where it is a stream."""
    named = [word for word in job.words if word.startswith(_OPTION)]
    if named and "=" in named[-1]:
        file = named[-1].partition("=")[2]
        return "" if file in _STREAMS else file
    from klpkit.compilers.driver.auxiliary import auxiliary_names

    names = auxiliary_names([job.command.compiler, *job.words])
    if not names:
        return ""
    return f"{names[0].get('-dumpdir', '')}{names[0].get('-dumpbase', '')}.000i.ipa-clones"
